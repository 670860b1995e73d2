"""The author's tests use the base before it is upgraded: what they wrote must be there, what they say is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from realruns import Pytest, own_name, write_page_recipe

from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

OLD, NEW = "1.0.0+1.22", "1.1.0+1.22"
WRITES = """\
import secrets

PLACE = "/usr/share/nginx/html"


def test_a_person_uploads(app):
    script = f"mkdir -p {PLACE}/up; head -c 20000 /dev/zero | split -a 3 -b 1000 - {PLACE}/up/{secrets.token_hex(4)}"
    assert app.exec("app", ["sh", "-c", script]).rc == 0


def test_the_page_has_a_title(app):
    assert "TITLE" in app.http.get(app.url).text
"""
ONCE = """\
def test_a_place_of_its_own(app):
    done = app.exec("app", ["mkdir", "/usr/share/nginx/html/mine"])
    assert done.rc == 0, done.stderr
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = write_page_recipe(tmp_path / "recipes" / own_name())
    toml = folder / "recipe.toml"
    toml.write_text(toml.read_text("utf-8").replace("[tests]\non_base = false\n", ""), "utf-8")
    assert "on_base" not in toml.read_text("utf-8")
    return folder


def _starts_with(recipe: Path, release: str, command: str) -> None:
    compose = recipe / "releases" / release / "compose.yml"
    image = "    image: nginx:1.22\n"
    started = f"{image}    command: [sh, -c, \"{command}; exec nginx -g 'daemon off;'\"]\n"
    compose.write_text(compose.read_text("utf-8").replace(image, started), "utf-8")


def test_what_they_wrote_on_the_base_lives_through_the_upgrade_and_into_the_known_good(
    recipe: Path, user_pytest: Pytest, warm_state: StateDir
) -> None:
    (recipe / "test_page.py").write_text(WRITES.replace("TITLE", "nginx"), "utf-8")
    done = user_pytest("--ccci-ref", "latest", recipe)
    assert done.rc == 0
    assert done.tier("install").facts["on the base"].startswith(f"2 of 2 tests passed on {OLD}, in ")
    assert f"on the base  2 of 2 tests passed on {OLD}" in done.out
    assert "22 files in 1 volume, before and after" in done.tier("upgrade").facts["counted"]
    assert done.result.known_good.action == "seeded"
    store = CanonicalStore(warm_state.canonical(recipe.name), recipe.name)
    record = store.record()
    assert record is not None
    kept = json.loads(store.layout.snapshot(record.snapshot_id).coverage.read_text("utf-8"))
    assert kept["lived in"] == 1
    assert kept["counted"]["volumes"]["content"][0] == 22
    assert not list(done.result.warnings)


def test_a_head_that_loses_what_they_wrote_is_red_and_a_test_that_was_red_before_is_told_apart(
    recipe: Path, user_pytest: Pytest
) -> None:
    (recipe / "test_page.py").write_text(WRITES.replace("TITLE", "Welcome to somewhere else"), "utf-8")
    there = user_pytest(recipe)
    assert there.rc == 1
    assert there.tier("upgrade").verdict == Verdict.PASS
    [red] = [test for test in there.result.custom if test.verdict == Verdict.FAIL]
    assert red.reason.endswith(f"it fails on {NEW} as well")
    assert "1 of 2 tests passed" in there.tier("install").facts["on the base"]

    _starts_with(recipe, "tip", "rm -rf /usr/share/nginx/html/up")
    done = user_pytest(recipe)
    assert done.rc == 1
    upgrade = done.tier("upgrade")
    assert upgrade.verdict == Verdict.FAIL
    assert "the upgrade lost data: volume content holds 2 files" in upgrade.reason


def test_a_test_that_cannot_run_twice_is_told_so_and_can_be_left_out_of_it(recipe: Path, user_pytest: Pytest) -> None:
    (recipe / "test_page.py").write_text(ONCE, "utf-8")
    done = user_pytest(recipe)
    assert done.rc == 1
    [test] = done.result.custom
    assert test.verdict == Verdict.FAIL
    assert test.reason.endswith(f"it passed on {NEW}: the change broke it, or it cannot run twice on the same data")
    toml = recipe / "recipe.toml"
    toml.write_text(f"{toml.read_text('utf-8')}[tests]\non_base = false\n", "utf-8")
    assert user_pytest(recipe).rc == 0
