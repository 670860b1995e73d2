"""Kernel locks by file: held for a life, never unlinked, never stolen.

Liveness is the lock itself, not an age or a pid: the kernel frees it when its holder dies. Facts about the holder
stand in a sibling file, for people; they decide nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import Timeout, UnixFileLock

from pytest_ccci.errors import DeadlineExceeded, LockBusy
from pytest_ccci.turns import Ticket, draw, somebody_waits
from pytest_ccci.waiting import Deadline, Stopwatch, until

__all__ = ["Held", "Tell", "hold", "is_held", "silent", "who"]

Tell = Callable[[str], None]
"""Takes one line about what is going on, for a person who waits."""

_REMIND = 15.0
_SOON = 1.0
_PATIENCE = 5
_POLL = 0.05
_QUICK = 0.005
"""Between two looks in the first second of a wait: many a lock is held for milliseconds only."""


def silent(line: str, /) -> None:
    """Tell nobody."""
    del line


@dataclass(frozen=True)
class Held:
    """A lock that is held as long as the ``with`` block runs."""

    path: Path


@contextmanager
def hold(path: Path, *, wait: float, owner: Mapping[str, str], tell: Tell = silent) -> Iterator[Held]:
    """Hold the lock at ``path``; wait for it at most ``wait`` seconds and say for whom. Who came first gets it first.

    Not re-entrant, neither between threads nor within one. ``owner`` are facts for whoever waits meanwhile.

    Raises:
        LockBusy: somebody else held it all the time; says who and since when.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = UnixFileLock(path, mode=0o600, thread_local=False, is_singleton=False)
    _acquire(lock, path, wait, tell)
    try:
        _write_owner(path, owner)
        yield Held(path)
    finally:
        _owner_file(path).unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody (also another thread of ours) holds the lock at ``path`` right now."""
    if not path.exists():
        return False
    lock = UnixFileLock(path, mode=0o600, thread_local=False, is_singleton=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def who(path: Path) -> dict[str, str]:
    """What the holder of ``path`` said of itself; empty when unknown."""
    try:
        facts = json.loads(_owner_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}


def _acquire(lock: UnixFileLock, path: Path, wait: float, tell: Tell) -> None:
    """Take the lock: at once where nobody waits for it, else in turn."""
    deadline, watch = Deadline(wait), Stopwatch()
    if not somebody_waits(path) and _taken(lock, Deadline(0)):
        return
    if wait <= 0:
        raise _busy(path, watch)
    nobody = 0
    with draw(path) as ticket:
        while not deadline.passed:
            before = f"{ticket.before} before us, " if ticket.before else ""
            tell(f"waiting for {path.stem}, held by {_describe(path)} ({before}{watch.seconds:.0f} s so far)")
            # Between two holders nobody is known for a moment.
            nobody = 0 if who(path) else nobody + 1
            if _taken_in_turn(lock, ticket, Deadline(min(_SOON if nobody else _REMIND, deadline.left))):
                return
            # Nobody for long: whoever is first does not take it (a stopped process, say), and must not hold us up.
            if nobody > _PATIENCE and _taken(lock, Deadline(0)):
                return
    raise _busy(path, watch)


def _taken_in_turn(lock: UnixFileLock, ticket: Ticket, deadline: Deadline) -> bool:
    for seconds, every in ((_SOON, _QUICK), (deadline.seconds, _POLL)):
        part = Deadline(min(seconds, deadline.left))
        with suppress(DeadlineExceeded):
            until(ticket.is_first, deadline=part, what="our turn", every=every)
            if _taken(lock, part, every):
                return True
    return False


def _taken(lock: UnixFileLock, deadline: Deadline, every: float = _POLL) -> bool:
    try:
        lock.acquire(timeout=deadline.left, poll_interval=every)
    except Timeout:
        return False
    return True


def _busy(path: Path, watch: Stopwatch) -> LockBusy:
    return LockBusy(
        f"{path.stem} is in use",
        seen=f"held by {_describe(path)}; waited {watch.seconds:.0f} s",
        advice="wait for that run to end, or stop it; the lock is free as soon as its process is gone",
    )


def _describe(path: Path) -> str:
    facts = who(path)
    return ", ".join(f"{key} {value}" for key, value in facts.items()) or "an unknown holder"


def _owner_file(path: Path) -> Path:
    return path.with_name(path.name + ".owner")


def _write_owner(path: Path, owner: Mapping[str, str]) -> None:
    facts = {**owner, "pid": str(os.getpid()), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    fresh = path.with_name(f"{path.name}.owner.{os.getpid()}")
    fresh.write_text(json.dumps(facts), encoding="utf-8")
    fresh.replace(_owner_file(path))
