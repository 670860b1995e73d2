"""Room on the disk: asked before a copy, and how many bytes a tree shares with others."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import DiskFull
from pytest_ccci.store.tree import Node

__all__ = [
    "Demand",
    "Footprint",
    "Room",
    "allocated",
    "demand",
    "fits",
    "footprint",
    "free",
    "inspect_room",
    "most",
    "require",
    "shown",
]

_PER_NODE = 1024
_MARGIN = 1 << 20
_BLOCK = 4096
_KIB = 1024


@dataclass(frozen=True)
class Demand:
    """What a copy needs at most: bytes and inodes."""

    size: int
    inodes: int


def demand(nodes: Iterable[Node], *, shares_blocks: bool) -> Demand:
    """What a copy of ``nodes`` takes: allocated blocks (holes are free), or only metadata when blocks are shared."""
    size, inodes, seen = _MARGIN, 0, set()
    for node in nodes:
        if node.stat.st_nlink > 1 and not node.folder:
            if node.stat.st_ino in seen:
                continue
            seen.add(node.stat.st_ino)
        inodes += 1
        size += _PER_NODE + (0 if shares_blocks else node.stat.st_blocks * 512)
    return Demand(size, inodes)


def most(nodes: int, size: int) -> Demand:
    """What a copy of that many nodes and bytes takes at most, before looking at any: holes are not left out."""
    return Demand(_MARGIN + nodes * (_PER_NODE + _BLOCK) + size, nodes)


def fits(need: Demand, where: Path) -> bool:
    """Whether there is room for sure."""
    facts = os.statvfs(where)
    return need.size <= free(where) and (not facts.f_files or need.inodes <= facts.f_ffree)


def free(where: Path) -> int:
    """Bytes that we may still write on the file system of ``where`` (or of its nearest existing parent)."""
    return inspect_room(where).size


@dataclass(frozen=True)
class Room:
    """What is free on one file system, of how much: bytes, and inodes (0 of 0 where they are made as needed)."""

    device: int
    size: int
    total: int
    inodes: int
    all_inodes: int


def inspect_room(where: Path) -> Room:
    """The room on the file system of ``where`` (or of its nearest existing parent)."""
    while not where.exists():
        where = where.parent
    facts = os.statvfs(where)
    usable = facts.f_bfree if os.geteuid() == 0 else facts.f_bavail
    size, total = usable * facts.f_frsize, facts.f_blocks * facts.f_frsize
    return Room(where.stat().st_dev, size, total, facts.f_ffree if facts.f_files else 0, facts.f_files)


def require(need: Demand, where: Path, *, what: str) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DiskFull: says how much is needed, free and missing.
    """
    room, facts = free(where), os.statvfs(where)
    if need.size > room:
        raise DiskFull(
            f"no room for {what}: it needs {shown(need.size)}, {shown(room)} are free, "
            f"{shown(need.size - room)} missing",
            where=str(where),
            advice="free some space (`ccci prune` shows what can go), or use another state directory",
        )
    # btrfs makes inodes as it goes and tells 0.
    if facts.f_files and need.inodes > facts.f_ffree:
        raise DiskFull(
            f"no room for {what}: it needs {need.inodes} inodes, {facts.f_ffree} are free, "
            f"{need.inodes - facts.f_ffree} missing",
            where=str(where),
            advice="remove small files, or use a file system with more inodes",
        )


def shown(size: int) -> str:
    """A size for people."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIB or unit == "GiB":
            break
        amount /= _KIB
    return f"{amount:.1f} {unit}" if unit != "B" else f"{size} B"


_FS_IOC_FIEMAP = 0xC020660B
_HEADER = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_LAST, _SHARED = 0x1, 0x2000
_BATCH = 128


@dataclass(frozen=True)
class Footprint:
    """Bytes on disk below a folder. ``shared`` is ``None`` where the file system does not tell."""

    allocated: int
    shared: int | None

    @property
    def exclusive(self) -> int | None:
        """What nothing else holds: as much comes free when the folder goes."""
        return None if self.shared is None else max(self.allocated - self.shared, 0)


def allocated(root: Path, *, without: Collection[Path] = ()) -> int:
    """Bytes allocated below ``root``, but for the files and folders ``without``; what goes meanwhile does not count."""
    return sum(facts.st_blocks * 512 for _, facts in _files(root, without))


def footprint(root: Path) -> Footprint:
    """Look at every file below ``root``, each inode once; what goes meanwhile does not count."""
    size, shared = 0, 0
    told = True
    for path, facts in _files(root):
        size += facts.st_blocks * 512
        if facts.st_blocks and told:
            mine = _shared(path)
            told = mine is not None
            shared += mine or 0
    return Footprint(size, shared if told else None)


def _files(root: Path, without: Collection[Path] = ()) -> Iterator[tuple[Path, os.stat_result]]:
    """Each inode once. An inode's number counts with its file system: another may be mounted below ``root``."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in names:
            path = Path(folder, name)
            try:
                facts = path.lstat()
            except OSError:
                continue
            inode = (facts.st_dev, facts.st_ino)
            if stat.S_ISREG(facts.st_mode) and inode not in seen and path not in without:
                seen.add(inode)
                yield path, facts


def _shared(path: Path) -> int | None:
    """Bytes of a file that the kernel calls shared; ``None`` where it does not tell, 0 for a file that went."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME)
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    try:
        return sum(length for length, flags in _extents(handle) if flags & _SHARED)
    except OSError:
        return None
    finally:
        os.close(handle)


def _extents(handle: int) -> Iterator[tuple[int, int]]:
    at = 0
    while True:
        buffer = bytearray(_HEADER.pack(at, 2**64 - 1 - at, 0, 0, _BATCH, 0) + bytes(_EXTENT.size * _BATCH))
        fcntl.ioctl(handle, _FS_IOC_FIEMAP, buffer)
        mapped = _HEADER.unpack_from(buffer)[3]
        for index in range(mapped):
            row = _EXTENT.unpack_from(buffer, _HEADER.size + index * _EXTENT.size)
            logical, length, flags = row[0], row[2], row[5]
            yield length, flags
            at = logical + length
            if flags & _LAST:
                return
        if mapped == 0:
            return
