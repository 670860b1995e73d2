"""The seal: which files live consists of, noted while they are shown to be a snapshot's.

With it, the kernel's change times tell later whether live was written to since, and which files need no copying.
"""

from __future__ import annotations

from pytest_ccci.store.entries import Entry
from pytest_ccci.store.files import Fs
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.manifest import Writer
from pytest_ccci.store.untouched import next_tick

__all__ = ["Seal"]


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
