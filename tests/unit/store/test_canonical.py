from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import DiskFull, RefError, StoreDamaged
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs, Place

Look = Callable[[Path], dict[str, tuple[object, ...]]]
Plant = Callable[[Path], None]


def nothing() -> None:
    """No container can write."""


@pytest.fixture
def planted(store: CanonicalStore, plant: Plant) -> CanonicalStore:
    plant(store.live("data"))
    (store.live("db") / "table").write_text("rows")
    return store


def test_a_new_canonical_has_no_known_good_and_is_not_quarantined(store: CanonicalStore) -> None:
    state = store.state()
    assert (state.record, state.drift, state.quarantined, state.in_progress) == (None, False, None, None)
    assert store.secrets() == {}


def test_what_was_snapshot_is_restored_in_every_detail(planted: CanonicalStore, seed: Any, picture: Look) -> None:
    before = picture(planted.layout.live)
    seed.good(planted)
    planted.mark_drifted("run2", "quick run")
    live = planted.live("data")
    (live / "plain").write_text("migrated")
    (live / "fifo").unlink()
    (live / "stray").write_text("stray")
    (planted.live("other") / "x").write_text("x")

    report = planted.restore(stopped=nothing)

    assert picture(planted.layout.live) == before
    assert report.verified
    assert not planted.state().drift


def test_a_restore_keeps_hard_links_and_holes(planted: CanonicalStore, seed: Any) -> None:
    seed.good(planted)
    planted.restore(stopped=nothing)
    live = planted.live("data")
    assert (live / "plain").samefile(live / "deep" / "hard")
    assert (live / "sparse").stat().st_blocks * 512 < 1 << 20


def test_same_size_and_time_with_other_content_is_restored(planted: CanonicalStore, seed: Any, picture: Look) -> None:
    before = picture(planted.layout.live)
    seed.good(planted)
    table = planted.live("db") / "table"
    facts = table.stat()
    table.write_text("ROWS")
    os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    planted.restore(stopped=nothing)
    assert picture(planted.layout.live) == before


def test_restore_copies_only_what_was_touched(planted: CanonicalStore, seed: Any, picture: Look) -> None:
    (planted.live("db") / "big").write_bytes(os.urandom(1 << 20))
    before = picture(planted.layout.live)
    seed.good(planted)
    (planted.live("db") / "table").write_text("migrated")
    report = planted.restore(stopped=nothing)
    assert report.kept > 1 << 20
    assert picture(planted.layout.live) == before
    again = planted.restore(stopped=nothing)
    assert again.kept > 1 << 20


def test_drift_is_on_disk_before_mark_drifted_returns(store: CanonicalStore) -> None:
    store.mark_drifted("run7", "quick run")
    state = CanonicalStore(store.layout.root, "demo", backend=CopyBackend()).state()
    assert (state.drift, state.why_drifted) == (True, "quick run")


def test_promotion_clears_drift_only_when_live_is_still_what_was_copied(planted: CanonicalStore, seed: Any) -> None:
    planted.mark_drifted("run1", "seeding")
    taken = seed.snapshot(planted)
    (planted.live("db") / "table").write_text("later")
    seed.promote(planted, taken)
    assert planted.state().drift
    seed.good(planted)
    assert not planted.state().drift


def test_the_promoted_record_reads_back_from_disk(planted: CanonicalStore, seed: Any) -> None:
    record = seed.good(planted)
    again = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend())
    assert again.record() == record
    assert record.volumes == ("data", "db")
    assert again.secrets() == {"db_password_v1": "s1"}
    assert again.verify() == ()


def test_state_files_with_secrets_are_private(planted: CanonicalStore, seed: Any) -> None:
    record = seed.good(planted)
    parts = planted.layout.snapshot(record.snapshot_id)
    assert parts.secrets.stat().st_mode & 0o777 == 0o600
    assert planted.layout.root.stat().st_mode & 0o777 == 0o700


def test_only_one_known_good_is_kept_by_default(planted: CanonicalStore, seed: Any) -> None:
    seed.good(planted)
    second = seed.good(planted, release="2.0.0+2.0")
    assert [path.name for path in planted.layout.snapshots.iterdir()] == [second.snapshot_id]
    assert second.earlier == ()


def test_earlier_known_goods_are_kept_and_restored_by_release(tmp_path: Path, seed: Any) -> None:
    store = CanonicalStore(tmp_path / "c", "demo", backend=CopyBackend(), keep=2)
    table = store.live("db") / "table"
    for version in ("1", "2", "3"):
        table.write_text(version)
        seed.good(store, release=f"{version}.0.0+1")
    assert [good.release for good in store.state().earlier] == ["2.0.0+1"]
    store.restore(stopped=nothing, release="2.0.0+1")
    assert table.read_text() == "2"
    assert store.state().drift
    store.restore(stopped=nothing)
    assert table.read_text() == "3"
    with pytest.raises(RefError, match=r"1\.0\.0"):
        store.restore(stopped=nothing, release="1.0.0+1")


