from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ccci.store import disk
from pytest_ccci.store.disk import Footprint, footprint

KIB = 1024


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    (root / "one").write_bytes(os.urandom(64 * KIB))
    os.link(root / "one", root / "deep" / "again")
    (root / "deep" / "two").write_bytes(os.urandom(32 * KIB))
    (root / "deep" / "away").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo")
    for name in ("one", "deep/two"):
        with (root / name).open() as file:
            os.fsync(file.fileno())
    return root


def test_every_inode_counts_once_and_nothing_is_followed_or_waited_for(tree: Path) -> None:
    found = footprint(tree)
    assert 96 * KIB <= found.allocated < 200 * KIB
    assert found.shared in {0, None}


def test_what_nothing_else_holds_is_its_own(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def extents(_: int) -> Iterator[tuple[int, int]]:
        yield 20 * KIB, disk._SHARED
        yield 12 * KIB, 0

    monkeypatch.setattr(disk, "_extents", extents)
    found = footprint(tree)
    assert found.shared == 40 * KIB
    assert found.exclusive == found.allocated - 40 * KIB


def test_where_the_file_system_does_not_tell_nothing_is_claimed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: int) -> Iterator[tuple[int, int]]:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(disk, "_extents", refused)
    found = footprint(tree)
    assert (found.shared, found.exclusive) == (None, None)
    assert found.allocated > 0


def test_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert footprint(tmp_path / "none") == Footprint(0, 0)
