"""What a file says, as one digest that does not depend on where its holes are."""

from __future__ import annotations

import hashlib
import os

from pytest_ccci.store.files import CHUNK, holes_skipped

__all__ = ["Content", "digest"]

_ZEROS = bytes(CHUNK)


class Content:
    """The digest of a file whose chunks are handed in one after the other: all of ``CHUNK`` bytes but the last."""

    def __init__(self, size: int) -> None:
        self._total = hashlib.sha256(size.to_bytes(8, "big"))

    def add(self, at: int, chunk: bytes) -> None:
        """Take in the chunk that begins at ``at``; one of zeros may be left out as well."""
        if chunk != _ZEROS[: len(chunk)]:
            self._total.update(at.to_bytes(8, "big"))
            self._total.update(chunk)

    def hexdigest(self) -> str:
        """The digest of all that was handed in."""
        return self._total.hexdigest()


def digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's size and of all its chunks that are not only zeros, each with its offset.

    A 20 GiB file of holes costs as much as the data in it; a copy with other holes has the same digest. The threads
    that call this run side by side: hashing and reading release the interpreter's lock.
    """
    handle = _open(path)
    try:
        size = os.fstat(handle).st_size
        total, done = Content(size), 0
        if size <= CHUNK:
            # One chunk, holes or not.
            total.add(0, os.pread(handle, CHUNK, 0))
            return total.hexdigest()
        for start, end in holes_skipped(handle, size):
            at = max(done, start - start % CHUNK)
            while at < end:
                chunk = os.pread(handle, CHUNK, at)
                if not chunk:
                    break
                total.add(at, chunk)
                at += CHUNK
            done = max(done, at)
        return total.hexdigest()
    finally:
        os.close(handle)


def _open(path: str | os.PathLike[str]) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        # Only the owner or root may read without leaving an access time.
        return os.open(path, flags)
