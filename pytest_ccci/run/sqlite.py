"""What SQLite files hold: counted in a copy, past the app. The file itself is only read."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from pytest_ccci.waiting import Stopwatch

__all__ = ["NotCounted", "count_tables", "is_sqlite", "may_be_sqlite"]

_MAGIC = b"SQLite format 3\x00"
_PAGE = 512
_LARGEST = 256 * 1024 * 1024
_PARTS = ("", "-wal", "-journal")
"""The file, and what belongs to its content: https://www.sqlite.org/tempfiles.html."""
_TRIES = 5
_SECONDS = 15.0
_STEPS = 100_000
_AT_ONCE = 1024 * 1024
_OWN = re.compile(r"sqlite_")


class NotCounted(Exception):
    """A file could not be counted; says why."""


def may_be_sqlite(size: int) -> bool:
    """Whether a file of ``size`` bytes can be one: it is of whole pages."""
    return size >= _PAGE and size % _PAGE == 0


def is_sqlite(file: Path) -> bool:
    """Whether it is a database of SQLite.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    with _opened(file) as source:
        return source.read(len(_MAGIC)) == _MAGIC


def count_tables(file: Path) -> list[tuple[str, int, Mapping[str, int]]]:
    """Name, rows, and values that are not null per column, of each table that an app made in ``file``.

    Raises:
        NotCounted: it is too large, is written all the time, or SQLite cannot read it.
        OSError: it cannot be read, or there is no room for a copy of it.
    """
    with TemporaryDirectory(prefix="ccci-count-") as folder:
        copy = Path(folder) / "copy.db"
        _copy(file, copy)
        watch = Stopwatch()
        try:
            with closing(sqlite3.connect(copy)) as there:
                there.set_progress_handler(lambda: watch.seconds > _SECONDS, _STEPS)
                there.execute("PRAGMA trusted_schema = off")
                return [(table, *_count(there, table)) for table in _tables(there)]
        except (sqlite3.Error, UnicodeError) as error:
            raise NotCounted(f"SQLite: {error}") from error


def _count(there: sqlite3.Connection, table: str) -> tuple[int, Mapping[str, int]]:
    names = [row[1] for row in there.execute(f"PRAGMA table_info({_quoted(table)})")]
    counts = ", ".join(["count(*)", *(f"count({_quoted(name)})" for name in names)])
    statement = f"SELECT {counts} FROM {_quoted(table)}"  # noqa: S608  names are quoted
    rows, *values = there.execute(statement).fetchone()
    return rows, dict(zip(names, values, strict=True))


def _tables(there: sqlite3.Connection) -> list[str]:
    """Tables with rows of their own; not virtual ones, nor what those keep theirs in."""
    rows = there.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    virtual = [name for name, sql in rows if re.match(r"create\s+virtual\s", sql or "", re.IGNORECASE)]
    shadows = tuple(f"{name}_" for name in virtual)
    return [name for name, _ in rows if name not in virtual and not name.startswith(shadows) and not _OWN.match(name)]


def _copy(file: Path, copy: Path) -> None:
    """Copy ``file`` as it is at one moment."""
    for _ in range(_TRIES):
        before = _stamps(file)
        if sum(size for _, size, _ in before) > _LARGEST:
            raise NotCounted(f"it is larger than {_LARGEST // 1024 // 1024} MiB")
        for part in _PARTS:
            Path(f"{copy}{part}").unlink(missing_ok=True)
        for part, _, _ in before:
            with (
                suppress(FileNotFoundError),  # it went meanwhile, which the stamps tell
                _opened(Path(f"{file}{part}")) as source,
                Path(f"{copy}{part}").open("wb") as target,
            ):
                shutil.copyfileobj(source, target, _AT_ONCE)
        if _stamps(file) == before:
            return
    raise NotCounted("it is written all the time")


def _stamps(file: Path) -> list[tuple[str, int, int]]:
    found = []
    for part in _PARTS:
        try:
            seen = Path(f"{file}{part}").lstat()
        except FileNotFoundError:
            continue
        found.append((part, seen.st_size, seen.st_mtime_ns))
    return found


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read; no link is followed, and nothing is waited for.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as source:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise OSError(f"{file} is no regular file")
        yield source


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
