"""Which live files are proven unchanged since they were last equal to a snapshot (by ctime and the seal)."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import manifest
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.manifest import Entry, Kind, Writer, seen_as
from pytest_ccci.store.tree import Node, order

__all__ = ["Seal", "Untouched", "next_tick"]

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


class Seal:
    """Notes entries in a file of its own, which takes the old seal's place when :meth:`put`.

    Made before the first entry is looked at: only what is looked at in a later tick of the kernel's clock than it was
    written in can be told from what is written afterwards. Where that clock does not move, nothing is noted.
    """

    def __init__(self, layout: Layout, *, fs: Fs) -> None:
        self._layout = layout
        self._fs = fs
        self._fresh = layout.work / "seal"
        fs.rmtree(self._fresh)
        self._writer = Writer(self._fresh, fs=fs) if next_tick(layout.work, fs=fs) else None

    def note(self, found: Entry, digest: str) -> None:
        """Take in the next entry of live, whose content has ``digest``."""
        if self._writer is not None:
            self._writer.add(found.with_digest(digest))

    def put(self) -> None:
        """Put the seal in place, durably. The caller has shown that what was noted is live, and all of it."""
        if self._writer is None:
            self.drop()
            return
        self._writer.close()
        self._fs.fsync_file(self._fresh)
        self._fs.rename(self._fresh, self._layout.seal)
        self._fs.fsync_dir(self._layout.root)

    def drop(self) -> None:
        """Live is not known: no seal."""
        self._fs.rmtree(self._fresh)
        self._fs.rmtree(self._layout.seal)
