"""A small recipe that depends on Keycloak, run as a user runs one: what every update must leave green."""

from __future__ import annotations

from pathlib import Path

from pytest_ccci.ops.child import ChildRun, run_pytest
from pytest_ccci.proofs.ground import Ground

__all__ = ["run_dependent", "write_dependent"]

_COMPOSE = """\
version: "3.8"
services:
  app:
    image: nginx:1.22
    networks: [proxy]
    volumes: [content:/usr/share/nginx/html]
    environment: {RELEASE: "@RELEASE@", OIDC_ISSUER: "${OIDC_ISSUER}"}
    healthcheck: {test: [CMD, bash, -c, "exec 3<>/dev/tcp/127.0.0.1/80"], interval: 30s, retries: 3}
    deploy:
      labels:
        - traefik.enable=true
        - traefik.http.services.${STACK_NAME}.loadbalancer.server.port=80
        - traefik.http.routers.${STACK_NAME}.rule=Host(`${DOMAIN}`)
        - traefik.http.routers.${STACK_NAME}.entrypoints=web-secure
        - traefik.http.routers.${STACK_NAME}.tls=true
        - coop-cloud.${STACK_NAME}.version=@RELEASE@
        - backupbot.backup=true
volumes: {content: }
networks: {proxy: {external: true}}
"""
_TOML = """\
canonical = true
[source]
bundled = "releases"
[env]
OIDC_ISSUER = "{{ realm.issuer }}"
[needs.keycloak]
redirect_paths = ["/callback"]
[[sentinel]]
kind = "file"
service = "app"
path = "/usr/share/nginx/html/ccci.txt"
"""
_TEST = """\
def test_a_person_logs_in(app, keycloak_realm):
    user = keycloak_realm.user
    asked = {
        "grant_type": "password", "scope": "openid", "username": user.username, "password": user.password,
        "client_id": keycloak_realm.client_id, "client_secret": keycloak_realm.client_secret,
    }
    answer = app.new_http().post(keycloak_realm.endpoints.token, data=asked)
    assert answer.status_code == 200, answer.text
"""


def write_dependent(folder: Path) -> Path:
    """Write the recipe into ``folder``: two releases and a tip ahead of them."""
    for number, release in (("1-", "1.0.0+1.22"), ("2-", "1.1.0+1.22"), ("", "tip")):
        place = folder / "releases" / f"{number}{release}"
        place.mkdir(parents=True)
        shown = release if number else "1.1.0+1.22"
        text = _COMPOSE.replace("version=@RELEASE@", f"version={shown}").replace("@RELEASE@", release)
        (place / "compose.yml").write_text(text, encoding="utf-8")
    (folder / "releases" / "1-1.0.0+1.22" / ".env.sample").write_text("TYPE=page\nDOMAIN=x\n", encoding="utf-8")
    (folder / "recipe.toml").write_text(_TOML, encoding="utf-8")
    (folder / "test_login.py").write_text(_TEST, encoding="utf-8")
    return folder


def run_dependent(ground: Ground, folder: Path, *words: str) -> ChildRun:
    """Run it with pytest on the ground, with ``words`` such as ``--quick``."""
    return run_pytest(
        ground.state,
        folder,
        words,
        settings=[word for word in ground.words() if "slots" not in word],
        coloured=False,
        line=lambda row: ground.tell(f"  {row}") if row.strip() else None,
        env=ground.environment,
    )
