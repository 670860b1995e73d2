"""Both modes from end to end on a small recipe: what is promoted, what is kept, what is left, what is shown."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from realruns import Pytest, of_stack

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore


def _properties(junit: Path) -> list[dict[str, str]]:
    """Properties of the suite, then of each case."""
    root = ET.parse(junit).getroot()  # noqa: S314  our own file
    holders = [*root.iter("testsuite"), *root.iter("testcase")]
    return [
        {str(p.get("name")): str(p.get("value")) for p in holder.findall("properties/property")} for holder in holders
    ]


def test_cold_of_the_latest_release_makes_the_known_good_and_leaves_nothing(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    done = user_pytest("--cold", "--ccci-ref", "latest", f"--junit-xml={junit}", page_recipe)
    assert done.rc == 0
    assert done.result.verdict == Verdict.PASS
    assert done.result.base is not None
    assert done.result.base.release == "1.0.0+1.22"
    assert done.result.known_good.action == "seeded"
    record = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name).record()
    assert record is not None
    assert (record.release, record.snapshot_id) == ("1.1.0+1.22", done.result.known_good.snapshot_after)
    assert of_stack(engine, done.result.domain.replace(".", "_")) == []
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    for found in _properties(junit):
        assert found["ccci.mode"] == "cold"
        assert found["ccci.recipe"] == page_recipe.name
        assert found["ccci.run_id"] == done.result.run_id
        assert found["ccci.verdict"] == "pass"


def test_quick_tests_the_tip_and_leaves_the_known_good_as_it_was(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine
) -> None:
    user_pytest("--ccci-ref", "latest", page_recipe)
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    done = user_pytest("--quick", page_recipe)
    assert done.rc == 0
    assert (done.result.mode, done.result.known_good.action) == ("quick", "unchanged")
    assert store.fingerprint() == before
    assert store.state().drift
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    again = user_pytest("--quick", page_recipe)
    assert again.rc == 0
    assert "drifted" in again.out


def test_quick_without_a_canonical_runs_cold_says_so_and_promotes_nothing(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    done = user_pytest("--quick", f"--junit-xml={junit}", page_recipe)
    assert done.rc == 0
    assert (done.result.mode, done.result.requested_mode) == ("cold", "quick")
    assert "there is no known-good" in done.result.mode_reason
    assert done.result.mode_reason.split("(")[0].strip() in done.out
    assert done.result.known_good.action == "none"
    assert not (warm_state.canonical(page_recipe.name) / "canonical.json").exists()
    for found in _properties(junit):
        assert (found["ccci.mode"], found["ccci.requested_mode"]) == ("cold", "quick")


def test_a_head_that_dies_is_undone_and_the_restore_is_proved(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir
) -> None:
    user_pytest("--ccci-ref", "latest", page_recipe)
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    tip = page_recipe / "releases" / "tip" / "compose.yml"
    tip.write_text(
        tip.read_text("utf-8").replace("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']"), "utf-8"
    )
    done = user_pytest("--quick", page_recipe)
    assert done.rc == 1
    assert done.tier("upgrade").verdict == Verdict.FAIL
    assert done.result.verdict == Verdict.FAIL
    assert done.result.known_good.action == "restored-and-proved"
    assert store.fingerprint() == before
    assert "tasks of" in done.out
    good = user_pytest("--quick", "--ccci-ref", "latest", page_recipe)
    assert good.rc == 0
    assert "head is the known-good" in good.tier("upgrade").reason


def test_a_tier_can_be_selected_and_what_it_needs_is_done(user_pytest: Pytest, page_recipe: Path) -> None:
    done = user_pytest(f"{page_recipe}/recipe.toml::upgrade")
    assert done.rc == 0
    assert "1 passed" in done.out
    assert done.tier("install").verdict == Verdict.PASS
    named = user_pytest("-k", "sentinel_is_served", page_recipe)
    assert named.rc == 0
    assert "1 passed" in named.out


OBEYED = {
    "DOCKER_HOST": "tcp://socket-proxy:2375",
    "HOME": "/srv",
    "HTTPS_PROXY": "http://there:1",
    "DOCKER_CONTEXT": "no",
}


def test_the_apps_variables_are_the_apps_and_not_obeyed_by_the_docker_cli(
    user_pytest: Pytest, page_recipe: Path
) -> None:
    for compose in page_recipe.glob("releases/*/compose.yml"):
        given = ", ".join(f'A_{name}: "${{{name}}}"' for name in (*OBEYED, "PATH"))
        text = compose.read_text("utf-8")
        compose.write_text(text.replace("environment: {", f"environment: {{{given}, "), "utf-8")
    sample = next(page_recipe.glob("releases/1-*/.env.sample"))
    sample.write_text(sample.read_text("utf-8") + "".join(f"{k}={v}\n" for k, v in OBEYED.items()), "utf-8")
    for release in page_recipe.glob("releases/*"):
        (release / ".env.sample").write_text(sample.read_text("utf-8"), "utf-8")
    (page_recipe / "test_page.py").write_text(
        f"""
def test_the_app_has_what_is_its_own(app):
    seen = dict(line.partition("=")[::2] for line in app.exec("app", ["env"]).stdout.splitlines())
    assert {{name: seen["A_" + name] for name in {list(OBEYED)}}} == {OBEYED}
    assert seen["A_PATH"] == ""
""",
        "utf-8",
    )
    assert user_pytest(page_recipe).rc == 0


def test_two_workers_deploy_each_recipe_once(user_pytest: Pytest, page_recipe: Path, tmp_path: Path) -> None:
    other = page_recipe.with_name("second-page")
    other.mkdir()
    for path in sorted(page_recipe.rglob("*")):
        place = other / path.relative_to(page_recipe)
        place.mkdir() if path.is_dir() else place.write_bytes(path.read_bytes())
    junit = tmp_path / "junit.xml"
    done = user_pytest("-n", "2", f"--junit-xml={junit}", page_recipe.parent)
    assert done.rc == 0
    assert sorted(result.recipe for result in done.results) == sorted([page_recipe.name, other.name])
    cases = [found for found in _properties(junit) if "ccci.recipe" in found]
    assert {found["ccci.run_id"] for found in cases} == {result.run_id for result in done.results}


def test_results_on_disk_say_what_the_screen_says(user_pytest: Pytest, page_recipe: Path, warm_state: StateDir) -> None:
    done = user_pytest("-k", "install", page_recipe)
    raw = json.loads((warm_state.run(done.result.run_id) / "results.json").read_text("utf-8"))
    assert raw["verdict"] == "pass"
    assert raw["known_good"]["action"] == "none"
    assert f"--ccci-ref {raw['settings']['ref'].split()[0]}" in raw["reproduce"]


@pytest.mark.parametrize("mode", ["--cold", "--quick"])
def test_both_modes_lease_nothing_for_a_recipe_without_keycloak(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, mode: str
) -> None:
    user_pytest(mode, "-k", "install", page_recipe)
    assert list(warm_state.leases.iterdir()) == []
