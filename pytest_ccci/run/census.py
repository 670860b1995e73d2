"""A census: how much an app keeps before a change and after it, so that a loss is seen where nobody wrote a sentinel.

Rows of the databases that the stack runs and of the SQLite files in its volumes, values that are not null per column of
them, and files per volume. Read past the app, and never written. What was lost :func:`losses` decides, over values.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ccci.recipe.compose_facts import ComposeFacts, ServiceFacts
from pytest_ccci.recipe.spec import ExpectedLoss
from pytest_ccci.run.app import App
from pytest_ccci.run.sql import Login, NoAnswer, ask, find_login
from pytest_ccci.run.sqlite import NotCounted, count_tables, is_sqlite, may_be_sqlite

__all__ = ["Census", "Files", "Losses", "Table", "losses", "lost_at_rest", "take_census"]

_DATABASE = re.compile(r"(?:postgres|postgis|timescaledb|pgvector|mariadb|mysql|percona)[\w.-]*(?:[:@].*)?$")
_EXACT = 64 * 1024 * 1024
"""Bytes up to which the rows of a table are counted; of a larger one the database's own estimate is taken."""
_FILES = 100_000
_STATEMENT = 60_000
_PASSING = re.compile(r"(?:sessions?|cache|caches|queue|queues|tokens?)$|^(?:locks?|jobs?|outbox|nonces?|leases?)$")
"""Words of a table's or an SQLite file's name, at its end, whose rows come and go by themselves."""

_TABLES = {
    "postgres": "select json_build_array(n.nspname, c.relname, pg_table_size(c.oid), greatest(c.reltuples, 0)::bigint, "
    "(select json_agg(a.attname order by a.attnum) from pg_attribute a "
    "where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)) "
    "from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and c.relpersistence = 'p' "
    "and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' order by n.nspname, c.relname",
    "mysql": "select json_array(t.table_schema, t.table_name, t.data_length, t.table_rows), "
    "json_quote(c.column_name) from information_schema.tables t join information_schema.columns c "
    "on c.table_schema = t.table_schema and c.table_name = t.table_name where t.table_type = 'BASE TABLE' and "
    "t.table_schema not in ('mysql', 'sys', 'information_schema', 'performance_schema') "
    "order by t.table_schema, t.table_name, c.ordinal_position",
}
_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by 1"


@dataclass(frozen=True)
class Table:
    """How many rows a table has, and how many values that are not null in each column; of a large one an estimate."""

    rows: int
    columns: Mapping[str, int] = field(default_factory=dict)
    exact: bool = True


@dataclass(frozen=True)
class Files:
    """How many files a volume holds, and how many bytes they have together."""

    number: int
    size: int


