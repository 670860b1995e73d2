"""An app that tells its secrets wherever it can: none of them is in anything that a run writes or prints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from page import TOML, write_page
from realruns import Outcome, Pytest
from talkative import GIVEN, HEALTHY, UNHEALTHY, planted, spy, talkative, told

from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir

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
OFF = """
from pytest_ccci.redact import Redactor
Redactor.scrub = lambda self, text: text
Redactor.scrub_all = lambda self, value, but=(): value
"""


def _recipe(folder: Path, seen: Path, *, health: str, hidden: bool) -> Path:
    write_page(
        folder,
        tests=TESTS,
        compose=talkative("db_password", "token", "oidc"),
        toml=TOML.replace("canonical = true\n", "") + GIVES,
    )
    tip = folder / "releases" / "tip" / "compose.yml"
    text = tip.read_text("utf-8")
    assert HEALTHY in text
    tip.write_text(text.replace(HEALTHY, health), "utf-8")
    (folder / "conftest.py").write_text(spy(seen) + ("" if hidden else OFF), "utf-8")
    return folder


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
    secrets = planted(seen)
    assert GIVEN in secrets
    assert len(set(secrets)) == (3 if health == UNHEALTHY else 4)
    assert done.result.verdict == Verdict.FAIL
    if health == UNHEALTHY:
        assert done.tier("upgrade").verdict == Verdict.FAIL
    else:
        assert [test.verdict for test in done.result.custom] == [Verdict.FAIL] * 3
    everything = _everything(done, warm_state, junit)
    found_in = {place: forms for place, text in everything.items() if (forms := told(text, secrets))}
    if hidden:
        assert found_in == {}
        assert "[secret]" in done.out
    else:
        assert {"terminal", "junit", "results.json"} <= set(found_in)
