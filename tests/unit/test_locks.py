from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import filelock
import pytest
from filelock import UnixFileLock

from pytest_ccci import locks
from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault, LockBusy
from pytest_ccci.process import alive, spawn, terminate
from pytest_ccci.progress import received
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
        received(told.append),
        locks.hold(path, wait=0.2, owner={}),
    ):
        pytest.fail("two held it")
    assert "20260101-000000-abcdef" in told[0]
    assert "recipe hedgedoc" in caught.value.seen
    assert f"pid {holder.pid}" in caught.value.seen
    holder.kill()


def test_a_second_process_gets_it_as_soon_as_the_first_lets_go(holder: Holder, path: Path) -> None:
    def told(_: str) -> None:
        holder.let_go()

    with received(told), locks.hold(path, wait=30, owner={"run": "next"}):
        assert locks.who(path)["run"] == "next"


def test_the_lock_of_a_killed_process_is_free_and_its_file_still_the_same(holder: Holder, path: Path) -> None:
    inode = path.stat().st_ino
    holder.kill()
    assert not locks.is_held(path)
    with locks.hold(path, wait=0, owner={}):
        assert path.stat().st_ino == inode


def test_a_released_lock_file_is_still_there(path: Path) -> None:
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


def test_a_released_lock_is_still_there_whatever_filelock_is_installed(path: Path) -> None:
    path.parent.mkdir(parents=True)
    lock = UnixFileLock(path, is_singleton=False)
    with lock.acquire(timeout=0):
        inode = path.stat().st_ino
    assert path.stat().st_ino == inode
    assert locks.keeps_its_file(filelock.__version__)


@pytest.mark.parametrize(
    ("version", "keeps"),
    [("3.20.9", True), ("3.21.0", False), ("3.29.4", False), ("3.29.5", True), ("3.30.0", True), ("4.0.0", True)],
)
def test_the_versions_of_filelock_that_unlink_lock_files_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str, keeps: bool
) -> None:
    monkeypatch.setattr(filelock, "__version__", version)
    with (
        contextlib.nullcontext() if keeps else pytest.raises(InfrastructureFault, match=f"filelock {version} unlinks"),
        locks.hold(path, wait=0, owner={}),
    ):
        assert keeps


def test_a_lock_file_that_nobody_uses_can_be_removed_with_what_stands_beside_it(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        pass
    path.with_name(f"{path.name}.queue").mkdir()  # as versions before this one made it
    assert locks.remove_unused(path)
    assert [found.name for found in path.parent.iterdir()] == [".gate"]


def test_a_lock_file_that_is_held_or_waited_for_is_not_removed(path: Path) -> None:
    with locks.hold(path, wait=0, owner={}):
        assert not locks.remove_unused(path)
    with locks.take_place(path):
        assert not locks.remove_unused(path)
    assert path.exists()


def test_nobody_takes_or_waits_for_a_lock_in_a_folder_whose_lock_files_are_being_removed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_GATE_WAIT", 0.05)
    with locks.hold(path, wait=0, owner={}):
        pass
    with locks._gate(path.parent, fcntl.LOCK_EX):
        with pytest.raises(DeadlineExceeded), locks.hold(path, wait=0, owner={}):
            pass
        with pytest.raises(DeadlineExceeded), locks.take_place(path):
            pass
    with locks._gate(path.parent, fcntl.LOCK_SH):
        assert not locks.remove_unused(path)
        with locks.hold(path, wait=0, owner={}):
            pass
    assert locks.remove_unused(path)


def test_two_never_hold_it_at_once_while_a_third_keeps_removing_its_file(path: Path) -> None:
    inside, most, removed = [0], [0], list[bool]()
    done = threading.Event()

    def remove_once() -> None:
        removed.append(locks.remove_unused(path))

    together = threading.Barrier(4, action=remove_once)  # between two rounds nobody holds it or waits for it

    def visit() -> None:
        for _ in range(10):
            for _ in range(4):
                with locks.hold(path, wait=60, owner={}):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            together.wait(60)

    def remove() -> None:
        while not done.is_set():
            remove_once()

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    remover = threading.Thread(target=remove)
    for thread in (*visitors, remover):
        thread.start()
    for thread in visitors:
        thread.join()
    done.set()
    remover.join()
    assert most == [1]
    assert sum(removed) >= 10


def test_whether_it_is_held_can_be_read_without_taking_or_making_anything(path: Path) -> None:
    assert not locks.is_marked(path)
    assert not path.parent.exists()
    with locks.hold(path, wait=0, owner={}):
        assert locks.is_marked(path)
    assert not locks.is_marked(path)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_a_wait_at_once(path: Path) -> None:
    def interrupt(_: str) -> None:
        signal.raise_signal(signal.SIGINT)

    with (
        locks.hold(path, wait=0, owner={}),
        pytest.raises(KeyboardInterrupt),
        received(interrupt),
        locks.hold(path, wait=60, owner={}),
    ):
        pytest.fail("it was held twice")
    assert not locks.somebody_waits(path)


def test_one_of_several_for_which_somebody_waits_in_particular_is_left_to_that_one(path: Path) -> None:
    other, queue = path.with_name("other.lock"), path.with_name("any of them")
    with locks.hold(path, wait=0, owner={}):
        with (
            locks.take_place(other),
            pytest.raises(LockBusy),
            locks.hold_first_free((path, other), queue=queue, wait=0, owner={}),
        ):
            pass
        with locks.hold_first_free((path, other), queue=queue, wait=0, owner={}) as held:
            assert held.path == other


def test_who_waits_for_one_of_several_gets_the_first_that_is_free_in_the_order_of_coming(path: Path) -> None:
    paths = [path.with_name(f"{number}.lock") for number in range(2)]
    queue = path.with_name("any")
    order: list[str] = []
    threads: list[threading.Thread] = []

    def come(name: str) -> None:
        with locks.hold_first_free(paths, queue=queue, wait=60, owner={}):
            order.append(name)

    with locks.hold(paths[1], wait=0, owner={}):
        with locks.turn(queue, wait=0):
            for number, name in enumerate("abcdef", 1):
                threads.append(threading.Thread(target=come, args=(name,)))
                threads[-1].start()
                until(partial(_waiting_are, queue, number + 1), deadline=Deadline(30), what="it to wait", every=0.005)
            with pytest.raises(LockBusy), locks.hold_first_free(paths, queue=queue, wait=0, owner={}):
                pytest.fail("it went before")
            assert order == []
        for thread in threads:
            thread.join()
    assert order == list("abcdef")


def _waiting_are(queue: Path, number: int) -> bool:
    with locks.take_place(queue) as probe:
        return probe.before == number
