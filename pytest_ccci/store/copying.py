"""How trees are copied here: by sharing blocks where the file system can, byte by byte everywhere."""

from __future__ import annotations

import os
import stat
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import ClassVar

from pytest_ccci.store.fs import Fs, Place
from pytest_ccci.store.manifest import give_facts, target_of, xattrs_of
from pytest_ccci.store.tree import Node, walk

__all__ = ["Backend", "CopyBackend", "Keep", "ReflinkBackend", "choose", "keep_nothing"]

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
        _Copier(fs, target, partial(self.copy_data, fs=fs), keep).run(source, only)


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


class _Copier:
    """One copy of one tree: parents before children, and a directory's own facts after what is in it."""

    def __init__(self, fs: Fs, target: Path, data: Callable[[str, str], None], keep: Keep) -> None:
        self._fs = fs
        self._target = os.fspath(target)
        self._data = data
        self._keep = keep
        self._first: dict[int, str] = {}
        self._open: list[tuple[Node, str]] = []

    def run(self, source: Path, only: Collection[str] | None) -> None:
        for node in walk(source, only=only):
            self._close_folders(node.path)
            self._node(node, f"{self._target}/{node.path}")
        self._close_folders("")

    def _node(self, node: Node, new: str) -> None:
        facts = node.stat
        if node.folder:
            self._fs.mkdir(new)
            self._open.append((node, new))
            return
        if facts.st_nlink > 1 and (first := self._first.setdefault(facts.st_ino, new)) != new:
            self._fs.link(first, new)
            return
        if kept := self._keep(node):
            self._fs.link(kept, new)
            return
        self._make(node, new)
        self._finish(node, new)

    def _make(self, node: Node, new: str) -> None:
        mode = node.stat.st_mode
        if stat.S_ISREG(mode):
            self._data(node.place, new)
        elif stat.S_ISLNK(mode):
            self._fs.symlink(target_of(node.place), new)
        else:
            self._fs.mknod(new, stat.S_IFMT(mode) | 0o600, node.stat.st_rdev)

    def _close_folders(self, path: str) -> None:
        while self._open and not path.startswith(self._open[-1][0].path + "/"):
            self._finish(*self._open.pop())

    def _finish(self, node: Node, new: str) -> None:
        facts = node.stat
        give_facts(
            self._fs,
            new,
            owner=(facts.st_uid, facts.st_gid),
            xattrs=xattrs_of(node.place),
            mode=None if stat.S_ISLNK(facts.st_mode) else stat.S_IMODE(facts.st_mode),
            times=(facts.st_atime_ns, facts.st_mtime_ns),
        )
