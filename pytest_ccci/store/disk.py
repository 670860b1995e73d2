"""Is there room? Asked before a copy, so that a full disk is told and not met half-way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import DiskFull
from pytest_ccci.store.walking import Node

__all__ = ["Demand", "demand", "fits", "free", "most", "require", "shown"]

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
    while not where.exists():
        where = where.parent
    facts = os.statvfs(where)
    return (facts.f_bfree if os.geteuid() == 0 else facts.f_bavail) * facts.f_frsize


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
