"""One dead run or one damaged folder stops nobody: it is told, alerted once, and stays on record."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import locks
from pytest_ccci.errors import DeadlineExceeded, EngineUnavailable
from pytest_ccci.run import context as module
from pytest_ccci.run.context import reap_dead_runs
from pytest_ccci.run.run_dir import Diary, Owned, open_diaries
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import AlertKind, open_alerts


@pytest.fixture
def machine(state: StateDir) -> Any:
    return SimpleNamespace(state=state, engine=None)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Apps that were removed, with the seconds they were given; the app ``stuck`` does not go."""
    done: list[tuple[str, float]] = []

    def remove(_machine: object, app: Owned, *, seconds: float) -> bool:
        done.append((app.domain, seconds))
        if app.domain == "stuck":
            raise DeadlineExceeded("its containers to be gone", seen="container stuck_app.1")
        return True

    monkeypatch.setattr(module, "remove_owned", remove)
    return done


def dead(state: StateDir, domain: str, run_id: str) -> Owned:
    app = Owned(run_id, "docs", f"{domain}_stack", domain, str(state.lock(domain)))
    Diary(state.run(run_id)).own((app,))
    return app


def alerts(state: StateDir) -> list[tuple[str, str]]:
    return [(alert.kind, alert.app) for _, alert in open_alerts(state)]


