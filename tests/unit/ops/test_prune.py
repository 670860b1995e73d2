from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.locks import hold, take_place
from pytest_ccci.ops import prune as pruning
from pytest_ccci.ops.prune import Pruned, RunDir, prune, runs_to_drop
from pytest_ccci.progress import received
from pytest_ccci.run.run_dir import Diary, Owned
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir


@pytest.mark.parametrize(
    ("runs", "keep", "dropped"),
    [
        ("", 2, ""),
        ("1 2", 2, ""),
        ("1 2 3", 2, "1"),
        ("3 1 2", 1, "1 2"),
        ("1! 2 3 4", 2, "2"),
        ("1! 2! 3!", 1, ""),
    ],
)
def test_the_oldest_runs_go_and_busy_ones_stay(runs: str, keep: int, dropped: str) -> None:
    given = [RunDir(name.rstrip("!"), busy=name.endswith("!")) for name in runs.split()]
    assert runs_to_drop(given, keep=keep) == tuple(dropped.split())


@pytest.fixture
def few(settings: Settings) -> Settings:
    return resolve({"state_dir": str(settings.state_dir), "keep_runs": "1"}, {}, dict(settings.environment))


def finished(state: StateDir, name: str) -> Path:
    folder = state.run(name)
    (folder / "trees").mkdir(parents=True)
    (folder / "trees" / "compose.yml").write_text("x" * 5000)
    (folder / "results.json").write_text("{}")
    return folder


def gone(things: tuple[Pruned, ...]) -> set[str]:
    return {Path(thing.what).name for thing in things}


def test_a_dry_run_tells_the_same_and_removes_nothing(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    told = prune(few, state, dry=True)
    assert (state.run("run1") / "trees").is_dir()
    assert prune(few, state, dry=False) == told
    assert gone(told) == {"run1", "trees"}
    assert all(thing.size >= 4096 for thing in told)
    assert not state.run("run1").exists()
    assert (state.run("run2") / "results.json").exists()
    assert not (state.run("run2") / "trees").exists()


def test_nothing_of_a_run_in_flight_goes(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    with hold(state.slots / "0.lock", wait=0, owner={"run": "run1"}):
        assert gone(prune(few, state, dry=False)) == {"trees"}
    assert (state.run("run1") / "trees").is_dir()


def test_what_a_dead_run_still_owns_is_for_the_reaper_first(state: StateDir, few: Settings) -> None:
    for name in ("run1", "run2"):
        finished(state, name)
    Diary(state.run("run1")).own((Owned("run1", "docs", "docs_ci_test", "docs.ci.test", "x.lock"),))
    prune(few, state, dry=False)
    assert state.run("run1").is_dir()


def test_a_run_that_still_waits_for_its_first_lock_stays(state: StateDir, few: Settings) -> None:
    waiting, dead = state.run("run0"), state.run("run1")
    waiting.mkdir()
    dead.mkdir()
    os.utime(dead, (1, 1))
    finished(state, "run2")
    assert "run1" in gone(prune(few, state, dry=False))
    assert waiting.is_dir()


def test_the_trees_of_a_deploy_that_was_cut_off_go_unless_it_is_going_on(state: StateDir, settings: Settings) -> None:
    tree = state.infra("traefik") / "tree-abc"
    tree.mkdir(parents=True)
    with hold(state.lock("traefik.ci.test"), wait=0, owner={"doing": "bring traefik up"}):
        prune(settings, state, dry=False)
        assert tree.is_dir()
    prune(settings, state, dry=False)
    assert not tree.exists()


def test_no_image_goes_while_a_run_is_in_flight(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "engine_at_hand", lambda *_: object())
    monkeypatch.setattr(pruning, "_dangling", lambda _: pytest.fail("images were looked at"))
    lines: list[str] = []
    with hold(state.slots / "0.lock", wait=0, owner={"run": "r1"}), received(lines.append):
        assert prune(settings, state, dry=False) == ()
    assert any("left alone" in line for line in lines)


def test_lock_files_that_nobody_uses_go_and_those_in_use_stay(state: StateDir, settings: Settings) -> None:
    idle, held, awaited = (state.lock(f"{name}.ci.test") for name in ("idle", "held", "awaited"))
    old_queue = state.locks / "gone.ci.test.lock.queue"
    for lock in (idle, state.slots / "0.lock", state.slots / "9.lock", state.locks / "leases.lock"):
        with hold(lock, wait=0, owner={}):
            pass
    old_queue.mkdir()
    with hold(held, wait=0, owner={}), take_place(awaited):
        told = prune(settings, state, dry=True)
        assert idle.exists()
        assert prune(settings, state, dry=False) == told
        assert gone(told) == {"idle.ci.test.lock", "9.lock", "gone.ci.test.lock.queue"}
        assert held.exists()
    assert not list(state.locks.glob("idle*"))
    assert not old_queue.exists()
    assert (state.slots / "0.lock").exists()
    assert (state.locks / "leases.lock").exists()


def test_seen_alerts_and_proofs_are_bounded_and_open_alerts_stay(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_SEEN", 2)
    monkeypatch.setattr(pruning, "_PROOFS", 1)
    (state.alerts / "seen").mkdir()
    for number in range(4):
        (state.alerts / "seen" / f"2026-0{number}.json").write_text("{}")
        (state.alerts / f"2026-0{number}.json").write_text("{}")
    for number in range(2):
        (state.proofs / f"p{number}").mkdir(parents=True)
        os.utime(state.proofs / f"p{number}", (number, number))
    with hold(state.locks / "proofs.lock", wait=0, owner={}):
        assert gone(prune(settings, state, dry=True)) == {"2026-00.json", "2026-01.json"}
    assert gone(prune(settings, state, dry=False)) == {"2026-00.json", "2026-01.json", "p0"}
    assert len(list(state.alerts.glob("*.json"))) == 4
    assert prune(settings, state, dry=False) == ()


def test_records_of_sweeps_are_bounded_and_what_is_known_of_recipes_stays(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_SWEEPS", 1)
    for name in ("20260701-030000-aaaaaa", "20260702-030000-aaaaaa", "recipes"):
        (state.sweeps / name).mkdir(parents=True)
    for name in ("20260701-030000-aaaaaa", "20260702-030000-aaaaaa"):
        (state.sweeps / name / "sweep.json").write_text("{}")
    (state.sweeps / "recipes" / "notes.json").write_text("{}")
    assert gone(prune(settings, state, dry=False)) == {"20260701-030000-aaaaaa"}
    assert (state.sweeps / "recipes" / "notes.json").exists()


def test_a_dry_run_groups_by_kind_the_largest_first(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        finished(state, f"run{number:02}")
    with hold(state.lock("x.ci.test"), wait=0, owner={}):
        pass
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    assert cli.main(["prune", "--dry-run"]) == 0
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines() if "no engine" not in line]
    assert [(line[2], line[3]) for line in lines[:2]] == [("30", "work of runs that are over"), ("1", "lock files")]
    assert len(lines) == 3
    assert cli.main(["prune", "--dry-run", "--verbose"]) == 0
    assert str(state.run("run07") / "trees") in capsys.readouterr().out
