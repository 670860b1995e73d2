"""Ctrl-C and a terminal that hangs up, in the middle of a real upgrade: told as what they are, and nothing is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from realruns import Pytest, assert_nothing_is_left, command

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, until


def _interrupted_at(
    step: str, number: signal.Signals, args: list[str], state: StateDir, log: Path
) -> tuple[RunResult, str]:
    """The result of a run that is sent ``number`` when its journal says that ``step`` begins; and what it said."""
    known = {path.name for path in state.runs.iterdir()} if state.runs.is_dir() else set()
    pid = process.spawn(command(*args), log=log, env=dict(os.environ))

    def begun() -> Path | None:
        for path in state.runs.glob("*/journal.jsonl"):
            if path.parent.name not in known and f'"begin {step}"' in path.read_text(encoding="utf-8"):
                return path.parent
        assert process.alive(pid), log.read_text(encoding="utf-8")[-4000:]
        return None

    folder = until(begun, deadline=Deadline(240), what=f"step {step}", every=0.01)
    os.kill(pid, number)
    until(lambda: not process.alive(pid), deadline=Deadline(240), what="the run to settle and end")
    return load_result(folder / "results.json"), log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGHUP, marks=pytest.mark.full)], ids=lambda number: number.name
)
def test_a_cold_run_that_is_interrupted_during_the_upgrade_is_an_error_and_leaves_nothing(
    number: signal.Signals, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    args = ["--ccci-ref", "latest", str(page_recipe)]
    result, told = _interrupted_at("upgrade: deploy", number, args, warm_state, tmp_path / "log")
    tiers = {tier.tier: (tier.verdict, tier.reason) for tier in result.tiers}
    assert result.verdict == Verdict.ERROR, told
    assert tiers["install"][0] == Verdict.PASS
    assert tiers["upgrade"] == (Verdict.ERROR, f"interrupted: {number.name}")
    assert {tiers[name][0] for name in ("backup", "restore")} == {Verdict.UNVERIFIED}
    assert tiers["settle"][0] == Verdict.PASS
    assert {test.verdict for test in result.custom} == {Verdict.UNVERIFIED}
    assert result.known_good.action == "none"
    assert CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name).record() is None
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


def test_a_quick_run_that_is_interrupted_is_restored_and_proved(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    args = ["--quick", str(page_recipe)]
    result, told = _interrupted_at("upgrade: deploy", signal.SIGTERM, args, warm_state, tmp_path / "log")
    assert (result.verdict, result.known_good.action) == (Verdict.ERROR, "restored-and-proved"), told
    assert store.fingerprint() == before
    assert not store.state().quarantined
    assert_nothing_is_left(engine, warm_state, page_recipe.name)


@pytest.mark.parametrize("step", [pytest.param("promote: deploy", marks=pytest.mark.full), "snapshot"])
def test_a_promotion_during_which_somebody_asks_to_stop_promotes_nothing(
    step: str, page_recipe: Path, warm_state: StateDir, engine: Engine, tmp_path: Path
) -> None:
    args = ["--ccci-ref", "latest", str(page_recipe)]
    result, told = _interrupted_at(step, signal.SIGINT, args, warm_state, tmp_path / "log")
    assert (result.verdict, result.known_good.after) == (Verdict.ERROR, None), told
    assert CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name).record() is None
    assert_nothing_is_left(engine, warm_state, page_recipe.name)
