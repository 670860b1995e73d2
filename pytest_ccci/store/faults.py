"""What the operating system refuses, in words: one translation for everything the store does."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_ccci.errors import CcciError, DiskFull, InfrastructureFault, StoreDamaged
from pytest_ccci.store.disk import free, shown

__all__ = ["RECORDS", "os_errors", "os_fault", "translated"]

_FREE = "free some space (`ccci prune` shows what can go); the known-good is kept"
_FULL = {errno.ENOSPC, errno.EDQUOT}
RECORDS = 64 * 1024
"""What any change writes at least: lines of a journal, a record, the blocks of new folders; in bytes."""


@contextmanager
def translated(what: str, *, where: Path, undo: Callable[[], object], needed: Callable[[], int]) -> Iterator[None]:
    """Run a change; when it fails, ``undo`` it as far as that goes now and say what failed.

    What cannot be undone now is undone by the next start from the journal. ``needed`` tells how many bytes the whole
    change takes, so that a full disk can be told with what is missing.
    """
    try:
        yield
    except OSError as error:
        _try(undo)
        raise _told(error, what, where, needed()) from error
    except BaseException:
        _try(undo)
        raise


@contextmanager
def os_errors(what: str, *, where: Path) -> Iterator[None]:
    """Say in our words what the operating system refuses; nothing is to be undone.

    Raises:
        DiskFull: there is no room; says how much is left.
        InfrastructureFault: anything else.
    """
    try:
        yield
    except OSError as error:
        raise os_fault(error, what, where) from error


def os_fault(error: OSError, what: str, where: Path) -> InfrastructureFault:
    """The same for an error that was caught already."""
    return _told(error, what, where, 0)


def _try(undo: Callable[[], object]) -> None:
    with suppress(OSError, CcciError):
        undo()


def _told(error: OSError, what: str, where: Path, needed: int) -> InfrastructureFault:
    seen = f"{os.strerror(error.errno) if error.errno else error}, at {error.filename or where}"
    if error.errno in _FULL:
        room, needed = free(where), max(needed, RECORDS)
        missing = max(needed - room, 0)
        limit = "the quota" if error.errno == errno.EDQUOT else "the disk"
        amount = f"{shown(missing)} more" if missing else f"at least {shown(needed)} in one go, or free inodes,"
        return DiskFull(
            f"{what} failed: {limit} is full; needed {shown(needed)}, {shown(room)} free: {amount} must be freed",
            where=str(where),
            seen=seen,
            advice=_FREE,
        )
    if error.errno == errno.EIO:
        return StoreDamaged(
            f"{what} failed: the disk reports an error",
            where=str(where),
            seen=seen,
            advice="look at the kernel's log; `ccci verify --read-data` shows whether the known-good is whole",
        )
    advice = (
        "the file system is read-only: see why (often a disk error), remount it" if error.errno == errno.EROFS else ""
    )
    return InfrastructureFault(f"{what} failed", where=str(where), seen=seen, advice=advice)
