"""Kernel locks by file, held for a life and never stolen; who waits for one gets it in the order of coming.

Liveness is the lock itself, not an age or a pid: the kernel frees it when its holder dies. Facts about the holder
stand in a sibling file, for people; they decide nothing.

Beside ``<lock>`` stands ``<lock>.turnstile``, the FIFO queue of those who wait. Each waiter holds one byte of it (an
open file description lock of Linux), behind the last byte that is held; the waiter with no byte held before its own
tries for the lock. So the kernel keeps the order and forgets the dead, nobody blocks in a call that a signal or a
deadline cannot end, and how many are before is asked without disturbing anyone. (Waiters of a blocking ``flock`` are
woken in order too, but who comes just then can take it before them.) Byte 0 is the holder's: whether a lock is held
can be read by it, without trying the lock.

A lock file is unlinked by nobody but `remove_unused`, which keeps the gate of its folder shut meanwhile; each attempt
to take a lock opens and locks the file while it keeps the gate open. So two processes never lock different inodes.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock
from filelock import Timeout, UnixFileLock

from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault, LockBusy
from pytest_ccci.progress import WaitLine
from pytest_ccci.waiting import Deadline, Stopwatch, until

__all__ = [
    "Held",
    "Place",
    "hold",
    "hold_first_free",
    "is_held",
    "is_marked",
    "keeps_its_file",
    "remove_unused",
    "somebody_waits",
    "take_place",
    "turn",
    "waiting",
    "who",
]

_LOG = logging.getLogger(__name__)

_REMIND = 15.0
_SOON = 1.0
_PATIENCE = 5
_POLL = 0.05
_QUICK = 0.005
"""Between two looks in the first second of a wait: many a lock is held for milliseconds only."""
_GATE_WAIT = 5.0
_FLOCK = "hhqqi0q"
"""``struct flock`` of 64-bit Linux."""
_UNLINKS_SINCE, _UNLINKS_NO_MORE = (3, 21, 0), (3, 29, 5)


@dataclass(frozen=True)
class Held:
    """A lock that is held as long as the ``with`` block runs."""

    path: Path


@contextmanager
def hold(path: Path, *, wait: float, owner: Mapping[str, str], level: int = logging.INFO) -> Iterator[Held]:
    """Hold the lock at ``path``; wait for it at most ``wait`` seconds and say for whom. Who came first gets it first.

    Not re-entrant, neither between threads nor within one. ``owner`` are facts for whoever waits meanwhile. ``level``
    is that of the lines about waiting: DEBUG for a lock that is held for moments only.

    Raises:
        LockBusy: somebody else held it all the time; says who and since when.
        InfrastructureFault: the installed filelock unlinks lock files.
    """
    with hold_first_free((path,), queue=path, wait=wait, owner=owner, level=level) as held:
        yield held


@contextmanager
def hold_first_free(
    paths: Sequence[Path], *, queue: Path, wait: float, owner: Mapping[str, str], level: int = logging.INFO
) -> Iterator[Held]:
    """Hold one of ``paths``, whichever is free first, as `hold` does; those who wait for any stand in one ``queue``.

    Raises:
        LockBusy: others held all of them all the time.
        OSError: the file of none of them can be opened.
    """
    _require_sound_filelock(filelock.__version__)
    for folder in {path.parent for path in (*paths, queue)}:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    grip = _acquire(paths, queue, wait, level, owner)
    try:
        _write_owner(grip.path, owner)
        yield Held(grip.path)
    finally:
        with suppress(OSError):
            _owner_file(grip.path).unlink(missing_ok=True)
        grip.let_go()


@contextmanager
def turn(queue: Path, *, wait: float, owner: Mapping[str, str] | None = None) -> Iterator[None]:
    """Be the first of those who wait in ``queue``: meanwhile nobody behind us gets what it is for.

    Raises:
        LockBusy: others were before us all the time.
    """
    queue.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with take_place(queue, owner=owner) as place:
        try:
            until(place.is_first, deadline=Deadline(wait), what="our turn", every=_POLL)
        except DeadlineExceeded as error:
            raise LockBusy(f"{queue.stem} is in use", seen=f"{place.before} others wait for it") from error
        yield


def is_held(path: Path) -> bool:
    """Whether somebody (also another thread of ours) holds the lock at ``path`` right now. Tries it for a moment."""
    if not path.exists():
        return False
    lock = UnixFileLock(path, mode=0o600, thread_local=False, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def is_marked(path: Path) -> bool:
    """Whether the holder of ``path`` says that it lives. Takes no lock and changes nothing; for people, not decisions.

    Raises:
        PermissionError: the lock is another user's.
    """
    with _opened_turnstile(path) as handle:
        return handle is not None and _held_byte(handle, 0, 1) is not None


def who(path: Path) -> dict[str, str]:
    """What the holder of ``path`` said of itself; empty when unknown."""
    return _facts(_owner_file(path))


def _facts(path: Path) -> dict[str, str]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}


class Place:
    """A place in the queue of a lock: one byte of its turnstile, held through an open file."""

    def __init__(self, handle: int, number: int) -> None:
        self._handle = handle
        self._number = number

    @property
    def before(self) -> int:
        """How many that are alive came earlier."""
        return sum(1 for _ in _held_bytes(self._handle, 1, self._number))

    def is_first(self) -> bool:
        """Whether nobody that is alive came earlier."""
        return _held_byte(self._handle, 1, self._number) is None


@contextmanager
def take_place(lock: Path, *, owner: Mapping[str, str] | None = None) -> Iterator[Place]:
    """A place at the end of the queue of ``lock``; given back at the end, or by our death. ``owner`` is for people."""
    with _passing(lock.parent):
        handle = os.open(_turnstile_file(lock), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        number = 1 + max(_held_bytes(handle, 1, None), default=0)
        while not _lock_byte(handle, number):
            number += 1
    said = _waiter_file(lock, number)
    try:
        if owner:
            _write_facts(said, owner)
        yield Place(handle, number)
    finally:
        with suppress(OSError):
            said.unlink(missing_ok=True)
        os.close(handle)


def waiting(lock: Path) -> tuple[dict[str, str], ...]:
    """Who waits for ``lock``, in the order of their coming, in their own words; those who said nothing are empty."""
    with _opened_turnstile(lock) as handle:
        numbers = sorted(_held_bytes(handle, 1, None)) if handle is not None else []
        return tuple(_facts(_waiter_file(lock, number)) for number in numbers)


def somebody_waits(lock: Path) -> bool:
    """Whether anybody that is alive waits for ``lock``: who comes now does not go before."""
    with _opened_turnstile(lock) as handle:
        return handle is not None and _held_byte(handle, 1, None) is not None


def remove_unused(path: Path) -> bool:
    """Remove the lock file ``path`` with what stands beside it, unless somebody holds it or waits for it.

    Returns whether it is gone.
    """
    with suppress(Timeout, DeadlineExceeded), _gate(path.parent, fcntl.LOCK_EX):
        if somebody_waits(path):
            return False
        with UnixFileLock(path, mode=0o600, thread_local=False, is_singleton=False).acquire(timeout=0):
            path.unlink(missing_ok=True)
            for beside in path.parent.glob(f"{path.name}.*"):
                if beside.is_dir():
                    shutil.rmtree(beside)
                else:
                    beside.unlink(missing_ok=True)
            return True
    return False


def keeps_its_file(version: str) -> bool:
    """Whether filelock of this version leaves a lock file where it is when the lock is released."""
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    return not _UNLINKS_SINCE <= numbers < _UNLINKS_NO_MORE


def _require_sound_filelock(version: str) -> None:
    if not keeps_its_file(version):
        raise InfrastructureFault(
            f"filelock {version} unlinks a lock file when it is released, so that two runs could use one app at once",
            advice="pip install 'filelock>=3.29.5'",
        )


@dataclass(frozen=True)
class _Grip:
    """A lock that was taken, and the open turnstile through which its mark is held."""

    path: Path
    lock: UnixFileLock
    mark: int

    def let_go(self) -> None:
        os.close(self.mark)
        self.lock.release()


def _acquire(paths: Sequence[Path], queue: Path, wait: float, level: int, owner: Mapping[str, str]) -> _Grip:
    """Take one of the locks: at once where nobody waits, else in turn."""
    deadline, watch = Deadline(wait), Stopwatch()
    grip = None if somebody_waits(queue) else _first_free(paths, queue)
    if grip is not None:
        return grip
    if wait <= 0:
        raise _busy(paths, queue, watch)
    nobody = 0
    with take_place(queue, owner=owner) as place:
        while not deadline.passed:
            before = f"{place.before} before us, " if place.before else ""
            told = f"waiting for {queue.stem}, held by {_describe(paths)} ({before}{watch.seconds:.0f} s so far)"
            _LOG.log(level, WaitLine(told))
            # Between two holders nobody is known for a moment.
            nobody = 0 if all(who(path) for path in paths) else nobody + 1
            grip = _first_free_in_turn(paths, queue, place, Deadline(min(_SOON if nobody else _REMIND, deadline.left)))
            # Nobody for long: whoever is first does not take it (a stopped process, say), and must not hold us up.
            if grip is None and nobody > _PATIENCE:
                grip = _first_free(paths, queue)
            if grip is not None:
                return grip
    raise _busy(paths, queue, watch)


def _first_free_in_turn(paths: Sequence[Path], queue: Path, place: Place, deadline: Deadline) -> _Grip | None:
    for seconds, every in ((_SOON, _QUICK), (deadline.seconds, _POLL)):
        with suppress(DeadlineExceeded):
            return until(
                lambda: _first_free(paths, queue) if place.is_first() else None,
                deadline=Deadline(min(seconds, deadline.left)),
                what="our turn",
                every=every,
            )
    return None


def _first_free(paths: Sequence[Path], queue: Path) -> _Grip | None:
    """The first lock that is free; one whose file cannot be opened is passed over.

    Raises:
        OSError: none of the files can be opened.
    """
    broken: list[OSError] = []
    for path in paths:
        try:
            # One of several may have waiters of its own, who want that very one.
            grip = _taken(path) if path == queue or not somebody_waits(path) else None
        except OSError as error:
            broken.append(error)
            continue
        if grip is not None:
            return grip
    if len(broken) == len(paths):
        raise broken[0]
    return None


def _taken(path: Path) -> _Grip | None:
    lock = UnixFileLock(path, mode=0o600, thread_local=False, is_singleton=False)
    with _passing(path.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        try:
            mark = os.open(_turnstile_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except BaseException:
            lock.release()
            raise
        _lock_byte(mark, 0)
    return _Grip(path, lock, mark)


def _busy(paths: Sequence[Path], queue: Path, watch: Stopwatch) -> LockBusy:
    return LockBusy(
        f"{queue.stem} is in use",
        seen=f"held by {_describe(paths)}; waited {watch.seconds:.0f} s",
        advice="wait for that run to end, or stop it; the lock is free as soon as its process is gone",
    )


def _describe(paths: Sequence[Path]) -> str:
    told = (", ".join(f"{key} {value}" for key, value in who(path).items()) for path in paths)
    return "; ".join(filter(None, told)) or "an unknown holder"


@contextmanager
def _passing(folder: Path) -> Iterator[None]:
    """While this runs no lock file in ``folder`` is removed."""
    with _gate(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _gate(folder: Path, how: int) -> Iterator[None]:
    handle = os.open(folder / ".gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until(lambda: _flocked(handle, how), deadline=Deadline(_GATE_WAIT), what=f"locks in {folder}", every=_QUICK)
        yield
    finally:
        os.close(handle)


def _flocked(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _waiter_file(lock: Path, number: int) -> Path:
    return lock.with_name(f"{lock.name}.waiter-{number}")


def _turnstile_file(lock: Path) -> Path:
    return lock.with_name(lock.name + ".turnstile")


@contextmanager
def _opened_turnstile(lock: Path) -> Iterator[int | None]:
    """The turnstile of ``lock``, open for questions; ``None`` where it has none."""
    try:
        handle = os.open(_turnstile_file(lock), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _lock_byte(handle: int, number: int) -> bool:
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))
    except BlockingIOError:
        return False
    return True


def _held_byte(handle: int, start: int, end: int | None) -> int | None:
    """A byte from ``start`` to before ``end`` that another open file holds; takes nothing."""
    if end is not None and end <= start:
        return None
    length = 0 if end is None else end - start
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, _, found, _, _ = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_OFD_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else int(found)


def _held_bytes(handle: int, start: int, end: int | None) -> Iterator[int]:
    """All such bytes, in no order: the kernel names any one of them at a time."""
    ranges = [(start, end)]
    while ranges:
        low, high = ranges.pop()
        found = _held_byte(handle, low, high)
        if found is not None:
            yield found
            ranges += [(low, found), (found + 1, high)]


def _owner_file(path: Path) -> Path:
    return path.with_name(path.name + ".owner")


def _write_owner(path: Path, owner: Mapping[str, str]) -> None:
    _write_facts(_owner_file(path), owner)


def _write_facts(path: Path, owner: Mapping[str, str]) -> None:
    facts = {**owner, "pid": str(os.getpid()), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    # Only for people: on a full or read-only disk the lock is held all the same.
    with suppress(OSError):
        fresh.write_text(json.dumps(facts), encoding="utf-8")
        fresh.replace(path)
