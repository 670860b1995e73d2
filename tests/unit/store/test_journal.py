from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal", fs=Fs())


def test_a_journal_that_was_never_written_has_nothing_pending(journal: Journal) -> None:
    assert journal.pending() is None


def test_what_was_begun_is_pending_with_its_steps_until_done(journal: Journal) -> None:
    journal.begin("restore", id="s1")
    journal.step("verified")
    pending = journal.pending()
    assert pending is not None
    assert (pending.name, pending.facts, pending.steps) == ("restore", {"id": "s1"}, ("verified",))
    journal.done()
    assert journal.pending() is None


@pytest.mark.parametrize("torn", [b"1234", b"00000000 {}\n", b"\x00" * 40, b"\x00" * 40 + b"\n", b"deadbeef {\n\n"])
def test_a_torn_last_line_does_not_count_and_the_next_line_does_not_stick_to_it(
    journal: Journal, tmp_path: Path, torn: bytes
) -> None:
    journal.begin("restore", id="s1")
    with (tmp_path / "journal").open("ab") as file:
        file.write(torn)
    assert journal.pending() is not None
    journal.step("verified")
    pending = journal.pending()
    assert pending is not None
    assert pending.steps == ("verified",)


def test_damage_in_the_middle_is_told(journal: Journal, tmp_path: Path) -> None:
    journal.begin("restore", id="s1")
    journal.done()
    path = tmp_path / "journal"
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(StoreDamaged, match="journal is damaged"):
        journal.pending()


def test_a_line_that_did_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    class Full(Fs):
        def append(self, path: Path, data: bytes) -> None:
            super().append(path, data[:5])
            raise OSError(errno.ENOSPC, "full")

    Journal(tmp_path / "journal", fs=Fs()).begin("restore", id="s1")
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(OSError, match="full"):
        Journal(tmp_path / "journal", fs=Full()).step("verified")
    assert (tmp_path / "journal").read_bytes() == before


def test_a_long_journal_starts_over_when_nothing_is_pending(journal: Journal, tmp_path: Path) -> None:
    for _ in range(40):
        journal.begin("snapshot", id="s" * 4000)
        journal.done()
    assert (tmp_path / "journal").stat().st_size < 80_000
    journal.begin("snapshot", id="last")
    assert journal.pending() is not None


def test_a_change_is_on_disk_before_begin_returns(tmp_path: Path) -> None:
    calls: list[str] = []

    class Watching(Fs):
        def append(self, path: Path, data: bytes) -> None:
            calls.append("append")
            super().append(path, data)

        def fsync_file(self, path: Path) -> None:
            calls.append("fsync_file")
            super().fsync_file(path)

        def fsync_dir(self, path: Path) -> None:
            calls.append("fsync_dir")
            super().fsync_dir(path)

    Journal(tmp_path / "journal", fs=Watching()).begin("snapshot")
    assert calls == ["append", "fsync_file", "fsync_dir"]