@dataclass(frozen=True)
class Census:
    """What was counted: tables by place and name, volumes by key; and what was not, by place, and why.

    A table's place is a service, or ``FILE in volume KEY``.
    """

    tables: Mapping[tuple[str, str], Table] = field(default_factory=dict)
    volumes: Mapping[str, Files] = field(default_factory=dict)
    uncounted: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rows, files = sum(t.rows for t in self.tables.values()), sum(f.number for f in self.volumes.values())
        tables = [f"{_many(rows, 'row')} in {_many(len(self.tables), 'table')}"] if self.tables else []
        volumes = [f"{_many(files, 'file')} in {_many(len(self.volumes), 'volume')}"] if self.volumes else []
        return ", ".join([*tables, *volumes]) or "nothing to count"

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a known-good."""
        return {
            "tables": [[*key, table.rows, dict(table.columns), table.exact] for key, table in self.tables.items()],
            "volumes": {name: [files.number, files.size] for name, files in self.volumes.items()},
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Census:
        """What `to_json` gave."""
        return cls(
            {(place, name): Table(rows, columns, exact) for place, name, rows, columns, exact in kept["tables"]},
            {name: Files(*counts) for name, counts in kept["volumes"].items()},
        )


@dataclass(frozen=True)
class Losses:
    """What a change cost: ``lost`` is data that somebody misses, ``told`` is what is fewer and may be."""

    lost: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def losses(before: Census, after: Census, *, expected: Iterable[ExpectedLoss] = ()) -> Losses:
    """Compare two censuses. What is in ``expected``, and what comes and goes by itself, is told and not lost.

    So is what was counted before and could not be counted again: nothing is known of it.
    """
    lost: list[str] = []
    counted = {service for service, _ in before.tables} | {f"volume {name}" for name in before.volumes}
    told = [
        f"{place} was counted before and cannot be now: {why}"
        for place, why in after.uncounted.items()
        if place in counted
    ]
    tables = {each.table for each in expected if each.table}
    for key in before.tables:
        place, name = key
        bare = name.rpartition(".")[2]
        free = name in tables or bare in tables or _passes(bare)
        known = not {place, place.rpartition(" in ")[2]}.intersection(after.uncounted)
        for text, hard in _of_table(key, before, after) if known else ():
            (lost if hard and not free else told).append(text)
    volumes = {each.volume for each in expected if each.volume}
    for name in before.volumes.keys() - {each.removeprefix("volume ") for each in after.uncounted}:
        for text, hard in _of_volume(name, before, after):
            (lost if hard and name not in volumes else told).append(text)
    return Losses(tuple(lost), tuple(told))


def lost_at_rest(before: Census, after: Census) -> tuple[ExpectedLoss, ...]:
    """What became less although nothing was changed, by table: it comes and goes by itself."""
    fewer = (
        name
        for (place, name), table in before.tables.items()
        if (place, name) in after.tables and after.tables[place, name].rows < table.rows
    )
    return tuple(ExpectedLoss(table=name, reason="it had fewer rows at rest, too") for name in dict.fromkeys(fewer))


def _passes(name: str) -> bool:
    return _PASSING.search(name.lower().rpartition("_")[2]) is not None


def _of_volume(name: str, before: Census, after: Census) -> Iterator[tuple[str, bool]]:
    """What is fewer in a volume, in words, each with whether it is a loss."""
    files, now = before.volumes[name], after.volumes.get(name)
    held = f"{_many(files.number, 'file')} ({files.size} bytes)"
    if now is None and files.number:
        new = {key: there for key, there in after.volumes.items() if key not in before.volumes}
        heir = next((key for key, there in new.items() if there.number >= files.number), "")
        yield f"volume {name}, with {held}, is used no more" + (f"; {heir} has as many" if heir else ""), not heir
    elif now is not None and now.number * 2 < files.number and now.size * 2 < files.size:
        yield f"volume {name} holds {_many(now.number, 'file')} ({now.size} bytes), and held {held}", True


def _of_table(key: tuple[str, str], before: Census, after: Census) -> Iterator[tuple[str, bool]]:
    """What is fewer in a table, in words, each with whether it is a loss."""
    table, (place, name) = before.tables[key], key
    where = f"table {name} of {place}"
    now = after.tables.get(key)
    if now is None:
        if table.rows:
            heir = _heir(table, {key: now for key, now in after.tables.items() if key not in before.tables})
            yield f"{where}, with {table.rows} rows, is gone" + (f"; {heir} has as many" if heir else ""), not heir
        return
    exact = table.exact and now.exact
    if now.rows < table.rows if exact else now.rows * 2 < table.rows:
        about = "" if exact else "about "
        yield f"{where} has {about}{now.rows} rows, and had {table.rows}", True
        return
    for column, values in table.columns.items():
        left = now.columns.get(column) if now.exact else values
        if left is None and values:
            yield f"column {column} of {where}, with {values} values, is gone", False
        elif left is not None and left < values:
            yield f"column {column} of {where} holds {left} values, and held {values}", left == 0


def _heir(table: Table, new: Mapping[tuple[str, str], Table]) -> str:
    """A new table with the same columns and at least as many rows: the same under another name."""
    for (place, name), now in new.items():
        if table.columns and table.columns.keys() <= now.columns.keys() and now.rows >= table.rows:
            return f"{name} of {place}"
    return ""


def take_census(app: App, facts: ComposeFacts, places: Mapping[str, Path]) -> Census:
    """Count what ``app`` keeps; ``places`` are its volumes by key, where their files can be read from here."""
    tables: dict[tuple[str, str], Table] = {}
    volumes: dict[str, Files] = {}
    uncounted: dict[str, str] = {}
    databases = [service for service in facts.services.values() if _is_database(service)]
    for service in databases:
        try:
            login = find_login(app, service.name, user="", database="")
            for name, table in _tables(app, service.name, login):
                tables[service.name, name] = table
        except (NoAnswer, ValueError) as error:
            uncounted[service.name] = str(error)[:300]
    theirs = {mount.source for service in databases for mount in service.mounts if mount.kind == "volume"}
    for key, place in places.items():
        if key in theirs:
            continue
        try:
            volumes[key], found = _files(place)
        except OSError as error:
            uncounted[f"volume {key}"] = str(error)
            continue
        for file in found:
            where = f"{file.relative_to(place)} in volume {key}"
            try:
                tables |= {(where, name): table for name, table in _sqlite_tables(file)}
            except (NotCounted, OSError) as error:
                uncounted[where] = str(error)
    return Census(tables, volumes, uncounted)


def _is_database(service: ServiceFacts) -> bool:
    kept = any(mount.kind == "volume" for mount in service.mounts)
    return kept and _DATABASE.search(service.image.rpartition("/")[2]) is not None


def _tables(app: App, service: str, login: Login) -> Iterator[tuple[str, Table]]:
    if login.dialect == "mysql":
        yield from _counted(app, service, login, _mysql_tables(ask(app, service, login, _TABLES["mysql"])), "")
        return
    for database in ask(app, service, login, _DATABASES).splitlines():
        there = Login(login.dialect, login.user, database)
        rows = [json.loads(line) for line in ask(app, service, there, _TABLES["postgres"]).splitlines()]
        yield from _counted(app, service, there, [(*row[:4], row[4] or []) for row in rows], f"{database}.")


_Row = tuple[str, str, int, int, list[str]]


def _mysql_tables(answer: str) -> list[_Row]:
    """A line per column, the tables in order."""
    found: dict[str, list[str]] = {}
    for line in answer.splitlines():
        table, _, column = line.partition("\t")
        found.setdefault(table, []).append(json.loads(column))
    rows = [(json.loads(table), columns) for table, columns in found.items()]
    return [(schema, name, size or 0, about or 0, columns) for (schema, name, size, about), columns in rows]


def _counted(app: App, service: str, login: Login, rows: list[_Row], prefix: str) -> Iterator[tuple[str, Table]]:
    """The tables with their counts; several are counted with one statement."""
    small = [row for row in rows if row[2] <= _EXACT]
    for schema, name, _, about, _ in (row for row in rows if row[2] > _EXACT):
        yield f"{prefix}{schema}.{name}", Table(about, exact=False)
    batch: list[tuple[_Row, str]] = []
    for row in small:
        batch.append((row, _count(login.dialect, row)))
        if sum(len(text) for _, text in batch) > _STATEMENT or row is small[-1]:
            counts = " union all ".join(f"select {at} as n, {text}" for at, (_, text) in enumerate(batch))
            statement = f"select c from ({counts}) counted order by n"  # noqa: S608  names are quoted
            answer = ask(app, service, login, statement).splitlines()
            for ((schema, name, _, _, columns), _), line in zip(batch, answer, strict=True):
                rows_there, *values = map(int, line.split(","))
                yield f"{prefix}{schema}.{name}", Table(rows_there, dict(zip(columns, values, strict=True)))
            batch = []


def _count(dialect: str, row: _Row) -> str:
    schema, name, _, _, columns = row
    if dialect == "mysql":
        counts = ", ".join(["count(*)", *(f"count({_backticked(column)})" for column in columns)])
        return f"concat_ws(',', {counts}) as c from {_backticked(schema)}.{_backticked(name)}"
    counts = ", ".join(["count(*)", *(f"count({_quoted(column)})" for column in columns)])
    return f"array_to_string(array[{counts}], ',') as c from {_quoted(schema)}.{_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _backticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _files(place: Path) -> tuple[Files, list[Path]]:
    """Count below ``place``, and name what may be SQLite files; what goes while it is counted is not there."""
    place.stat()
    number = size = 0
    databases = []
    for folder, _, names in os.walk(place, onerror=_raise):
        for name in names:
            file = Path(folder) / name
            with suppress(FileNotFoundError):
                seen = file.lstat()
                size += seen.st_size
                number += 1
                if stat.S_ISREG(seen.st_mode) and may_be_sqlite(seen.st_size) and not _passes(file.stem):
                    databases.append(file)
        if number > _FILES:
            raise OSError(f"it holds more than {_FILES} files")
    return Files(number, size), databases


def _sqlite_tables(file: Path) -> list[tuple[str, Table]]:
    """The tables of a file, where it is one of SQLite's and still there."""
    with suppress(FileNotFoundError):
        if is_sqlite(file):
            return [(name, Table(rows, values)) for name, rows, values in count_tables(file)]
    return []


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
