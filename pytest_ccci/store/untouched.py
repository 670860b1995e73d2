"""Which live files are still what they were when they were last shown equal to a snapshot.

Holds because every write, and every change of owner, mode, attribute or link count, makes the kernel set a file's
change time to its clock, which no program can choose. It does not hold when the clock was set back, when blocks were
written below the file system, or when a file was sealed in the same tick of the kernel's clock as it was written: for
the last, sealing waits for the next tick. Where it does not hold for sure, the file is copied.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import manifest
from pytest_ccci.store.entries import Entry, Kind, seen_as
from pytest_ccci.store.files import Fs
from pytest_ccci.store.walking import Node, order

__all__ = ["Untouched", "next_tick"]

_TRIES = 100_000


class Untouched:
    """Answers, for the nodes of a snapshot in their order, where live has the very same file; remembers its answers."""

    def __init__(self, live: Path, *, seal: Path, snapshot: Path) -> None:
        self._live = os.fspath(live)
        self._sealed = _Cursor(seal)
        self._wanted = _Cursor(snapshot)
        self._inodes = array("Q")
        self._told = 0
        self.size = 0

    def place(self, node: Node) -> str:
        """The live file that is proven to be ``node``'s equal, or ``""``."""
        if node.folder or node.stat.st_nlink > 1:
            return ""
        wanted, sealed = self._wanted.at(node.path), self._sealed.at(node.path)
        if wanted is None or sealed is None or wanted.kind is not Kind.FILE:
            return ""
        if wanted.digest != sealed.digest or seen_as(wanted) != seen_as(sealed):
            return ""
        return self._still(sealed, f"{self._live}/{node.path}")

    def _still(self, sealed: Entry, place: str) -> str:
        try:
            facts = os.lstat(place)
        except OSError:
            return ""
        # Owner, mode and attributes are as sealed too: to change one sets the change time as well.
        if facts.st_nlink != 1 or not sealed.still(facts):
            return ""
        self._inodes.append(facts.st_ino)
        self.size += facts.st_size
        return place

    @property
    def files(self) -> int:
        """How many were found so far."""
        return len(self._inodes)

    def proof(self, expected: Entry, found: Entry) -> bool:
        """Whether ``found`` is the next of the files that were answered (as a link in another tree), in their order.

        An order that is another costs reading, and nothing else.
        """
        if self._told == len(self._inodes) or found.inode != self._inodes[self._told]:
            return False
        self._told += 1
        return found.size == expected.size


class _Cursor:
    """Looks entries up in a manifest by paths that only go forward; nothing is found in one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._rows = _readable(path)
        self._row = next(self._rows, None)

    def at(self, path: str) -> Entry | None:
        if self._row is not None and self._row.path == path:
            return self._row
        key = order(path)
        while self._row is not None and order(self._row.path) < key:
            self._row = next(self._rows, None)
        return self._row if self._row is not None and self._row.path == path else None


def _readable(path: Path) -> Iterator[Entry]:
    if not path.exists():
        return
    try:
        # All of it first: an entry counts only when the end shows that the file is whole.
        manifest.file_digest(path)
        yield from manifest.read(path)
    except StoreDamaged:
        return


def next_tick(folder: Path, *, fs: Fs) -> bool:
    """Let the kernel's clock for change times move on, so that a later write shows. False when it does not move.

    The clock ticks some hundred times a second at worst, so this turns a file's times around for milliseconds.
    """
    probe = folder / ".tick"
    probe.unlink(missing_ok=True)
    fs.write_file(probe, b"")
    try:
        first = probe.stat().st_ctime_ns
        for _ in range(_TRIES):
            probe.chmod(0o600)
            if probe.stat().st_ctime_ns > first:
                return True
        return False
    finally:
        fs.unlink(probe)