def test_a_known_good_of_the_same_release_takes_no_place_from_an_older_one(tmp_path: Path, seed: Any) -> None:
    store = CanonicalStore(tmp_path / "c", "demo", backend=CopyBackend(), keep=2)
    store.live("db")
    for release in ("1.0.0+1", "2.0.0+1", "2.0.0+1"):
        seed.good(store, release=release)
    assert [good.release for good in store.state().earlier] == ["1.0.0+1"]
    assert len(list(store.layout.snapshots.iterdir())) == 2


def test_a_volume_that_still_runs_is_never_copied(planted: CanonicalStore, seed: Any) -> None:
    def running() -> None:
        raise StoreDamaged("container app can still write")

    with pytest.raises(StoreDamaged, match="still write"):
        planted.snapshot(volumes=["db"], secrets={}, coverage={}, stopped=running)
    assert list(planted.layout.snapshots.iterdir()) == []
    seed.good(planted)
    with pytest.raises(StoreDamaged, match="still write"):
        planted.restore(stopped=running)


def test_a_container_that_comes_back_during_the_copy_spoils_the_snapshot(planted: CanonicalStore) -> None:
    asked = []

    def back_later() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise StoreDamaged("container app can still write")

    with pytest.raises(StoreDamaged):
        planted.snapshot(volumes=["db"], secrets={}, coverage={}, stopped=back_later)
    assert list(planted.layout.snapshots.iterdir()) == []
    assert planted.state().in_progress is None


def test_a_write_during_the_copy_spoils_the_snapshot(planted: CanonicalStore) -> None:
    class Leaky(Fs):
        def copy_data(self, source: Place, target: Place) -> None:
            super().copy_data(source, target)
            if Path(source).name == "table":
                Path(source).write_text("torn")

    store = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend(), fs=Leaky())
    with pytest.raises(StoreDamaged, match="does not match"):
        store.snapshot(volumes=["db"], secrets={}, coverage={}, stopped=nothing)
    assert list(planted.layout.snapshots.iterdir()) == []


def test_a_missing_volume_is_no_snapshot(planted: CanonicalStore) -> None:
    with pytest.raises(StoreDamaged, match="uploads"):
        planted.snapshot(volumes=["db", "uploads"], secrets={}, coverage={}, stopped=nothing)


def test_only_the_volumes_that_were_asked_for_are_in_the_snapshot(planted: CanonicalStore, seed: Any) -> None:
    taken = seed.snapshot(planted, "db")
    assert taken.volumes == ("db",)
    assert [path.name for path in taken.paths.volumes.iterdir()] == ["db"]


def test_the_fingerprint_stays_over_drift_and_restore_and_changes_with_the_snapshot(
    planted: CanonicalStore, seed: Any
) -> None:
    record = seed.good(planted)
    before = planted.fingerprint()
    planted.mark_drifted("r", "quick run")
    (planted.live("db") / "table").write_text("migrated")
    planted.restore(stopped=nothing)
    assert planted.fingerprint() == before
    table = planted.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
    facts = table.stat()
    table.write_text("rows")
    os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert planted.fingerprint() != before


def test_reset_gives_empty_live_volumes_and_keeps_the_known_good(
    planted: CanonicalStore, seed: Any, picture: Look
) -> None:
    before = picture(planted.layout.live)
    record = seed.good(planted)
    planted.reset_live()
    assert planted.live_volumes() == ()
    assert planted.state().drift
    assert planted.record() == record
    planted.restore(stopped=nothing)
    assert picture(planted.layout.live) == before


def test_quarantine_holds_until_it_is_released(planted: CanonicalStore, seed: Any) -> None:
    seed.good(planted)
    planted.quarantine("the restore could not be proved")
    assert planted.state().quarantined == "the restore could not be proved"
    planted.release_quarantine()
    assert planted.state().quarantined is None


