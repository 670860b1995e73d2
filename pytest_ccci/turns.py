"""Whose turn is it? Those who wait for a lock, in the order in which they came.

The lock itself stays the kernel's; this only says who may try for it. A ticket is a file named after the moment it was
drawn, by the clock that all processes of a machine share, and its owner holds a kernel lock on it while it waits: the
ticket of a dead one is nobody's. Nobody waits to draw one, so that the order is that of coming.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Ticket", "draw", "somebody_waits"]

_SUFFIX = ".ticket"


class Ticket:
    """A place in the queue."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_before: Path | None = None

    @property
    def before(self) -> int:
        """How many that are alive came earlier."""
        return sum(map(_is_alive, self._earlier()))

    def is_first(self) -> bool:
        """Whether nobody that is alive came earlier. Cheap to ask often: it looks at the next one before only."""
        if self._next_before is not None and _is_alive(self._next_before):
            return False
        self._next_before = next((path for path in reversed(self._earlier()) if _is_alive(path)), None)
        return self._next_before is None

    def _earlier(self) -> list[Path]:
        return [path for path in _tickets(self._path.parent) if path.name < self._path.name]


@contextmanager
def draw(lock: Path) -> Iterator[Ticket]:
    """A ticket for the queue of ``lock``; given back at the end, or by our death."""
    queue = _queue_of(lock)
    name = f"{time.monotonic_ns():020}-{os.getpid()}-{threading.get_ident()}"
    queue.mkdir(mode=0o700, exist_ok=True)
    # Locked before it has its name, so that nobody ever sees it unlocked and takes it for a dead one's.
    fresh, mine = queue / f"{name}.new", queue / f"{name}{_SUFFIX}"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(mine)
        _put_away_the_dead(queue)
        yield Ticket(mine)
    finally:
        mine.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)
        os.close(handle)


def somebody_waits(lock: Path) -> bool:
    """Whether anybody that is alive waits for ``lock``: who comes now does not go before."""
    return any(_is_alive(path) for path in _tickets(_queue_of(lock)))


def _queue_of(lock: Path) -> Path:
    return lock.with_name(lock.name + ".queue")


def _tickets(queue: Path) -> list[Path]:
    """All tickets, the oldest first."""
    try:
        names = os.listdir(queue)  # noqa: PTH208  names are all that is needed, many times a second
    except FileNotFoundError:
        return []
    return [queue / name for name in sorted(names) if name.endswith(_SUFFIX)]


def _put_away_the_dead(queue: Path) -> None:
    """Names are never used twice, so what is put away here can be nobody else's by then."""
    for path in _tickets(queue):
        if not _is_alive(path):
            path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    """Whether somebody holds the ticket. Shared, so that those who ask do not take each other for its owner."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        return True
    finally:
        os.close(handle)
