"""What a change cost: which losses make a run red, which are told, and how the counts are read."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.recipe.compose_facts import ComposeFacts, compose_facts
from pytest_ccci.recipe.spec import ExpectedLoss
from pytest_ccci.run.census import Census, Files, Table, losses, lost_at_rest, take_census

NOTE = ("db", "app.public.note")


def held(rows: int, *, text: int | None = None, author: int | None = None, name: str = NOTE[1]) -> Census:
    columns = {"text": rows if text is None else text, "author": rows if author is None else author}
    return Census({("db", name): Table(rows, columns)})


def files(number: int, size: int) -> Census:
    return Census(volumes={"uploads": Files(number, size)})


LOST = {
    "the table is empty": (held(10), held(0), "table app.public.note of db has 0 rows, and had 10"),
    "one row in ten": (held(10), held(9), "table app.public.note of db has 9 rows, and had 10"),
    "one column": (held(10), held(10, author=0), "column author of table app.public.note of db holds 0 values"),
    "the table is gone": (held(10), Census(), "table app.public.note of db, with 10 rows, is gone"),
    "the table is gone, and one like it was there before": (
        Census({NOTE: Table(10, {"text": 10}), ("db", "app.public.draft"): Table(12, {"text": 12})}),
        Census({("db", "app.public.draft"): Table(12, {"text": 12})}),
        "table app.public.note of db, with 10 rows, is gone",
    ),
    "another, smaller table": (held(10), held(9, name="app.public.notes"), "is gone"),
    "the uploads": (
        files(12, 9000),
        files(0, 0),
        "volume uploads holds 0 files (0 bytes), and held 12 files (9000 bytes)",
    ),
    "the volume has another name, and is empty": (
        files(12, 9000),
        Census(volumes={"media": Files(0, 0)}),
        "volume uploads, with 12 files (9000 bytes), is used no more",
    ),
    "most of the uploads": (files(12, 9000), files(2, 100), "volume uploads holds 2 files"),
    "half of a table that is only estimated": (
        Census({NOTE: Table(10_000_000, exact=False)}),
        Census({NOTE: Table(40, exact=False)}),
        "has about 40 rows",
    ),
}
TOLD = {
    "the table has another name": (held(10), held(10, name="app.public.notes"), "app.public.notes of db has as many"),
    "its service has another name": (
        held(10),
        Census({("database", NOTE[1]): Table(10, {"text": 10, "author": 10})}),
        "of db, with 10 rows, is gone; app.public.note of database has as many",
    ),
    "it cannot be counted any more": (
        held(10),
        Census(uncounted={"db": "connection refused"}),
        "db was counted before and cannot be now: connection refused",
    ),
    "a volume cannot be counted any more": (
        files(12, 9000),
        Census(uncounted={"volume uploads": "it is another user's"}),
        "volume uploads was counted before and cannot be now: it is another user's",
    ),
    "a volume has another name": (
        files(12, 9000),
        Census(volumes={"media": Files(12, 9000)}),
        "volume uploads, with 12 files (9000 bytes), is used no more; media has as many",
    ),
    "an SQLite file has another name": (
        Census({("a.db in volume data", "note"): Table(10, {"text": 10})}),
        Census({("b/a.db in volume data", "note"): Table(10, {"text": 10})}),
        "table note of a.db in volume data, with 10 rows, is gone; note of b/a.db in volume data has as many",
    ),
    "the volume of an SQLite file cannot be counted any more": (
        Census({("a.db in volume data", "note"): Table(10, {"text": 10})}, {"data": Files(1, 8192)}),
        Census(uncounted={"volume data": "it is another user's"}),
        "volume data was counted before and cannot be now: it is another user's",
    ),
    "a column is gone": (
        held(10),
        Census({NOTE: Table(10, {"text": 10})}),
        "column author of table app.public.note of db, with 10 values, is gone",
    ),
    "some values of a column": (held(10), held(10, author=7), "holds 7 values, and held 10"),
}
FINE = {
    "nothing changed": (held(10), held(10)),
    "more": (held(10), held(11)),
    "an empty table is gone": (held(0), Census()),
    "a few of the uploads": (files(12, 9000), files(9, 7000)),
    "many small files": (files(12, 9000), files(2, 8000)),
    "an empty volume is used no more": (files(0, 0), Census()),
    "an estimate that is a little off": (
        Census({NOTE: Table(10_000_000, exact=False)}),
        Census({NOTE: Table(9_900_000, exact=False)}),
    ),
}


@pytest.mark.parametrize(("before", "after", "words"), LOST.values(), ids=LOST.keys())
def test_it_is_lost(before: Census, after: Census, words: str) -> None:
    found = losses(before, after)
    assert [words in text for text in found.lost] == [True]
    assert found.told == ()


@pytest.mark.parametrize(("before", "after", "words"), TOLD.values(), ids=TOLD.keys())
def test_it_is_told_and_not_lost(before: Census, after: Census, words: str) -> None:
    found = losses(before, after)
    assert [words in text for text in found.told] == [True]
    assert found.lost == ()


@pytest.mark.parametrize(("before", "after"), FINE.values(), ids=FINE.keys())
def test_it_is_nothing(before: Census, after: Census) -> None:
    assert losses(before, after) == losses(before, before)


@pytest.mark.parametrize(
    "name",
    ["public.django_session", "public.sessions", "oauth.oauth2_accesstoken", "x.job_queue", "x.cache", "x.locks"],
)
def test_what_comes_and_goes_by_itself_is_told(name: str) -> None:
    found = losses(held(10, name=name), held(0, name=name))
    assert (len(found.lost), len(found.told)) == (0, 1)


@pytest.mark.parametrize(
    "name", ["public.blocks", "public.blog", "public.clocks", "public.lockers", "public.session_note"]
)
def test_a_name_that_only_looks_like_it_is_lost(name: str) -> None:
    assert len(losses(held(10, name=name), held(0, name=name)).lost) == 1


@pytest.mark.parametrize("table", ["note", "app.public.note"])
def test_what_the_author_expects_is_told(table: str) -> None:
    expected = [ExpectedLoss(table=table, reason="notes end"), ExpectedLoss(volume="uploads", reason="so do uploads")]
    assert losses(held(10), held(0), expected=expected).lost == ()
    assert losses(files(12, 9000), files(0, 0), expected=expected).lost == ()
    assert losses(held(10, name="app.public.other"), held(0, name="app.public.other"), expected=expected).lost


def test_what_had_fewer_rows_although_nothing_was_changed_is_no_loss_later() -> None:
    other = {("db", "app.public.other"): Table(5, {"text": 5})}
    before, after = Census({**held(10).tables, **other}), Census({**held(8).tables, **other})
    learnt = lost_at_rest(before, after)
    assert [each.table for each in learnt] == ["app.public.note"]
    assert losses(held(8), held(0), expected=learnt).lost == ()
    assert losses(Census(other), Census({("db", "app.public.other"): Table(4)}), expected=learnt).lost
    assert lost_at_rest(before, before) == lost_at_rest(before, Census()) == ()


def test_a_census_that_is_kept_reads_back_as_it_was() -> None:
    census = Census(
        {NOTE: Table(10, {"text": 9}), ("a.db in volume data", "n"): Table(7, exact=False)}, {"data": Files(2, 9)}
    )
    assert Census.from_json(json.loads(json.dumps(census.to_json()))) == census


def app(answers: dict[str, str], *, fails: str = "") -> Any:
    """An app whose database says what it is told to say; a statement is known by a piece of it."""

    def exec_(_: str, argv: list[str], **__: object) -> Any:
        if fails:
            return SimpleNamespace(rc=2, stdout="", stderr=fails)
        text = next((answer for piece, answer in answers.items() if piece in argv[-1]), None)
        return SimpleNamespace(rc=0, stdout=answers["login"] if text is None else text, stderr="")

    return SimpleNamespace(exec=exec_)


def stack(image: str, target: str = "/var/lib/x") -> ComposeFacts:
    return compose_facts({"services": {"db": {"image": image, "volumes": [f"data:{target}"]}}, "volumes": {"data": {}}})


POSTGRES = {
    "pg_database": "app\n",
    "pg_class": '["public", "note", 8192, 0, ["text", "a\\"b"]]\n["public", "big", 99999999999, 1234, ["x"]]\n',
    "counted": "10,10,7\n",
    "login": "postgres\napp\napp\n",
}
MYSQL = {
    "information_schema": '["blog", "post", 16384, 3]\t"id"\n["blog", "post", 16384, 3]\t"text"\n',
    "counted": "4,4,0\n",
    "login": "mysql\nroot\nblog\n",
}


def test_a_postgres_is_counted_and_a_large_table_estimated() -> None:
    counted = take_census(app(POSTGRES), stack("postgres:15"), {})
    assert counted.tables == {
        ("db", "app.public.note"): Table(10, {"text": 10, 'a"b': 7}),
        ("db", "app.public.big"): Table(1234, exact=False),
    }
    assert str(counted) == "1244 rows in 2 tables"


def test_a_mariadb_is_counted() -> None:
    counted = take_census(app(MYSQL), stack("docker.io/library/mariadb:10.11"), {})
    assert counted.tables == {("db", "blog.post"): Table(4, {"id": 4, "text": 0})}


@pytest.mark.parametrize("answers", [{**POSTGRES, "counted": "NULL\n"}, {**POSTGRES, "pg_class": "no json\n"}])
def test_an_answer_that_cannot_be_read_leaves_it_uncounted(answers: dict[str, str]) -> None:
    assert list(take_census(app(answers), stack("postgres:15"), {}).uncounted) == ["db"]


def test_a_database_that_does_not_answer_is_uncounted_with_its_words() -> None:
    counted = take_census(app({}, fails="connection refused"), stack("postgres:15"), {})
    assert "connection refused" in counted.uncounted["db"]
    assert losses(held(10), counted).lost == ()


def test_files_are_counted_per_volume_but_for_a_databases_own(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("/nowhere")
    places = {"data": tmp_path, "there": tmp_path, "not": tmp_path / "not"}
    counted = take_census(app(POSTGRES), stack("postgres:15"), places)
    assert counted.volumes == {"there": Files(2, 3 + len("/nowhere"))}
    assert list(counted.uncounted) == ["volume not"]


def test_the_sqlite_files_in_a_volume_are_counted_but_for_caches(tmp_path: Path) -> None:
    for name in ("app.db", "cache.db", "http_cache.sqlite"):
        with closing(sqlite3.connect(tmp_path / name)) as there, there:
            there.execute("CREATE TABLE note (text)")
            there.execute("INSERT INTO note VALUES ('a'), (NULL)")
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\x00" + b"x" * 1008)
    counted = take_census(app({}), stack("notes:1"), {"data": tmp_path})
    assert counted.tables == {("app.db in volume data", "note"): Table(2, {"text": 1})}
    assert list(counted.uncounted) == ["broken.db in volume data"]
    assert counted.volumes["data"].number == 4


def test_files_that_may_not_be_read_are_uncounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(_: Path, *, onerror: Callable[[OSError], None]) -> Iterator[Any]:
        onerror(PermissionError("they are another user's"))
        yield from ()

    monkeypatch.setattr(os, "walk", walk)
    counted = take_census(app({}), stack("notes:1"), {"data": tmp_path})
    assert counted.uncounted == {"volume data": "they are another user's"}
