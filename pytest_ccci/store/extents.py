"""Do two files share all their blocks? Then their content is equal, and nobody needs to read it."""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["same_blocks"]

_FS_IOC_FIEMAP = 0xC020660B
_HEADER = struct.Struct("=QQLLLL")
_EXTENT = struct.Struct("=QQQQQLLLL")
_SYNC = 0x1
_LAST = 0x1
# Unknown, delayed, encoded, encrypted, not aligned, inline, tail: the physical address does not name the content.
_UNCLEAR = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
_BATCH = 32

_Extent = tuple[int, int, int]


def same_blocks(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> bool:
    """Whether the kernel shows that both files consist of the very same blocks at the same places.

    False means "not shown", for instance where the file system does not tell; then reading decides.
    """
    first = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        second = os.open(right, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(first).st_size != os.fstat(second).st_size:
                return False
            mine = _extents(first)
            return mine is not None and mine == _extents(second)
        finally:
            os.close(second)
    finally:
        os.close(first)


def _extents(handle: int) -> list[_Extent] | None:
    found: list[_Extent] = []
    at = 0
    while True:
        buffer = bytearray(_HEADER.pack(at, 2**64 - 1 - at, _SYNC, 0, _BATCH, 0) + bytes(_EXTENT.size * _BATCH))
        try:
            fcntl.ioctl(handle, _FS_IOC_FIEMAP, buffer)
        except OSError:
            return None
        mapped = _HEADER.unpack_from(buffer)[3]
        if mapped == 0:
            return found
        for index in range(mapped):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(
                buffer, _HEADER.size + index * _EXTENT.size
            )
            if flags & _UNCLEAR:
                return None
            found.append((logical, physical, length))
            at = logical + length
            if flags & _LAST:
                return found
