"""Kill -9 in the middle: the next start cleans up by itself and is green, and nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from realruns import Pytest, assert_nothing_is_left, command, needs_keycloak, of_stack, realms_of

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, until

FULL = pytest.mark.full  # the suite plays the moment at which most is at stake
BREAK = ("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']")


def _kill_at(step: str, args: list[str], state: StateDir, folder: Path) -> str:
    """Start a run, SIGKILL it as soon as its journal says that ``step`` begins; its run id."""
    known = {path.name for path in state.runs.iterdir()}
    pid = process.spawn(command(*args), log=folder / "killed.log", env=dict(os.environ))

    def begun() -> str:
        for path in state.runs.glob("*/journal.jsonl"):
            if path.parent.name not in known and f'"begin {step}"' in path.read_text(encoding="utf-8"):
                return path.parent.name
        assert process.alive(pid), (folder / "killed.log").read_text(encoding="utf-8")[-4000:]
        return ""

    run_id = until(begun, deadline=Deadline(180), what=f"step {step}", every=0.01)
    process.terminate(pid, force=True)
    until(lambda: not process.alive(pid), deadline=Deadline(30), what="the run to die")
    return run_id


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("install: deploy", marks=FULL),
        pytest.param("seed sentinels", marks=FULL),
        "upgrade: deploy",
        pytest.param("restore", marks=FULL),
        "undeploy",
    ],
)
def test_a_cold_run_that_is_killed_is_cleaned_up_by_the_next_one(
    step: str, user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    killed = _kill_at(step, [str(page_recipe)], warm_state, tmp_path)
    left = of_stack(engine, page_recipe.name[:4])
    after = user_pytest("-k", "install or settle", page_recipe)
    assert after.rc == 0
    assert (killed in after.out) == bool(left)
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


@pytest.mark.parametrize(
    "step", [pytest.param("promote: deploy", marks=FULL), "snapshot", pytest.param("promote record", marks=FULL)]
)
def test_a_promotion_that_is_killed_leaves_the_old_known_good_or_the_new_one(
    step: str, user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    _kill_at(step, ["--ccci-ref", "latest", str(page_recipe)], warm_state, tmp_path)
    before = store.record()
    assert before is None or before.release == "1.1.0+1.22"
    after = user_pytest("--ccci-ref", "latest", page_recipe)
    assert after.rc == 0
    record = store.record()
    assert record is not None
    assert record.release == "1.1.0+1.22"
    assert store.verify() == ()
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


@pytest.mark.parametrize(
    "step", [pytest.param("promote: deploy", marks=FULL), pytest.param("snapshot", marks=FULL), "promote record"]
)
def test_a_reseed_that_is_killed_leaves_the_old_known_good_until_the_new_one_is_there(
    step: str, user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    old, before = store.record(), store.fingerprint()
    _kill_at(step, ["--ccci-ref", "latest", "--ccci-reseed=true", str(page_recipe)], warm_state, tmp_path)
    assert store.record() != old or store.fingerprint() == before
    after = user_pytest("--quick", page_recipe)
    assert (after.rc, after.result.mode) == (0, "quick")
    assert store.verify() == ()
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("known-good: deploy", marks=FULL),
        "upgrade: deploy",
        "restore known-good",
        pytest.param("prove: deploy", marks=FULL),
    ],
)
def test_a_quick_run_that_is_killed_never_costs_the_known_good(
    step: str,
    user_pytest: Pytest,
    page_recipe: Path,
    warm_state: StateDir,
    engine: Engine,
    tmp_path: Path,
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    tip = page_recipe / "releases" / "tip" / "compose.yml"
    good = tip.read_text(encoding="utf-8")
    tip.write_text(good.replace(*BREAK), encoding="utf-8")
    _kill_at(step, ["--quick", str(page_recipe)], warm_state, tmp_path)
    assert store.fingerprint() == before
    tip.write_text(good, encoding="utf-8")
    after = user_pytest("--quick", page_recipe)
    assert after.rc == 0
    assert after.result.mode == "quick"
    assert store.fingerprint() == before
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


def test_a_run_that_is_killed_while_it_holds_a_realm_leaves_none(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, machine: Machine, tmp_path: Path
) -> None:
    recipe = needs_keycloak(page_recipe)
    killed = _kill_at("upgrade: deploy", [str(recipe)], warm_state, tmp_path)
    assert len(realms_of(machine, recipe.name)) == 1
    after = user_pytest("-k", "install or settle", recipe)
    assert after.rc == 0
    assert killed in after.out
    assert realms_of(machine, recipe.name) == []
    assert_nothing_is_left(engine, warm_state, recipe.name)


def test_a_finding_of_leftovers_can_fail(engine: Engine, page_recipe: Path) -> None:
    name = f"{page_recipe.name[:4]}-planted_ci_test_x"
    engine.client.api.create_volume(name)
    try:
        assert of_stack(engine, page_recipe.name[:4]) == [name]
    finally:
        engine.client.api.remove_volume(name)
