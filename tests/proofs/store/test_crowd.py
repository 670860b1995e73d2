"""Fifty processes want the same canonical: one after the other, in the order of coming, and nothing is torn."""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

import pytest_ccci
from pytest_ccci import process
from pytest_ccci.errors import LockBusy
from pytest_ccci.locks import hold, somebody_waits, take_place
from pytest_ccci.process import alive, spawn, terminate
from pytest_ccci.progress import received
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.waiting import Deadline, until

HERE = Path(__file__).parent
COUNT = 50
AT_ONCE = 0.5
"""Who comes within these seconds comes at the same time: on a busy machine a process may not run for so long."""


def overtaken(rows: list[dict[str, Any]]) -> list[int]:
    """For each, how many that came later went before."""
    return [
        sum(other["came"] > row["came"] + AT_ONCE and other["entered"] < row["entered"] for other in rows)
        for row in rows
    ]


def crowd(place: Path, *, turns: bool = True) -> list[dict[str, Any]]:
    env = {"PYTHONPATH": f"{Path(pytest_ccci.__file__).parent.parent}:{HERE.parents[2]}", "PATH": os.environ["PATH"]}
    argv = [sys.executable, str(HERE / "crowd.py"), json.dumps({"root": str(place), "count": COUNT, "turns": turns})]
    rows: list[dict[str, Any]] = json.loads(process.run(argv, timeout=900, env=env).stdout)
    return rows


def test_fifty_processes_share_one_canonical(quick_place: Path) -> None:
    rows = crowd(quick_place)
    assert [row["problem"] for row in rows] == [""] * COUNT
    waited = [row["entered"] - row["came"] for row in rows]
    later = overtaken(rows)
    told = [row["told"] for row in rows if row["told"]]
    done = [row["release"] for row in rows if "release" in row]
    sys.stdout.write(
        f"{COUNT} processes, {COUNT - len(done)} killed inside; waited {statistics.median(waited):.1f} s (median), "
        f"{max(waited):.1f} s (most); overtaken by {max(later)} at most\n"
    )
    # Nobody starves: who came first went first.
    assert max(later) == 0
    # Who waits is told for whom, and since when.
    assert len(told) > COUNT // 2
    assert all(lines[0].startswith("waiting for warm-demo.ci.test, held by ") for lines in told)
    named = [any("held by run run-" in line and "since 20" in line for line in row["told"]) for row in rows]
    # Not all: between two holders nobody is known for a moment.
    assert sum(named) > len(told) // 2
    assert any("before us" in lines[0] for lines in told)
    # Nothing is torn: each promotion built on the one before, and the last is there and whole.
    assert sorted(done) == sorted(set(done))
    store = CanonicalStore(quick_place / "canonical", "demo", backend=CopyBackend())
    store.recover()
    record = store.record()
    assert record is not None
    assert int(record.release) >= max(done)
    assert store.verify() == ()
    assert store.secrets() == {"pw": record.release}
    store.restore(stopped=lambda: None)
    assert (store.live("db") / "table").read_text() == f"release {record.release}"
    assert len(done) < COUNT


@pytest.mark.full
def test_without_turns_many_are_overtaken(quick_place: Path) -> None:
    """The same crowd on the lock alone, which all of them poll in no order: what is measured above fails."""
    rows = crowd(quick_place, turns=False)
    assert [row["problem"] for row in rows] == [""] * COUNT
    assert max(overtaken(rows)) > 5


WAITER = """
import sys
from pathlib import Path
from pytest_ccci.locks import hold
from pytest_ccci.progress import received
with received(lambda line: print(line, flush=True)), hold(Path(sys.argv[1]), wait=600, owner={}):
    print("held", flush=True)
"""


ORDERED = """
import sys
from pathlib import Path
from pytest_ccci.locks import hold
from pytest_ccci.progress import received
with received(lambda line: print(line, flush=True)), hold(Path(sys.argv[1]), wait=600, owner={}):
    with open(sys.argv[2], "a") as log:
        log.write(sys.argv[3] + chr(10))
"""


def test_a_waiter_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    lock, log = tmp_path / "x.lock", tmp_path / "log"
    with hold(lock, wait=0, owner={"run": "first"}):
        pid = spawn([sys.executable, "-c", WAITER, lock], log=log)
        until(lambda: "held by run first" in log.read_text(), deadline=Deadline(60), what="it to wait", every=0.02)
        assert somebody_waits(lock)
        terminate(pid, force=True)
        until(lambda: not alive(pid), deadline=Deadline(30), what="it to die", every=0.01)
        assert not somebody_waits(lock)
        with take_place(lock) as ticket:
            assert ticket.is_first()
    with hold(lock, wait=0, owner={}):
        assert not somebody_waits(lock)


def test_a_waiter_that_is_stopped_does_not_hold_the_others_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ccci.locks._SOON", 0.1)
    lock, log = tmp_path / "x.lock", tmp_path / "log"
    with hold(lock, wait=0, owner={"run": "first"}):
        pid = spawn([sys.executable, "-c", WAITER, lock], log=log)
        until(lambda: "held by run first" in log.read_text(), deadline=Deadline(60), what="it to wait", every=0.02)
        os.kill(pid, signal.SIGSTOP)
    told: list[str] = []
    with received(told.append), hold(lock, wait=60, owner={"run": "second"}):
        assert "1 before us" in told[0]
        os.kill(pid, signal.SIGCONT)
        until(lambda: "held by run second" in log.read_text(), deadline=Deadline(60), what="it to go on", every=0.02)
    until(lambda: not alive(pid), deadline=Deadline(60), what="it to have had its turn", every=0.02)
    assert log.read_text().endswith("held\n")


def test_who_comes_while_others_wait_does_not_go_before(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with take_place(lock) as first:
        assert first.is_first()
        with pytest.raises(LockBusy), hold(lock, wait=0, owner={}):
            pytest.fail("it went before")
        with take_place(lock) as second:
            assert (second.is_first(), second.before) == (False, 1)
    with hold(lock, wait=0, owner={}):
        pass


def test_waiters_that_are_killed_in_between_change_nothing_of_the_order(tmp_path: Path) -> None:
    lock, log, pids = tmp_path / "x.lock", tmp_path / "order", []
    with hold(lock, wait=0, owner={"run": "first"}):
        for number in range(8):
            pids.append(spawn([sys.executable, "-c", ORDERED, lock, log, str(number)], log=tmp_path / f"{number}.log"))
            waits = tmp_path / f"{number}.log"
            until(lambda at=waits: "waiting" in at.read_text(), deadline=Deadline(60), what="it to wait", every=0.02)  # type: ignore[misc]  # a default binds it
        for number in (0, 3, 6):
            terminate(pids[number], force=True)
            until(lambda pid=pids[number]: not alive(pid), deadline=Deadline(30), what="it to die", every=0.01)  # type: ignore[misc]  # as above
    until(lambda: not any(map(alive, pids)), deadline=Deadline(60), what="all to have had it", every=0.02)
    assert log.read_text().split() == ["1", "2", "4", "5", "7"]
