"""How trees are copied here: by sharing blocks where the file system can, byte by byte everywhere."""

from __future__ import annotations

import os
import stat
import uuid
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import ClassVar

from pytest_ccci.store.fs import Fs, Place
from pytest_ccci.store.manifest import Entry, Kind, describe
from pytest_ccci.store.tree import Node, walk

__all__ = ["Backend", "CopyBackend", "Keep", "Maker", "ReflinkBackend", "choose", "keep_nothing"]

_SPECIAL = {Kind.FIFO: stat.S_IFIFO, Kind.SOCKET: stat.S_IFSOCK, Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}

Keep = Callable[[Node], str]
"""The place of a file that is proven to be already what this node is, so that a link to it will do; else ``""``."""


def keep_nothing(_node: Node, /) -> str:
    """Copy everything."""
    return ""


class Backend(ABC):
    """A way to copy trees; a strategy says only how the content of one file gets into a new one."""

    name: ClassVar[str]
    shares_blocks: ClassVar[bool]
    """Whether a copy takes no room, and its content needs no reading to be shown equal."""
    gain: ClassVar[str]
    """What another back end would bring, in a sentence; empty when nothing."""

    def __init__(self, why: str = "asked for") -> None:
        self.why = why

    @property
    def told(self) -> str:
        """Why this one, and what another would bring."""
        return f"{self.why}; {self.gain}: ccci doctor says how" if self.gain else self.why

    @abstractmethod
    def copy_data(self, source: Place, target: Place, *, fs: Fs) -> None:
        """Make ``target`` a new file with the content of ``source``."""

    def copy_tree(
        self,
        source: Path,
        target: Path,
        *,
        fs: Fs,
        only: Collection[str] | None = None,
        keep: Keep = keep_nothing,
    ) -> None:
        """Copy what is below ``source`` below ``target``, an existing empty directory, with all that makes it up.

        ``only`` limits the first level to these names.
        """
        maker, first = Maker(target, fs=fs), dict[int, str]()
        for node in walk(source, only=only):
            if kept := keep(node):
                fs.link(kept, f"{target}/{node.path}")
                continue
            facts, leader = node.stat, ""
            if facts.st_nlink > 1 and not node.folder:
                leader = first.setdefault(facts.st_ino, node.path)
            entry = describe(node, leader="" if leader == node.path else leader)
            maker.make(entry, partial(self.copy_data, node.place, fs=fs), accessed=facts.st_atime_ns)
        maker.done()


class CopyBackend(Backend):
    """Copies bytes; works on any file system. Holes stay holes."""

    name = "copy"
    shares_blocks = False
    gain = "where files can share blocks (XFS, btrfs), a snapshot takes no room and a restore no time per byte"

    def copy_data(self, source: Place, target: Place, *, fs: Fs) -> None:
        """Copy byte by byte."""
        fs.copy_data(source, target)


class ReflinkBackend(Backend):
    """Shares blocks until one side is written to; costs the same for a byte as for a GiB."""

    name = "reflink"
    shares_blocks = True
    gain = ""

    def copy_data(self, source: Place, target: Place, *, fs: Fs) -> None:
        """Clone; a file that cannot be cloned is copied."""
        if not fs.clone_data(source, target):
            fs.copy_data(source, target)


def choose(directory: Path) -> Backend:
    """Find out with two real files which way ``directory`` supports."""
    try:
        shares = _shares_blocks(directory / f".probe-{uuid.uuid4().hex}", fs=Fs())
    except OSError as error:
        return CopyBackend(f"whether files can share blocks could not be tried ({error.strerror})")
    if shares:
        return ReflinkBackend("the file system lets files share blocks, so a restore costs nothing per byte")
    return CopyBackend("the file system cannot share blocks between files (XFS and btrfs can)")


def _shares_blocks(probe: Path, *, fs: Fs) -> bool:
    source, target = probe / "a", probe / "b"
    fs.mkdir(probe)
    try:
        fs.write_file(source, b"probe" * 4096)
        return fs.clone_data(source, target) and target.read_bytes() == source.read_bytes()
    finally:
        fs.rmtree(probe)


class Maker:
    """Makes the nodes of one tree: parents before children, and a directory's own facts after what is in it."""

    def __init__(self, target: Path, *, fs: Fs) -> None:
        self._fs = fs
        self._target = os.fspath(target)
        self._open: list[tuple[Entry, int]] = []

    def make(self, entry: Entry, content: Callable[[str], object], *, accessed: int) -> None:
        """Make the next node, in the order of a walk. A new file is made by ``content``, at the place it is given."""
        fs, new = self._fs, f"{self._target}/{entry.path}"
        self._close_folders(entry.path)
        if entry.kind is Kind.FOLDER:
            fs.mkdir(new)
            self._open.append((entry, accessed))
            return
        if entry.leader:
            fs.link(f"{self._target}/{entry.leader}", new)
            return
        if entry.kind is Kind.FILE:
            content(new)
        elif entry.kind is Kind.LINK:
            fs.symlink(entry.target, new)
        else:
            fs.mknod(new, _SPECIAL[entry.kind] | 0o600, entry.rdev)
        self._finish(entry, accessed)

    def done(self) -> None:
        """Finish what is still open, after the last node."""
        self._close_folders("")

    def _close_folders(self, path: str) -> None:
        while self._open and not path.startswith(self._open[-1][0].path + "/"):
            self._finish(*self._open.pop())

    def _finish(self, entry: Entry, accessed: int) -> None:
        """Give a new node all that is not its content.

        Owner first, as it clears set-uid bits and capabilities; times last, as all else changes them.
        """
        fs, path = self._fs, f"{self._target}/{entry.path}"
        made = os.lstat(path)
        if (entry.uid, entry.gid) != (made.st_uid, made.st_gid):
            fs.set_owner(path, entry.uid, entry.gid)
        for name, value in entry.xattrs:
            fs.set_xattr(path, name, b64decode(value, validate=True))
        # Attributes may be rights, which the mode is a part of.
        if entry.kind is not Kind.LINK and (entry.xattrs or entry.mode != stat.S_IMODE(made.st_mode)):
            fs.set_mode(path, entry.mode)
        fs.set_times(path, accessed, entry.mtime_ns)
