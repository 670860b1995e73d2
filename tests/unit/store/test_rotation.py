"""A look with a time budget reads some contents, and a few looks read all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.store import content, rotation
from pytest_ccci.store.backends import CopyBackend
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline

NAMES = ("a", "b", "c", "d", "e")
Rot = Callable[[str], None]


class Disk:
    """Counts what is read, lets time pass by it, and gives back rotten content where told: without a trace in times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.read: list[str] = []
        self.rotten: set[str] = set()

    def digest(self, path: Path | str) -> str:
        name = Path(path).name
        self.read.append(name)
        self.now += 1.0
        return "0" * 64 if name in self.rotten else content.digest(path)

    def budget(self, seconds: float) -> Deadline:
        self.read.clear()
        return Deadline(seconds, clock=lambda: self.now)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(rotation, "digest", disk.digest)
    return disk


@pytest.fixture
def kept(store: CanonicalStore, seed: Any) -> CanonicalStore:
    for name in NAMES:
        (store.live("db") / name).write_text(name * 100)
    seed.good(store)
    return store


@pytest.mark.parametrize(
    ("seconds", "looks"),
    [
        (1, ["a", "b", "c", "d", "e", "a"]),
        (2, ["ab", "cd", "ea", "bc", "de", "ab"]),
        (3, ["abc", "dea", "bcd", "eab"]),
        (5, ["abcde", "abcde"]),
        (90, ["abcde", "abcde"]),
    ],
)
def test_each_look_goes_on_where_the_last_one_ended(
    kept: CanonicalStore, disk: Disk, seconds: float, looks: list[str]
) -> None:
    for wanted in looks:
        reading = kept.read_some(deadline=disk.budget(seconds))
        assert ("".join(disk.read), reading.differences) == (wanted, ())
        assert (reading.files, reading.size) == (len(wanted), 100 * len(wanted))
        assert reading.complete == (len(wanted) == len(NAMES))


def test_a_budget_of_nothing_still_reads_one_file(kept: CanonicalStore, disk: Disk) -> None:
    seen = []
    for _ in range(5):
        kept.read_some(deadline=disk.budget(0))
        seen += disk.read
    assert seen == list(NAMES)


def test_where_it_ended_is_on_disk(kept: CanonicalStore, disk: Disk) -> None:
    kept.read_some(deadline=disk.budget(2))
    again = CanonicalStore(kept.layout.root, "demo", backend=CopyBackend())
    again.read_some(deadline=disk.budget(2))
    assert disk.read == ["c", "d"]


def test_all_was_read_only_when_a_round_has_ended(kept: CanonicalStore, disk: Disk) -> None:
    for _ in range(2):
        assert kept.read_some(deadline=disk.budget(2)).position.whole == ""
    assert kept.read_some(deadline=disk.budget(2)).position.whole != ""
    assert kept.last_read().whole != ""


def test_what_rots_is_found_in_its_turn_and_then_each_time(
    kept: CanonicalStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.rotten = {"d"}
    assert kept.read_some(deadline=disk.budget(2)).differences == ()
    monkeypatch.setattr("pytest_ccci.store.comparison.digest", disk.digest)
    for _ in range(3):
        reading = kept.read_some(deadline=disk.budget(2))
        assert [(one.path, one.what) for one in reading.differences] == [("db/d", "other content")]
        assert (reading.complete, reading.position.whole, reading.position.after) == (False, "", "db/c")


def test_what_was_touched_is_read_whatever_the_time(kept: CanonicalStore, disk: Disk) -> None:
    record = kept.record()
    assert record is not None
    path = kept.layout.snapshot(record.snapshot_id).volumes / "db" / "e"
    path.write_text("E" * 100)
    found = kept.read_some(deadline=disk.budget(1)).differences
    assert found
    assert "e" not in disk.read


def test_reading_all_at_once_counts_as_a_round(kept: CanonicalStore, disk: Disk) -> None:
    kept.read_some(deadline=disk.budget(2))
    reading = kept.read_some(deadline=None)
    assert (reading.complete, reading.position.whole != "", reading.position.after) == (True, True, "")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', "null"])
def test_a_note_that_cannot_be_read_costs_only_a_new_round(kept: CanonicalStore, disk: Disk, text: str) -> None:
    kept.read_some(deadline=disk.budget(2))
    kept.layout.verified.write_text(text)
    kept.read_some(deadline=disk.budget(2))
    assert disk.read == ["a", "b"]


def test_a_new_known_good_begins_anew_and_the_old_note_goes(kept: CanonicalStore, disk: Disk, seed: Any) -> None:
    kept.read_some(deadline=disk.budget(2))
    record = seed.good(kept)
    kept.read_some(deadline=disk.budget(2))
    assert disk.read == ["a", "b"]
    assert set(rotation._saved(kept._parts)) == {record.snapshot_id}
