"""An app that tells its secrets wherever it can: none of them is in anything that a run writes or prints."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from page import COMPOSE, TOML, write_page
from realruns import Outcome, Pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir

GIVEN = 'Gv-"q7 %x/+9zLm2k&<5>'
SCRIPT = """
p=$$(cat /run/secrets/db_password)
echo "connecting to postgres://app:$$p@db/app"
echo "Authorization: Basic $$(printf 'app:%s' "$$p" | base64 -w0)"
cat /run/secrets/token >&2
printf 'server { listen 80; location /broken { default_type text/plain; return 500 "no login as app:%s"; }
  location / { root /usr/share/nginx/html; } }' "$$p" > /etc/nginx/conf.d/default.conf
exec nginx -g "daemon off;"
"""
HEALTHY = '{test: [CMD, bash, -c, "exec 3<>/dev/tcp/127.0.0.1/80"], interval: 30s, retries: 3}'
UNHEALTHY = (
    '{test: [CMD, bash, -c, "echo no login with $$(cat /run/secrets/db_password); exit 1"], interval: 1s, retries: 2}'
)
TALKATIVE = COMPOSE.replace(
    "    networks: [proxy]\n",
    "    networks: [proxy]\n    secrets: [db_password, token, oidc]\n"
    f"    command: {json.dumps(['bash', '-c', SCRIPT])}\n",
).replace(
    "volumes: {content: }\n",
    "volumes: {content: }\nsecrets:\n"
    + "".join(
        f'  {name}: {{external: true, name: "${{STACK_NAME}}_{name}_v1"}}\n'
        for name in ("db_password", "token", "oidc")
    ),
)
GIVES = f"""
[secrets]
token = '{GIVEN}'
oidc = "{{{{ realm.client_secret }}}}"
[env]
OIDC = "{{{{ realm.client_secret }}}}"
[needs.keycloak]
redirect_paths = ["/cb"]
"""
TESTS = """
def test_error_page(app):
    assert app.http.get(f"{app.url}/broken").text == "all is well"

def test_what_the_app_has(app):
    password = app.exec("app", ["cat", "/run/secrets/db_password"]).stdout
    print("it has", password)
    assert password == ""

def test_the_person(app, keycloak_realm, seen):
    password = keycloak_realm.user.password
    seen(password)
    raise RuntimeError(f"no login with {password}")
"""
# Secrets are seen where Docker is given them, and by the author's test: not by means of the redactor.
SPY = """
import json
from pathlib import Path

import pytest
from docker.api.secret import SecretApiMixin

_create = SecretApiMixin.create_secret

def note(value):
    with Path({seen!r}).open("a") as sink:
        sink.write(json.dumps(value) + "\\n")

def create_secret(self, name, data, **more):
    note(data.decode())
    return _create(self, name, data, **more)

@pytest.fixture
def seen():
    return note

SecretApiMixin.create_secret = create_secret
"""
OFF = """
from pytest_ccci.redact import Redactor
Redactor.scrub = lambda self, text: text
Redactor.scrub_all = lambda self, value, but=(): value
"""


def _recipe(folder: Path, seen: Path, *, health: str, hidden: bool) -> Path:
    write_page(
        folder,
        tests=TESTS,
        compose=TALKATIVE,
        toml=TOML.replace("canonical = true\n", "") + GIVES,
    )
    tip = folder / "releases" / "tip" / "compose.yml"
    text = tip.read_text("utf-8")
    assert HEALTHY in text
    tip.write_text(text.replace(HEALTHY, health), "utf-8")
    (folder / "conftest.py").write_text(SPY.format(seen=str(seen)) + ("" if hidden else OFF), "utf-8")
    return folder


def _told(text: str, secrets: list[str]) -> list[str]:
    """Which forms of ``secrets`` are in ``text``."""
    forms = []
    for secret in secrets:
        forms += [secret, quote(secret, safe=""), json.dumps(secret)[1:-1]]
        forms += [base64.b64encode(b" " * n + secret.encode()).decode()[4:-4] for n in range(3)]
    return sorted({form for form in forms if form in text})


def _everything(done: Outcome, state: StateDir, junit: Path) -> dict[str, str]:
    """All that the run wrote and printed, by where."""
    folder = state.run(done.result.run_id)
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    read = {name: path.read_bytes().decode("utf-8", "replace") for name, path in files.items()}
    return {**read, "terminal": done.out, "junit": junit.read_text("utf-8")}


@pytest.mark.parametrize("hidden", [True, False], ids=["redactor on", "redactor off"])
@pytest.mark.parametrize("health", [HEALTHY, UNHEALTHY], ids=["serving", "not healthy"])
@pytest.mark.timeout(900)
def test_secrets_that_an_app_tells_are_nowhere_and_without_the_redactor_they_are(
    user_pytest: Pytest, warm_state: StateDir, tmp_path: Path, health: str, hidden: bool
) -> None:
    seen, junit = tmp_path / "seen", tmp_path / "junit.xml"
    recipe = _recipe(tmp_path / f"talk-{os.urandom(3).hex()}", seen, health=health, hidden=hidden)
    done = user_pytest("--cold", "--showlocals", "-rA", f"--junit-xml={junit}", recipe)
    secrets = [json.loads(line) for line in seen.read_text("utf-8").splitlines()]
    assert GIVEN in secrets
    assert len(set(secrets)) == (3 if health == UNHEALTHY else 4)
    assert done.result.verdict == Verdict.FAIL
    if health == UNHEALTHY:
        assert done.tier("upgrade").verdict == Verdict.FAIL
    else:
        assert [test.verdict for test in done.result.custom] == [Verdict.FAIL] * 3
    told = {
        place: found for place, text in _everything(done, warm_state, junit).items() if (found := _told(text, secrets))
    }
    if hidden:
        assert told == {}
        assert "[secret]" in done.out
    else:
        assert {"terminal", "junit", "results.json"} <= set(told)