def test_a_full_disk_is_told_before_the_copy_with_what_is_missing(
    planted: CanonicalStore, seed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed.good(planted)
    before = planted.fingerprint()
    monkeypatch.setattr("pytest_ccci.store.disk.free", lambda _where: 1000)
    with pytest.raises(DiskFull, match="missing"):
        seed.snapshot(planted)
    planted.reset_live()
    with pytest.raises(DiskFull, match="missing"):
        planted.restore(stopped=nothing, release="1.0.0+1.0")
    assert planted.fingerprint() == before
    assert planted.state().in_progress is None


def test_a_disk_that_fills_half_way_leaves_the_old_known_good_and_no_rubbish(
    planted: CanonicalStore, seed: Any
) -> None:
    record = seed.good(planted)

    class Full(Fs):
        def copy_data(self, source: Place, target: Place) -> None:
            Path(target).write_bytes(Path(source).read_bytes()[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    store = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend(), fs=Full())
    with pytest.raises(DiskFull, match="full") as caught:
        seed.snapshot(store)
    assert "needed" in str(caught.value)
    assert list(planted.layout.work.iterdir()) == []
    assert planted.record() == record
    assert planted.verify() == ()


def test_a_lost_record_is_a_quarantine_and_no_snapshot_is_dropped(planted: CanonicalStore, seed: Any) -> None:
    seed.good(planted)
    planted.layout.record.unlink()
    again = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend())
    assert again.recover() != ()
    assert again.state().quarantined
    assert len(list(planted.layout.snapshots.iterdir())) == 1


def test_live_volumes_that_are_there_twice_without_a_journal_are_a_quarantine(
    planted: CanonicalStore, seed: Any
) -> None:
    seed.good(planted)
    (planted.layout.live_old / "db").mkdir(parents=True)
    planted.recover()
    assert "twice" in (planted.state().quarantined or "")
    assert (planted.layout.live_old / "db").exists()


def test_a_snapshot_that_was_never_promoted_is_dropped_at_the_next_start(planted: CanonicalStore, seed: Any) -> None:
    record = seed.good(planted)
    seed.snapshot(planted)
    told = planted.recover()
    assert any("no record names" in line for line in told)
    assert planted.record() == record
    assert planted.recover() == ()


@pytest.mark.parametrize("part", ["canonical.json", "journal.jsonl"])
def test_damage_to_what_decides_is_a_quarantine(planted: CanonicalStore, seed: Any, part: str) -> None:
    seed.good(planted)
    path = planted.layout.root / part
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.write_bytes(bytes(raw))
    planted.recover()
    assert planted.state().quarantined


def test_names_that_lead_elsewhere_are_refused(store: CanonicalStore) -> None:
    for name in ("../x", "a/b", "", ".", ".."):
        with pytest.raises(StoreDamaged):
            store.live(name)


def test_secrets_show_in_no_record_and_no_repr(planted: CanonicalStore, seed: Any) -> None:
    taken = seed.snapshot(planted, word="hunter2")
    record = seed.promote(planted, taken)
    assert "hunter2" not in repr(taken) + repr(record) + planted.layout.record.read_text()
    assert "hunter2" not in planted.layout.journal.read_text()
    assert json.loads(taken.paths.coverage.read_text()) == {"volumes": ["data", "db"]}


def test_reading_a_canonical_writes_nothing(planted: CanonicalStore, seed: Any, picture: Look) -> None:
    seed.good(planted)
    before = picture(planted.layout.root)
    again = CanonicalStore(planted.layout.root, "demo")
    again.state()
    again.record()
    again.verify()
    again.secrets()
    again.fingerprint()
    assert picture(planted.layout.root) == before


def test_what_is_live_after_the_swap_is_what_was_shown_to_be_right(planted: CanonicalStore, seed: Any) -> None:
    """The copy was read before the swap, so that nothing else may come to stand in its place."""

    class Mixing(Fs):
        def rename(self, old: Path, new: Path) -> None:
            super().rename(old, new)
            if old.parent.name == "live.new":
                new.rename(old)
                new.mkdir()

    seed.good(planted)
    store = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend(), fs=Mixing())
    with pytest.raises(StoreDamaged, match="not what was prepared"):
        store.restore(stopped=nothing)
    assert store.state().drift


def test_a_file_that_stayed_and_is_written_to_meanwhile_is_noticed(planted: CanonicalStore, seed: Any) -> None:
    class Meddling(Fs):
        def rmtree(self, path: Place) -> None:
            super().rmtree(path)
            if Path(path).name == "live.old":
                (planted.layout.live / "db" / "table").write_text("written behind our back")

    seed.good(planted)
    store = CanonicalStore(planted.layout.root, "demo", backend=CopyBackend(), fs=Meddling())
    with pytest.raises(StoreDamaged, match="live after the swap does not match"):
        store.restore(stopped=nothing)
    assert store.state().drift
    planted.restore(stopped=nothing)
    assert not planted.state().drift


if TYPE_CHECKING:
    from tests.unit.store.conftest import Seeder


def reseeded(store: CanonicalStore, seed: Seeder, *, keep: int = 1) -> None:
    """What a run does for a reseed, without its app."""
    store.recover()
    store.clear_the_way()
    store.reset_live()
    (store.live("data") / "fresh").write_text("anew")
    taken = seed.snapshot(store)
    whole = CanonicalStore(store.layout.root, store.recipe, keep=keep).keep_whole()
    writer = CanonicalStore(store.layout.root, store.recipe, keep=whole)
    with store.damaged_record_aside():
        seed.promote(writer, taken, release="2.0.0+1.0")
    store.release_quarantine()


