"""What a tree must be, line by line. Memory stays bounded however many files."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.content import digest
from pytest_ccci.store.entries import Entry, Kind, decode, describe, encode
from pytest_ccci.store.files import Fs
from pytest_ccci.store.walking import walk

__all__ = [
    "AHEAD",
    "SMALL",
    "Writer",
    "Written",
    "build",
    "described",
    "file_digest",
    "read",
    "workers",
    "write",
]

AHEAD = 256
"""How many files are read ahead of the one whose turn it is."""
SMALL = 32 << 10
"""Up to so many bytes a file is read at once, as handing it to somebody else costs more."""
_FLUSH = 1 << 20


@dataclass(frozen=True)
class Written:
    """A manifest that was written: its own digest, and how much it describes."""

    digest: str
    files: int
    size: int


def build(tree: Path, *, known: Callable[[Entry], str] = lambda _entry: "") -> Iterator[Entry]:
    """Describe everything below ``tree``, contents hashed side by side, in the order of :func:`walking.order`.

    ``known`` may give the digest of a file that need not be read again.
    """
    with ThreadPoolExecutor(workers()) as pool:
        waiting: deque[tuple[Entry, Future[str] | None]] = deque()
        for entry, place in described(tree, None):
            if entry.kind is Kind.FILE and not entry.leader:
                told = known(entry)
                task = None if told or entry.size <= SMALL else pool.submit(digest, place)
                ready = told or ("" if task else digest(place))
                waiting.append((entry.with_digest(ready), task))
            else:
                waiting.append((entry, None))
            if len(waiting) >= AHEAD:
                yield _finished(waiting.popleft())
        yield from (_finished(row) for row in waiting)


class Writer:
    """Writes a manifest entry by entry, a closing line with count and digest last."""

    def __init__(self, path: Path, *, fs: Fs) -> None:
        self._path = path
        self._fs = fs
        self._total = hashlib.sha256()
        self._buffer = bytearray()
        self._count = 0
        self._size = 0
        fs.write_file(path, b"")

    def add(self, entry: Entry) -> None:
        """Write the next entry; the caller keeps the order."""
        line = encode(entry)
        self._total.update(line)
        self._buffer += line
        self._count += 1
        if not entry.leader:
            self._size += entry.size
        if len(self._buffer) >= _FLUSH:
            self._fs.append(self._path, bytes(self._buffer))
            self._buffer.clear()

    def close(self) -> Written:
        """Write the end. Durable only after the caller has synced it."""
        digest = self._total.hexdigest()
        close = json.dumps({"end": True, "count": self._count, "size": self._size, "sha256": digest}) + "\n"
        self._fs.append(self._path, bytes(self._buffer) + close.encode("ascii"))
        return Written(digest, self._count, self._size)


def write(entries: Iterable[Entry], path: Path, *, fs: Fs) -> Written:
    """Write a manifest. Durable only after the caller has synced it."""
    writer = Writer(path, fs=fs)
    for entry in entries:
        writer.add(entry)
    return writer.close()


def read(path: Path) -> Iterator[Entry]:
    """Read a manifest as a stream; the end proves that all of it was there.

    Raises:
        StoreDamaged: it is not there, cut short, or was changed.
    """
    try:
        for line in _lines(path):
            yield decode(line)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreDamaged("a manifest cannot be used", where=str(path), seen=str(error)) from error


def file_digest(path: Path) -> str:
    """The digest that the manifest at ``path`` closes with, after reading all of it."""
    total = hashlib.sha256()
    try:
        for line in _lines(path):
            total.update(line)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreDamaged("a manifest cannot be used", where=str(path), seen=str(error)) from error
    return total.hexdigest()


def _lines(path: Path) -> Iterator[bytes]:
    """All lines but the closing one, which must match them."""
    total, count = hashlib.sha256(), 0
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b'{"end"'):
                close = json.loads(line)
                if (close["count"], close["sha256"]) != (count, total.hexdigest()) or lines.read(1):
                    raise ValueError("its closing line does not match what precedes it")
                return
            total.update(line)
            count += 1
            yield line
    raise ValueError("it ends too early")


def described(tree: Path, only: Collection[str] | None) -> Iterator[tuple[Entry, str]]:
    """Everything below ``tree`` and its place, in order, contents not looked at; ``only`` limits the first level."""
    leaders: dict[int, str] = {}
    for node in walk(tree, only=only):
        leader = ""
        if node.stat.st_nlink > 1 and not node.folder:
            leader = leaders.setdefault(node.stat.st_ino, node.path)
        yield describe(node, leader="" if leader == node.path else leader), node.place


def _finished(row: tuple[Entry, Future[str] | None]) -> Entry:
    entry, task = row
    return entry if task is None else entry.with_digest(task.result())


def workers() -> int:
    """How many files to read side by side."""
    return min(4, os.cpu_count() or 1)
