"""How many bytes of a tree are its own, and how many it shares with others: what goes when it goes."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Footprint", "footprint"]

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


def footprint(root: Path) -> Footprint:
    """Look at every file below ``root``, each inode once; what goes meanwhile does not count."""
    allocated, shared = 0, 0
    told = True
    for path, facts in _files(root):
        allocated += facts.st_blocks * 512
        if facts.st_blocks and told:
            mine = _shared(path)
            told = mine is not None
            shared += mine or 0
    return Footprint(allocated, shared if told else None)


def _files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    seen: set[int] = set()
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            try:
                facts = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode) and facts.st_ino not in seen:
                seen.add(facts.st_ino)
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