def damage_record(store: CanonicalStore) -> None:
    store.layout.record.write_bytes(store.layout.record.read_bytes().replace(b"1.0.0", b"9.0.0"))


def damage_snapshot(store: CanonicalStore) -> None:
    (ident,) = (path.name for path in store.layout.snapshots.iterdir())
    store.layout.snapshot(ident).secrets.write_bytes(b"{}")


def lose_snapshot(store: CanonicalStore) -> None:
    (ident,) = (path.name for path in store.layout.snapshots.iterdir())
    store.layout.snapshot(ident).root.rename(store.layout.root / "gone")


def lose_record(store: CanonicalStore) -> None:
    store.layout.record.unlink()
    store.layout.journal.unlink()


def double_live(store: CanonicalStore) -> None:
    store.layout.live_old.mkdir()


def damage_journal(store: CanonicalStore) -> None:
    store.layout.journal.write_bytes(b"00000000 {}\n" + store.layout.journal.read_bytes())


def cut_off_and_damage(store: CanonicalStore) -> None:
    store._begin("restore", id="x", volumes="[]")
    damage_record(store)


DAMAGES = (
    damage_record,
    damage_snapshot,
    lose_snapshot,
    lose_record,
    double_live,
    damage_journal,
    cut_off_and_damage,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_a_reseed_is_the_way_out_of_every_damage(store: CanonicalStore, seed: Seeder, damage: object) -> None:
    seed.good(store)
    damage(store)  # type: ignore[operator]  # one of the functions above
    store.recover()
    assert store.state().quarantined
    reseeded(store, seed)
    again = CanonicalStore(store.layout.root, store.recipe)
    assert again.recover() == ()
    state = again.state()
    assert (state.quarantined, state.drift) == (None, False)
    assert state.record is not None
    assert state.record.release == "2.0.0+1.0"
    assert again.verify() == ()
    assert not list(store.layout.root.glob("canonical.json.*"))


@pytest.mark.parametrize("damage", [double_live, damage_journal], ids=lambda each: each.__name__)
def test_what_a_record_names_is_not_touched_before_the_new_one_is_promoted(
    store: CanonicalStore, seed: Seeder, damage: object
) -> None:
    seed.good(store)
    damage(store)  # type: ignore[operator]  # one of the functions above
    before = store.fingerprint()
    store.recover()
    assert store.clear_the_way() != ()
    store.reset_live()
    seed.snapshot(store)
    assert store.fingerprint() == before


def test_the_way_of_a_sound_canonical_is_clear(store: CanonicalStore, seed: Seeder) -> None:
    seed.good(store)
    assert store.clear_the_way() == ()


def test_a_damaged_record_comes_back_when_nothing_took_its_place(store: CanonicalStore, seed: Seeder) -> None:
    seed.good(store)
    damage_record(store)
    raw = store.layout.record.read_bytes()

    def fail() -> None:
        with store.damaged_record_aside():
            assert not store.layout.record.exists()
            raise StoreDamaged("no room")

    with pytest.raises(StoreDamaged, match="no room"):
        fail()
    assert store.layout.record.read_bytes() == raw


def test_a_death_while_the_damaged_record_is_aside_is_answered_with_a_quarantine(
    store: CanonicalStore, seed: Seeder
) -> None:
    seed.good(store)
    damage_record(store)
    store.layout.record.rename(store.layout.root / "canonical.json.damaged")
    store.recover()
    assert store.state().quarantined
    assert len(list(store.layout.snapshots.iterdir())) == 1


def test_earlier_known_goods_that_are_whole_stay_and_only_those(tmp_path: Path, seed: Seeder) -> None:
    store = CanonicalStore(tmp_path / "kept", "demo", keep=3)
    for release in ("1.0.0+1.0", "1.1.0+1.0", "1.2.0+1.0"):
        (store.live("data") / "file").write_text(release)
        seed.promote(store, seed.snapshot(store), release=release)
    assert CanonicalStore(store.layout.root, "demo", keep=9).keep_whole() == 4
    assert CanonicalStore(store.layout.root, "demo", keep=2).keep_whole() == 2
    record = store.record()
    assert record is not None
    store.layout.snapshot(record.earlier[1].snapshot_id).complete.unlink()
    store.recover()
    reseeded(store, seed, keep=3)
    fresh = store.record()
    assert fresh is not None
    assert [good.release for good in fresh.all_goods] == ["2.0.0+1.0", "1.2.0+1.0", "1.1.0+1.0"]
