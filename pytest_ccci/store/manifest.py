"""What a tree must be, line by line, and the comparison of a tree with it. Memory stays bounded however many files."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.content import digest
from pytest_ccci.store.entries import SEEN, Entry, Kind, decode, describe, encode, seen_as
from pytest_ccci.store.files import Fs
from pytest_ccci.store.walking import order, walk

__all__ = ["Difference", "Proof", "Written", "build", "file_digest", "never", "read", "same_inode", "verify", "write"]

_AHEAD = 256
_SMALL = 32 << 10
_LIMIT = 1000
_FLUSH = 1 << 20

Proof = Callable[[Entry, Entry], bool]
"""Given the entry that must be and the one that is (same metadata): is equal content proven without reading it?"""


@dataclass(frozen=True)
class Difference:
    """One way in which a tree is not what its manifest says."""

    path: str
    what: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        name = os.fsencode(self.path).decode("utf-8", "backslashreplace")
        sides = f": {self.found} instead of {self.expected}" if self.expected or self.found else ""
        return f"{name}: {self.what}{sides}"


@dataclass(frozen=True)
class Written:
    """A manifest that was written: its own digest, and how much it describes."""

    digest: str
    files: int
    size: int


def never(_expected: Entry, _found: Entry, /) -> bool:
    """Proof by nothing: read every file."""
    return False


def same_inode(expected: Entry, found: Entry, /) -> bool:
    """Proof by the kernel's change time: it is the very file whose content was read when the manifest was made.

    Does not see what happens below the file system (bits that rot, a raw write to the device), nor a clock that was
    set back; reading does.
    """
    return expected.untouched(found)


def build(tree: Path, *, known: Callable[[Entry], str] = lambda _entry: "") -> Iterator[Entry]:
    """Describe everything below ``tree``, contents hashed side by side, in the order of :func:`walking.order`.

    ``known`` may give the digest of a file that need not be read again.
    """
    with ThreadPoolExecutor(_workers()) as pool:
        waiting: deque[tuple[Entry, Future[str] | None]] = deque()
        for entry, place in _described(tree, None):
            if entry.kind is Kind.FILE and not entry.leader:
                told = known(entry)
                task = None if told or entry.size <= _SMALL else pool.submit(digest, place)
                ready = told or ("" if task else digest(place))
                waiting.append((entry.with_digest(ready), task))
            else:
                waiting.append((entry, None))
            if len(waiting) >= _AHEAD:
                yield _finished(waiting.popleft())
        yield from (_finished(row) for row in waiting)


def write(entries: Iterable[Entry], path: Path, *, fs: Fs) -> Written:
    """Write a manifest, a closing line with count and digest last. Durable only after the caller has synced it."""
    total, count, size = hashlib.sha256(), 0, 0
    fs.write_file(path, b"")
    buffer = bytearray()
    for entry in entries:
        line = encode(entry)
        total.update(line)
        buffer += line
        count, size = count + 1, size + entry.size * (not entry.leader)
        if len(buffer) >= _FLUSH:
            fs.append(path, bytes(buffer))
            buffer.clear()
    close = json.dumps({"end": True, "count": count, "size": size, "sha256": total.hexdigest()}) + "\n"
    fs.append(path, bytes(buffer) + close.encode("ascii"))
    return Written(total.hexdigest(), count, size)


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


def verify(
    tree: Path, manifest: Path, *, proof: Proof = never, only: Collection[str] | None = None
) -> tuple[Difference, ...]:
    """Compare ``tree`` with ``manifest``: names, kinds, owners, modes, times, attributes, links and content.

    Content is read unless ``proof`` vouches for it; size and time alone are never taken for content. The first
    thousand differences are told. ``only`` leaves other names on the first level of ``tree`` out of it.
    """
    return tuple(islice(_differences(tree, manifest, proof, only), _LIMIT))


def _differences(tree: Path, manifest: Path, proof: Proof, only: Collection[str] | None) -> Iterator[Difference]:
    with ThreadPoolExecutor(_workers()) as pool:
        waiting: deque[tuple[Entry, Future[str]]] = deque()
        for expected, found, place in _paired(read(manifest), _described(tree, only)):
            if expected is None or found is None:
                yield _one_sided(expected, found)
                continue
            plain = list(_plain_differences(expected, found))
            yield from plain
            if found.kind is Kind.FILE and not found.leader and not plain and not proof(expected, found):
                waiting.append((expected, pool.submit(_readable, place)))
            if len(waiting) >= _AHEAD:
                yield from _content_difference(*waiting.popleft())
        for row in waiting:
            yield from _content_difference(*row)


def _paired(
    wanted: Iterator[Entry], present: Iterator[tuple[Entry, str]]
) -> Iterator[tuple[Entry | None, Entry | None, str]]:
    """Merge two ordered streams by path."""
    want, have = next(wanted, None), next(present, None)
    while want is not None or have is not None:
        left = order(want.path) if want else None
        right = order(have[0].path) if have else None
        if want and (right is None or (left is not None and left < right)):
            yield want, None, ""
            want = next(wanted, None)
        elif have and (left is None or (right is not None and right < left)):
            yield None, have[0], have[1]
            have = next(present, None)
        elif want and have:
            yield want, have[0], have[1]
            want, have = next(wanted, None), next(present, None)


def _one_sided(expected: Entry | None, found: Entry | None) -> Difference:
    if expected is not None:
        return Difference(expected.path, f"a {expected.kind} is missing")
    path, kind = (found.path, found.kind) if found else ("", "")
    return Difference(path, f"a {kind} that does not belong there")


def _plain_differences(expected: Entry, found: Entry) -> Iterator[Difference]:
    want, have = seen_as(expected), seen_as(found)
    if want == have:
        return
    for key, value, other in zip(SEEN, want, have, strict=True):
        if value != other:
            yield Difference(expected.path, f"other {key}", _shown(key, value), _shown(key, other))


def _shown(key: str, value: object) -> str:
    return f"{value:04o}" if key == "mode" and isinstance(value, int) else ascii(value)[:80]


def _content_difference(expected: Entry, task: Future[str]) -> Iterator[Difference]:
    found = task.result()
    if found != expected.digest:
        yield Difference(expected.path, "other content", expected.digest[:16], found[:80])


def _readable(place: str) -> str:
    """The content's digest, or why it cannot be read: that too is a difference."""
    try:
        return digest(place)
    except OSError as error:
        return f"unreadable ({error.strerror})"


def _described(tree: Path, only: Collection[str] | None) -> Iterator[tuple[Entry, str]]:
    leaders: dict[int, str] = {}
    for node in walk(tree, only=only):
        leader = ""
        if node.stat.st_nlink > 1 and not node.folder:
            leader = leaders.setdefault(node.stat.st_ino, node.path)
        yield describe(node, leader="" if leader == node.path else leader), node.place


def _finished(row: tuple[Entry, Future[str] | None]) -> Entry:
    entry, task = row
    return entry if task is None else entry.with_digest(task.result())


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
