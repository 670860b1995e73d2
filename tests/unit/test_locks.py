from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from pytest_ccci import locks
from pytest_ccci.errors import LockBusy
from pytest_ccci.process import alive, spawn, terminate
from pytest_ccci.waiting import Deadline, until

HOLDER = """
import sys, signal
from pathlib import Path
from pytest_ccci.locks import hold
with hold(Path(sys.argv[1]), wait=5, owner={"run": "20260101-000000-abcdef", "recipe": "hedgedoc"}):
    print("held", flush=True)
    signal.sigwait({signal.SIGUSR1})
print("freed", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "warm-hedgedoc.ci.test.lock"


class Holder:
    """Another process that holds the lock until it is told to let go."""

    def __init__(self, path: Path, log: Path) -> None:
        self.log = log
        self.pid = spawn([sys.executable, "-c", HOLDER, path], log=log)
        until(lambda: "held" in log.read_text(), deadline=Deadline(30), what="the other process", every=0.02)

    def let_go(self) -> None:
        os.kill(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        terminate(self.pid, force=True)
        until(lambda: not alive(self.pid), deadline=Deadline(10), what="it to die", every=0.01)


@pytest.fixture
def holder(path: Path, tmp_path: Path) -> Holder:
    return Holder(path, tmp_path / "holder.log")


def test_a_second_process_is_told_who_holds_and_gives_up_after_its_wait(holder: Holder, path: Path) -> None:
    told: list[str] = []
    with (
        pytest.raises(LockBusy, match=r"warm-hedgedoc\.ci\.test is in use") as caught,
        locks.hold(path, wait=0.2, owner={}, tell=told.append),
    ):
        pytest.fail("two held it")
    assert "20260101-000000-abcdef" in told[0]
    assert "recipe hedgedoc" in caught.value.seen
    assert f"pid {holder.pid}" in caught.value.seen
    holder.kill()


def test_a_second_process_gets_it_as_soon_as_the_first_lets_go(holder: Holder, path: Path) -> None:
    def told(_: str) -> None:
        holder.let_go()

    with locks.hold(path, wait=30, owner={"run": "next"}, tell=told):
        assert locks.who(path)["run"] == "next"


def test_the_lock_of_a_killed_process_is_free_and_its_file_still_the_same(holder: Holder, path: Path) -> None:
    inode = path.stat().st_ino
    holder.kill()
    assert not locks.is_held(path)
    with locks.hold(path, wait=0, owner={}):
        assert path.stat().st_ino == inode


def test_the_lock_file_is_never_unlinked(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    with locks.hold(path, wait=0, owner={}):
        assert path.stat().st_ino == inode


def test_another_thread_of_ours_is_another_holder(path: Path) -> None:
    outcome: list[str] = []

    def other() -> None:
        try:
            with locks.hold(path, wait=0, owner={}):
                outcome.append("held twice")
        except LockBusy:
            outcome.append("busy")

    with locks.hold(path, wait=0, owner={"run": "mine"}):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert locks.who(path)["run"] == "mine"
        assert locks.is_held(path)
    assert outcome == ["busy"]


def test_it_is_not_re_entrant_within_a_thread(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}), pytest.raises(LockBusy), locks.hold(path, wait=0, owner={}):
        pytest.fail("held twice")


def test_asking_whether_it_is_held_does_not_free_it(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        assert [locks.is_held(path), locks.is_held(path)] == [True, True]
    assert not locks.is_held(path)


def test_a_lock_that_nobody_ever_took_is_free_and_asking_makes_no_file(path: Path) -> None:
    assert not locks.is_held(path)
    assert not path.exists()


def test_garbage_collection_does_not_free_a_held_lock(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        gc.collect()
        assert locks.is_held(path)


def test_the_facts_of_the_holder_go_when_it_goes(path: Path) -> None:
    with locks.hold(path, wait=0, owner={"recipe": "hedgedoc"}):
        facts = locks.who(path)
        assert facts["recipe"] == "hedgedoc"
        assert facts["pid"] == str(os.getpid())
        assert facts["since"].endswith("+00:00")
    assert locks.who(path) == {}


@pytest.mark.parametrize("text", ["", "{", "[1]", "\0"])
def test_unreadable_facts_decide_nothing(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.owner").write_text(text)
    assert locks.who(path) == {}
    with locks.hold(path, wait=0, owner={}):
        pass


def test_an_error_inside_frees_it(path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locks.hold(path, wait=0, owner={}):
        raise ValueError("inside")
    assert not locks.is_held(path)


def test_locks_are_ours_alone(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
