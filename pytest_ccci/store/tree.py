"""Every node below a directory, in one fixed order, without following anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_ccci.errors import CanonicalRefused

__all__ = ["Node", "order", "walk"]


class Node(NamedTuple):
    """One file, directory, link or special file: its path below the tree, its place, and what ``lstat`` says."""

    path: str
    place: str
    stat: os.stat_result

    @property
    def folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.stat.st_mode)


def order(path: str) -> tuple[bytes, ...]:
    """The key by which :func:`walk` orders paths: parents first, then by the bytes of each name."""
    return tuple(os.fsencode(path).split(b"/"))


def walk(tree: Path, *, only: Collection[str] | None = None) -> Iterator[Node]:
    """Yield everything below ``tree`` (not itself), ordered by :func:`order`; memory grows with depth only.

    Names that are not UTF-8 come as Python's surrogate escapes. ``only`` limits the first level to these names.

    Raises:
        CanonicalRefused: another file system is mounted inside; what is there would not be covered.
    """
    device = tree.stat().st_dev
    first = _listed(os.fspath(tree), "")
    stack = [first if only is None else (node for node in first if node.path in only)]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        if node.stat.st_dev != device:
            raise CanonicalRefused(
                "another file system is mounted inside a volume, so a copy would not cover it", where=node.place
            )
        yield node
        if node.folder:
            stack.append(_listed(node.place, node.path + "/"))


def _listed(place: str, prefix: str) -> Iterator[Node]:
    for name in sorted(os.listdir(place), key=os.fsencode):  # noqa: PTH208  names are all that is needed
        inner = f"{place}/{name}"
        yield Node(prefix + name, inner, os.lstat(inner))
