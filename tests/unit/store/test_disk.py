from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ccci.store import disk
from pytest_ccci.store.disk import Footprint, allocated, footprint

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


def test_what_is_left_out_does_not_count_and_a_linked_file_counts_once(tree: Path) -> None:
    assert allocated(tree) == footprint(tree).allocated
    assert allocated(tree, without={tree / "deep"}) == 64 * KIB
    assert allocated(tree, without={tree / "one"}) == footprint(tree).allocated


def test_files_of_two_file_systems_with_one_inode_number_are_two(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is mounted below the state directory numbers its inodes from the beginning again."""
    real, size = Path.lstat, allocated(tree)
    devices = {"one": 1, "again": 1, "two": 2}

    def same_number(path: Path) -> os.stat_result:
        facts = real(path)
        if path.name in devices:
            return os.stat_result((*facts[:1], 7, devices[path.name], *facts[3:]), {"st_blocks": facts.st_blocks})
        return facts

    monkeypatch.setattr(Path, "lstat", same_number)

    assert allocated(tree) == size
