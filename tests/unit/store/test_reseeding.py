from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.files import Fs
from pytest_ccci.store.reseeding import clear_the_way, damaged_record_aside, keep_whole

if TYPE_CHECKING:
    from tests.unit.store.conftest import Seeder

FS = Fs()


def reseeded(store: CanonicalStore, seed: Seeder, *, keep: int = 1) -> None:
    """What a run does for a reseed, without its app."""
    store.recover()
    clear_the_way(store.layout, fs=FS)
    store.reset_live()
    (store.live("data") / "fresh").write_text("anew")
    taken = seed.snapshot(store)
    writer = CanonicalStore(store.layout.root, store.recipe, keep=keep_whole(store.layout, keep, fs=FS))
    with damaged_record_aside(store.layout, fs=FS):
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
    store._parts.begin("restore", id="x", volumes="[]")
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
    assert clear_the_way(store.layout, fs=FS) != ()
    store.reset_live()
    seed.snapshot(store)
    assert store.fingerprint() == before


def test_the_way_of_a_sound_canonical_is_clear(store: CanonicalStore, seed: Seeder) -> None:
    seed.good(store)
    assert clear_the_way(store.layout, fs=FS) == ()


def test_a_damaged_record_comes_back_when_nothing_took_its_place(store: CanonicalStore, seed: Seeder) -> None:
    seed.good(store)
    damage_record(store)
    raw = store.layout.record.read_bytes()

    def fail() -> None:
        with damaged_record_aside(store.layout, fs=FS):
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
    assert keep_whole(store.layout, 9, fs=FS) == 4
    assert keep_whole(store.layout, 2, fs=FS) == 2
    record = store.record()
    assert record is not None
    store.layout.snapshot(record.earlier[1].snapshot_id).complete.unlink()
    store.recover()
    reseeded(store, seed, keep=3)
    fresh = store.record()
    assert fresh is not None
    assert [good.release for good in fresh.all_goods] == ["2.0.0+1.0", "1.2.0+1.0", "1.1.0+1.0"]
