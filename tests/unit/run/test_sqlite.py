"""SQLite files are counted as they are at one moment, from a copy: real files, written by SQLite itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.run import sqlite
from pytest_ccci.run.sqlite import NotCounted, count_tables, is_sqlite, may_be_sqlite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "app.db"


@pytest.fixture
def there(file: Path) -> Iterator[sqlite3.Connection]:
    """The app's own connection, which stays open while it is counted; everything is committed at once."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


def fill(there: sqlite3.Connection, rows: int = 3) -> None:
    there.execute("BEGIN")
    there.execute('CREATE TABLE note (id INTEGER PRIMARY KEY, "a ""text" TEXT)')
    there.executemany("INSERT INTO note VALUES (?, ?)", [(at, "x" if at else None) for at in range(rows)])
    there.execute("COMMIT")


def looked_at(folder: Path) -> list[tuple[str, int, int, bytes]]:
    return [(p.name, p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in sorted(folder.iterdir())]


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal", "off"])
def test_rows_and_values_are_counted_and_nothing_is_written(
    there: sqlite3.Connection, file: Path, journal: str
) -> None:
    there.execute(f"PRAGMA journal_mode = {journal}")
    there.execute("PRAGMA wal_autocheckpoint = 0")
    fill(there)
    before = looked_at(file.parent)
    assert count_tables(file) == [("note", 3, {"id": 3, 'a "text': 2})]
    assert looked_at(file.parent) == before


def test_what_stands_only_in_the_write_ahead_log_counts(there: sqlite3.Connection, file: Path) -> None:
    there.execute("PRAGMA journal_mode = wal")
    there.execute("PRAGMA wal_autocheckpoint = 0")
    fill(there)
    there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    there.execute("DELETE FROM note WHERE id > 0")
    assert [rows for _, rows, _ in count_tables(file)] == [1]
    Path(f"{file}-wal").unlink()
    assert [rows for _, rows, _ in count_tables(file)] == [3]


def test_a_transaction_that_was_cut_off_does_not_count(there: sqlite3.Connection, file: Path, tmp_path: Path) -> None:
    fill(there, rows=2000)
    there.execute("PRAGMA cache_size = 1")
    there.execute("BEGIN")
    there.execute('UPDATE note SET "a ""text" = NULL')
    killed = tmp_path / "killed"
    shutil.copytree(file.parent, killed)
    there.execute("ROLLBACK")
    assert Path(killed / "app.db-journal").stat().st_size > 0
    assert count_tables(killed / "app.db") == [("note", 2000, {"id": 2000, 'a "text': 1999})]


def test_virtual_tables_and_what_they_keep_theirs_in_are_not_counted(there: sqlite3.Connection, file: Path) -> None:
    fill(there)
    there.execute("CREATE VIRTUAL TABLE found USING fts5(text)")
    there.execute("CREATE TABLE founder (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    there.execute("CREATE VIEW seen AS SELECT * FROM note")
    assert [name for name, _, _ in count_tables(file)] == ["founder", "note"]


def test_a_file_that_is_written_while_it_is_copied_is_copied_again(
    there: sqlite3.Connection, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(there)
    copy, left = shutil.copyfileobj, [4]

    def copied(*given: Any) -> None:
        copy(*given)
        if left[0]:
            left[0] -= 1
            there.execute("INSERT INTO note DEFAULT VALUES")
            os.utime(file, ns=(left[0], left[0]))  # an instant can be too short for another time

    monkeypatch.setattr(shutil, "copyfileobj", copied)
    assert [rows for _, rows, _ in count_tables(file)] == [7]
    left[0] = 100
    with pytest.raises(NotCounted, match="it is written all the time"):
        count_tables(file)


def test_what_is_too_large_is_told(there: sqlite3.Connection, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(there)
    monkeypatch.setattr(sqlite, "_LARGEST", 4096)
    with pytest.raises(NotCounted, match="larger than"):
        count_tables(file)


def test_counting_ends_in_time(there: sqlite3.Connection, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(there)
    monkeypatch.setattr(sqlite, "_SECONDS", -1.0)
    monkeypatch.setattr(sqlite, "_STEPS", 1)
    with pytest.raises(NotCounted, match="SQLite: interrupted"):
        count_tables(file)


def test_a_damaged_file_is_told(there: sqlite3.Connection, file: Path) -> None:
    fill(there, rows=500)
    with file.open("r+b") as raw:
        raw.seek(100)
        raw.write(b"\xff" * 3000)
    with pytest.raises(NotCounted, match="SQLite: "):
        count_tables(file)


def test_only_a_regular_file_of_sqlites_own_is_one(there: sqlite3.Connection, file: Path, tmp_path: Path) -> None:
    fill(there)
    size = file.stat().st_size
    assert is_sqlite(file)
    assert may_be_sqlite(size)
    assert not may_be_sqlite(size + 1)
    assert not may_be_sqlite(0)
    other = tmp_path / "other"
    other.write_bytes(b"\0" * 1024)
    assert not is_sqlite(other)
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="link"):
        is_sqlite(link)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        is_sqlite(tmp_path / "pipe")