def test_a_dead_stack_that_will_not_go_stops_nobody_and_stays_on_record(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    stuck = dead(state, "stuck", "r1")
    dead(state, "other", "r2")
    reaped = reap_dead_runs(machine)
    assert [domain for domain, _ in removed] == ["stuck", "other"]
    assert reaped.done == ("cleaned up other, left by run r2, which was killed",)
    assert len(reaped.problems) == 1
    assert "stuck, left by run r1, which was killed, cannot be removed: " in reaped.problems[0]
    assert alerts(state) == [(AlertKind.LEFT_BEHIND, "stuck")]
    assert [owned for _, owned in open_diaries(state)] == [(stuck,)]


def test_it_is_alerted_once_and_waited_for_only_shortly_from_then_on(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    dead(state, "stuck", "r1")
    for _ in range(3):
        assert len(reap_dead_runs(machine).problems) == 1
    assert len(alerts(state)) == 1
    assert [seconds for _, seconds in removed] == [120.0, 10.0, 10.0]


@pytest.mark.parametrize("fault", [EngineUnavailable("gone"), PermissionError("no"), ValueError("odd")])
def test_no_kind_of_fault_in_one_removal_stops_the_next(
    machine: Any, state: StateDir, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_machine: object, app: Owned, *, seconds: float) -> bool:
        assert seconds > 0
        if app.run_id == "r1":
            raise fault
        return True

    monkeypatch.setattr(module, "remove_owned", refuse)
    dead(state, "one", "r1")
    dead(state, "two", "r2")
    reaped = reap_dead_runs(machine)
    assert (len(reaped.done), len(reaped.problems)) == (1, 1)


def test_a_lock_that_cannot_be_opened_stops_nobody(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    dead(state, "one", "r1")
    dead(state, "two", "r2")
    state.lock("one").mkdir()
    reaped = reap_dead_runs(machine)
    assert [domain for domain, _ in removed] == ["two"]
    assert "one, left by run r1" in reaped.problems[0]


def test_an_app_whose_lock_is_held_is_left_alone_and_stays_on_record(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    app = dead(state, "one", "r1")
    with locks.hold(state.lock("one"), wait=0, owner={}):
        assert reap_dead_runs(machine) == module.Reaped()
    assert removed == []
    assert [owned for _, owned in open_diaries(state)] == [(app,)]


@pytest.mark.parametrize("text", ["", "{", "5", "null", '[{"unknown": 1}]', "[1]", '["x"]', "\udc80", "[" * 100_000])
def test_a_damaged_record_stops_nobody_and_is_told(
    machine: Any, state: StateDir, removed: list[tuple[str, float]], text: str
) -> None:
    Diary(state.run("r1"))
    (state.run("r1") / "owned.json").write_bytes(text.encode(errors="surrogateescape"))
    dead(state, "two", "r2")
    reaped = reap_dead_runs(machine)
    assert [domain for domain, _ in removed] == ["two"]
    assert [str(state.run("r1")) in line for line in reaped.problems] == [True]
    assert alerts(state) == [(AlertKind.LEFT_BEHIND, "r1")]


@pytest.mark.parametrize("wrong", [{"lock": 5}, {"stack": None}, {"stack": ""}, {"lock": "a\0b"}, {"volumes": (3,)}])
def test_a_record_of_the_wrong_types_is_damaged(
    machine: Any, state: StateDir, removed: list[tuple[str, float]], wrong: dict[str, Any]
) -> None:
    Diary(state.run("r1")).own((replace(Owned("r1", "docs", "s", "d", "/l"), **wrong),))
    assert len(reap_dead_runs(machine).problems) == 1
    assert removed == []


def test_a_record_that_is_a_folder_is_told(machine: Any, state: StateDir) -> None:
    (state.run("r1") / "owned.json").mkdir(parents=True)
    assert len(reap_dead_runs(machine).problems) == 1


def test_a_record_that_cannot_be_rewritten_stops_nobody(
    machine: Any, state: StateDir, removed: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(state, "one", "r1")
    dead(state, "two", "r2")

    def refuse(diary: Diary, _owned: tuple[Owned, ...]) -> None:
        raise OSError(30, "Read-only file system", str(diary.path))

    monkeypatch.setattr(Diary, "own", refuse)
    reaped = reap_dead_runs(machine)
    assert [domain for domain, _ in removed] == ["one", "two"]
    assert len(reaped.problems) == 2


def test_an_alert_that_cannot_be_written_stops_nobody(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    dead(state, "stuck", "r1")
    state.alerts.rmdir()
    state.alerts.write_text("a file is in the way")
    assert len(reap_dead_runs(machine).problems) == 2
    assert [domain for domain, _ in removed] == ["stuck"]


def test_work_of_a_killed_run_is_removed_and_that_of_others_stays(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    dead(state, "one", "killed")
    dead(state, "stuck", "stuck")
    for run in ("killed", "nothing", "stuck", "alive", "ours", "over"):
        for name in ("trees", "backup"):
            (state.run(run) / name).mkdir(parents=True)
    (state.run("over") / "results.json").write_text("{}")
    with locks.hold(state.slots / "0.lock", wait=0, owner={"run": "alive"}):
        reap_dead_runs(machine, ours=frozenset({"ours"}))
    left = sorted({folder.parent.name for folder in state.runs.glob("*/backup")})
    assert left == ["alive", "ours", "over", "stuck"]
    assert [domain for domain, _ in removed] == ["one", "stuck"]


def test_work_that_cannot_be_removed_stops_nobody_and_is_told(
    machine: Any, state: StateDir, removed: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("one", "two"):
        (state.run(run) / "backup").mkdir(parents=True)
    real = shutil.rmtree

    def refuse(folder: Path) -> None:
        if folder.parent.name == "one":
            raise PermissionError("no")
        real(folder)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    (problem,) = reap_dead_runs(machine).problems
    assert problem.startswith(f"{state.run('one') / 'backup'}, left by a run that was killed, cannot be removed")
    assert not (state.run("two") / "backup").exists()
    assert removed == []


def test_a_living_runs_app_stays_although_the_state_directory_is_mounted_elsewhere(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    app = replace(dead(state, "one", "r1"), lock="/mounted/elsewhere/locks/one.lock")
    Diary(state.run("r1")).own((app,))
    with locks.hold(state.lock("one"), wait=0, owner={}):
        assert reap_dead_runs(machine) == module.Reaped()
    assert reap_dead_runs(machine).done == ("cleaned up one, left by run r1, which was killed",)
    assert [domain for domain, _ in removed] == ["one"]


def test_an_app_that_is_kept_for_a_look_is_nobody_dead(
    machine: Any, state: StateDir, removed: list[tuple[str, float]]
) -> None:
    dead(state, "looked-at", "r1")
    dead(state, "other", "r2")
    state.kept("looked-at").touch()
    assert reap_dead_runs(machine).done == ("cleaned up other, left by run r2, which was killed",)
    assert [app.domain for _, owned in open_diaries(state) for app in owned] == ["looked-at"]
    state.kept("looked-at").unlink()
    reap_dead_runs(machine)
    assert [domain for domain, _ in removed] == ["other", "looked-at"]
    assert list(open_diaries(state)) == []
