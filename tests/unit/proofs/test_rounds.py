from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.errors import LockBusy
from pytest_ccci.locks import hold, is_held
from pytest_ccci.proofs.rounds import scratch_settings, scratch_state
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir


def test_canonicals_and_alerts_are_its_own_and_locks_and_results_are_the_real_ones(
    state: StateDir, tmp_path: Path
) -> None:
    with scratch_state(state, tmp_path / "proof") as scratch:
        scratch.canonical("docs").mkdir(parents=True)
        (scratch.alerts / "a.json").touch()
        (scratch.runs / "r1").mkdir()
        with hold(scratch.lock("warm-docs.ci.test"), wait=0, owner={}):
            assert is_held(state.lock("warm-docs.ci.test"))
    assert not state.canonical("docs").exists()
    assert not (state.alerts / "a.json").exists()
    assert (state.runs / "r1").is_dir(), "results stay when it is gone"
    assert not (tmp_path / "proof" / "state").exists()


def test_it_is_gone_also_after_a_failure(state: StateDir, tmp_path: Path) -> None:
    def fail() -> None:
        with scratch_state(state, tmp_path / "proof"):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert not (tmp_path / "proof" / "state").exists()
    assert state.locks.is_dir()


def test_what_a_killed_proof_left_goes_with_the_next_one_and_there_is_one_at_a_time(state: StateDir) -> None:
    left = state.proofs / "killed" / "state"
    (left / "canonical").mkdir(parents=True)
    (left / "runs").symlink_to(state.runs)
    (state.runs / "r1").mkdir()
    (state.proofs / "killed" / "rollback.json").touch()

    def another() -> None:
        with scratch_state(state, state.proofs / "another"):
            pass

    with scratch_state(state, state.proofs / "fresh") as scratch:
        assert scratch.root.is_dir()
        assert not left.exists()
        with pytest.raises(LockBusy):
            another()
    assert (state.proofs / "killed" / "rollback.json").exists(), "evidence stays"
    assert (state.runs / "r1").is_dir(), "and so do results"


def test_runs_there_are_quick_ones_on_the_engine_that_is_named(settings: Settings, state: StateDir) -> None:
    found = scratch_settings(settings, state, host="unix:///somewhere.sock", ref="c" * 40)
    assert (found.mode, found.ref, found.state_dir) == ("quick", "c" * 40, state.root)
    assert found.environment["DOCKER_HOST"] == "unix:///somewhere.sock"
