"""A small recipe to play with: two releases of a page server, a tip ahead of them, one file that must survive."""

from __future__ import annotations

from pathlib import Path

__all__ = ["COMPOSE", "TOML", "write_page"]

COMPOSE = """\
version: "3.8"
services:
  app:
    image: nginx:1.22
    networks: [proxy]
    volumes: [content:/usr/share/nginx/html]
    environment: {RELEASE: "@RELEASE@"}
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
TOML = """\
canonical = true
[source]
bundled = "releases"
[[sentinel]]
kind = "file"
service = "app"
path = "/usr/share/nginx/html/ccci.txt"
[tests]
on_base = false
"""
"""Its own tests are run once: a pytest more per run is for the tests of just that."""


def write_page(folder: Path, *, tests: str, compose: str = COMPOSE, toml: str = TOML) -> Path:
    """Write the recipe, its releases and its own ``tests`` into ``folder``; it may be there already."""
    for number, release in (("1-", "1.0.0+1.22"), ("2-", "1.1.0+1.22"), ("", "tip")):
        place = folder / "releases" / f"{number}{release}"
        place.mkdir(parents=True)
        shown = release if number else "1.1.0+1.22"
        text = compose.replace("version=@RELEASE@", f"version={shown}").replace("@RELEASE@", release)
        (place / "compose.yml").write_text(text, encoding="utf-8")
    (folder / "releases" / "1-1.0.0+1.22" / ".env.sample").write_text("TYPE=page\nDOMAIN=x\n", encoding="utf-8")
    (folder / "recipe.toml").write_text(toml, encoding="utf-8")
    (folder / "test_page.py").write_text(tests, encoding="utf-8")
    return folder
