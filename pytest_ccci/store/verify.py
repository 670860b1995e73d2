"""A tree beside its manifest: every difference is found, and content is read unless it is proven equal."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pytest_ccci.store.manifest import AHEAD, SEEN, SMALL, Entry, Kind, described, digest, read, seen_as, workers
from pytest_ccci.store.tree import order

__all__ = ["Difference", "Note", "Proof", "never", "nothing", "same_inode", "verify"]

_LIMIT = 1000

Proof = Callable[[Entry, Entry], bool]
"""Given the entry that must be and the one that is (same metadata): is equal content proven without reading it?"""

Note = Callable[[Entry, str], None]
"""Takes an entry of a tree, and the digest that its content must have."""


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


def never(_expected: Entry, _found: Entry, /) -> bool:
    """Proof by nothing: read every file."""
    return False


def nothing(_found: Entry, _digest: str, /) -> None:
    """Note nothing."""


def same_inode(expected: Entry, found: Entry, /) -> bool:
    """Proof by the kernel's change time: it is the very file whose content was read when the manifest was made.

    Does not see what happens below the file system (bits that rot, a raw write to the device), nor a clock that was
    set back; reading does.
    """
    return expected.untouched(found)


def verify(
    tree: Path,
    manifest: Path,
    *,
    proof: Proof = never,
    only: Collection[str] | None = None,
    note: Note = nothing,
) -> tuple[Difference, ...]:
    """Compare ``tree`` with ``manifest``: names, kinds, owners, modes, times, attributes, links and content.

    Content is read unless ``proof`` vouches for it; size and time alone are never taken for content. The first
    thousand differences are told. ``only`` leaves other names on the first level of ``tree`` out of it. ``note`` is
    handed each node of the tree with the content that it must have; they count when there is no difference.
    """
    return tuple(islice(_differences(tree, manifest, proof, only, note), _LIMIT))


def _differences(
    tree: Path, manifest: Path, proof: Proof, only: Collection[str] | None, note: Note
) -> Iterator[Difference]:
    with ThreadPoolExecutor(workers()) as pool:
        waiting: deque[tuple[Entry, Future[str]]] = deque()
        for expected, found, place in _paired(read(manifest), described(tree, only)):
            if expected is None or found is None:
                yield _one_sided(expected, found)
                continue
            if seen_as(expected) != seen_as(found):
                yield from _plain_differences(expected, found)
                continue
            note(found, expected.digest)
            if found.kind is Kind.FILE and not found.leader and not proof(expected, found):
                if found.size <= SMALL:
                    yield from _content_difference(expected, _readable(place))
                    continue
                waiting.append((expected, pool.submit(_readable, place)))
                if len(waiting) >= AHEAD:
                    yield from _content_difference(*_done(waiting.popleft()))
        for row in waiting:
            yield from _content_difference(*_done(row))


def _paired(
    wanted: Iterator[Entry], present: Iterator[tuple[Entry, str]]
) -> Iterator[tuple[Entry | None, Entry | None, str]]:
    """Merge two ordered streams by path."""
    want, have = next(wanted, None), next(present, None)
    while want is not None or have is not None:
        if want and have and want.path == have[0].path:
            yield want, have[0], have[1]
            want, have = next(wanted, None), next(present, None)
            continue
        left = order(want.path) if want else None
        right = order(have[0].path) if have else None
        if want and (right is None or (left is not None and left < right)):
            yield want, None, ""
            want = next(wanted, None)
        elif have:
            yield None, have[0], have[1]
            have = next(present, None)


def _one_sided(expected: Entry | None, found: Entry | None) -> Difference:
    if expected is not None:
        return Difference(expected.path, f"a {expected.kind} is missing")
    path, kind = (found.path, found.kind) if found else ("", "")
    return Difference(path, f"a {kind} that does not belong there")


def _plain_differences(expected: Entry, found: Entry) -> Iterator[Difference]:
    for key, value, other in zip(SEEN, seen_as(expected), seen_as(found), strict=True):
        if value != other:
            yield Difference(expected.path, f"other {key}", _shown(key, value), _shown(key, other))


def _shown(key: str, value: object) -> str:
    return f"{value:04o}" if key == "mode" and isinstance(value, int) else ascii(value)[:80]


def _done(row: tuple[Entry, Future[str]]) -> tuple[Entry, str]:
    return row[0], row[1].result()


def _content_difference(expected: Entry, found: str) -> Iterator[Difference]:
    if found != expected.digest:
        yield Difference(expected.path, "other content", expected.digest[:16], found[:80])


def _readable(place: str) -> str:
    """The content's digest, or why it cannot be read: that too is a difference."""
    try:
        return digest(place)
    except OSError as error:
        return f"unreadable ({error.strerror})"
