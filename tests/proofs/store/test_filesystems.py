"""What only a real file system of its own can show."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci import process
from pytest_ccci.errors import CanonicalRefused, DiskFull
from pytest_ccci.store.archive import open_archive
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend, choose
from pytest_ccci.store.extents import same_blocks
from pytest_ccci.store.fs import Fs, Place
from pytest_ccci.store.manifest import digest
from pytest_ccci.waiting import Stopwatch

Mounted = Callable[..., Path]


def nothing() -> None:
    """No container can write."""


def good(store: CanonicalStore) -> None:
    taken = store.snapshot(volumes=store.live_volumes(), secrets={}, coverage={}, stopped=nothing)
    store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="warm-demo.ci.test", run_id="r")


def used(place: Path) -> int:
    facts = os.statvfs(place)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


@pytest.mark.parametrize(("kind", "name"), [("xfs", "reflink"), ("btrfs", "reflink"), ("ext4", "copy")])
def test_the_back_end_fits_the_file_system_and_says_why(mounted: Mounted, kind: str, name: str) -> None:
    backend = choose(mounted(kind))
    assert backend.name == name
    assert "share blocks" in backend.why


def test_a_snapshot_and_a_restore_take_no_room_where_blocks_are_shared(mounted: Mounted) -> None:
    place = mounted("xfs")
    store = CanonicalStore(place / "c", "demo")
    (store.live("db") / "big").write_bytes(os.urandom(64 << 20))
    os.sync()
    before = used(place)
    good(store)
    (store.live("db") / "big").write_bytes(b"migrated")
    report = store.restore(stopped=nothing)
    os.sync()
    assert report.backend == "reflink"
    assert used(place) - before < 8 << 20


def test_a_restore_by_shared_blocks_does_not_read_what_is_proven(mounted: Mounted) -> None:
    store = CanonicalStore(mounted("xfs") / "c", "demo")
    table = store.live("db") / "table"
    table.write_bytes(os.urandom(1 << 20))
    good(store)
    store.restore(stopped=nothing)
    record = store.record()
    assert record is not None
    kept = store.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
    assert same_blocks(kept, table)
    table.write_bytes(kept.read_bytes())
    os.sync()
    assert not same_blocks(kept, table)
    assert digest(kept) == digest(table)


def test_a_really_full_disk_keeps_the_known_good_and_says_what_is_missing(mounted: Mounted) -> None:
    place = mounted("ext4", mib=48)
    store = CanonicalStore(place / "c", "demo")
    (store.live("db") / "big").write_bytes(os.urandom(12 << 20))
    good(store)
    before = store.fingerprint()
    (store.live("db") / "more").write_bytes(os.urandom(10 << 20))
    with pytest.raises(DiskFull, match="missing"):
        good(store)
    assert store.fingerprint() == before
    assert store.verify() == ()
    assert list(store.layout.work.iterdir()) == []


def test_a_disk_that_fills_while_we_copy_is_cleaned_of_the_half_copy(mounted: Mounted) -> None:
    place = mounted("ext4", mib=48)

    class Filling(Fs):
        """Somebody else takes the room after we looked."""

        def mkdir(self, path: Place, mode: int = 0o700) -> None:
            super().mkdir(path, mode)
            if Path(path).name == "volumes":
                with (place / "hog").open("wb") as file:
                    facts = os.statvfs(place)
                    os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_frsize - (2 << 20))

    store = CanonicalStore(place / "c", "demo", fs=Filling())
    (store.live("db") / "big").write_bytes(os.urandom(6 << 20))
    with pytest.raises(DiskFull, match="full"):
        good(store)
    assert list(store.layout.work.iterdir()) == []
    (place / "hog").unlink()
    again = CanonicalStore(place / "c", "demo")
    assert again.recover() == ()
    good(again)
    assert again.verify() == ()


def test_a_really_full_disk_refuses_an_import_and_says_what_is_missing(mounted: Mounted, tmp_path: Path) -> None:
    there = CanonicalStore(tmp_path / "there", "demo", backend=CopyBackend())
    (there.live("db") / "big").write_bytes(os.urandom(20 << 20))
    good(there)
    there.export(tmp_path / "archive")
    store = CanonicalStore(mounted("ext4", mib=48) / "c", "demo")
    (store.live("db") / "big").write_bytes(os.urandom(14 << 20))
    good(store)
    before = store.fingerprint()
    with open_archive(tmp_path / "archive") as incoming, pytest.raises(DiskFull, match="MiB missing"):
        store.receive(incoming, secrets={})
    assert store.fingerprint() == before
    assert list(store.layout.work.iterdir()) == []


def test_a_quota_that_is_used_up_while_we_copy_keeps_the_known_good_and_is_told(mounted: Mounted) -> None:
    """Free room says nothing about a quota, so it is met half-way; on btrfs it binds root as well."""
    place = mounted("btrfs", mib=400)
    process.run(["btrfs", "quota", "enable", place], timeout=60)
    process.run(["btrfs", "subvolume", "create", place / "small"], timeout=60)
    store = CanonicalStore(place / "small" / "c", "demo", backend=CopyBackend())
    (store.live("db") / "big").write_bytes(os.urandom(12 << 20))
    good(store)
    os.sync()
    before = store.fingerprint()
    process.run(["btrfs", "qgroup", "limit", "30M", place / "small"], timeout=60)
    with pytest.raises(DiskFull, match=r"the quota is full; needed .* freed"):
        good(store)
    assert store.fingerprint() == before
    assert store.verify() == ()
    assert list(store.layout.work.iterdir()) == []
    process.run(["btrfs", "qgroup", "limit", "none", place / "small"], timeout=60)
    good(store)
    assert store.verify() == ()


def test_a_file_system_mounted_inside_a_volume_is_refused(mounted: Mounted, tmp_path: Path) -> None:
    store = CanonicalStore(tmp_path / "c", "demo")
    inner = store.live("db") / "inner"
    inner.symlink_to(mounted("ext4"))
    good(store)
    inner.unlink()
    inner.mkdir()
    process.run(["mount", "--bind", mounted("xfs"), inner], timeout=30)
    try:
        with pytest.raises(CanonicalRefused, match="another file system"):
            good(store)
    finally:
        process.run(["umount", inner], timeout=30)


def test_a_20_gib_file_of_holes_costs_what_is_in_it(tmp_path: Path) -> None:
    store = CanonicalStore(tmp_path / "c", "demo")
    with (store.live("db") / "sparse").open("wb") as file:
        file.truncate(20 << 30)
        file.seek(10 << 30)
        file.write(b"middle")
    watch = Stopwatch()
    good(store)
    store.restore(stopped=nothing)
    assert (store.live("db") / "sparse").stat().st_blocks * 512 < 1 << 20
    # Reading 20 GiB of zeros even once takes longer than all of this on any machine.
    assert watch.seconds < 10
