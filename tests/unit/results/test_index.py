"""The index of runs: what it answers, and that it is made anew whatever happened to it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from maderuns import made_result, red_result, written

from pytest_ccci.errors import InfrastructureFault, StateDamaged, Verdict
from pytest_ccci.process import run
from pytest_ccci.results import index as indexing
from pytest_ccci.results.index import (
    Index,
    RunRow,
    ask,
    catch_up,
    keep_rows,
    load_history,
    load_index,
    note_disk,
    rebuild,
    record,
    row_of,
)
from pytest_ccci.settings import current_environment
from pytest_ccci.statedir import StateDir


def recorded(state: StateDir, *numbers: int, **changes: object) -> list[str]:
    """Runs with their results, in the index."""
    made = [made_result(number, **changes) for number in numbers]
    for result in made:
        written(state, result)
        record(state, row_of(result))
    return [result.run_id for result in made]


def ids(state: StateDir, recipe: str = "lasuite-docs") -> list[str]:
    return ask(state, lambda index: [row.run_id for row in index.history(recipe, "cold", most=1000)])


def test_a_row_is_read_back_as_it_was_written(state: StateDir) -> None:
    red = red_result(7)
    record(state, row_of(red))

    row = ask(state, lambda index: index.run(red.run_id))

    assert row == row_of(red)
    assert row is not None
    assert (row.verdict, row.tier, row.head_commit) == ("fail", "upgrade", "c" * 40)
    assert row.reason.startswith("upgrade: backend keeps crashing")
    assert ("upgrade", "converge", 12.1) in row.steps


def test_history_is_newest_first_and_knows_the_last_green_run_before(state: StateDir) -> None:
    one, two, three = recorded(state, 1, 2, 3)
    red = row_of(red_result(4))
    record(state, red)

    assert ids(state) == [red.run_id, three, two, one]
    assert ask(state, lambda index: index.last_green(red)) == row_of(made_result(3))
    assert ask(state, lambda index: index.last_green(row_of(made_result(1)))) is None
    assert [row.run_id for row in ask(state, lambda index: index.promotions("lasuite-docs", most=2))] == [three, two]


def test_the_latest_run_counts_by_its_start_and_not_by_when_it_was_written(state: StateDir) -> None:
    recorded(state, 9, 3)
    quick = row_of(made_result(5, mode="quick", recipe="notes"))
    record(state, quick)

    latest = ask(state, lambda index: [(row.recipe, row.mode, row.run_id) for row in index.latest()])

    assert latest == [("lasuite-docs", "cold", made_result(9).run_id), ("notes", "quick", quick.run_id)]
    assert ask(state, Index.recipes) == ("lasuite-docs", "notes")
    assert ask(state, Index.count) == 3


def test_the_same_run_is_in_it_once(state: StateDir) -> None:
    recorded(state, 1, 1)
    assert len(ids(state)) == 1
    assert ask(state, Index.count) == 1


def damage(kind: str, path: Path) -> None:
    if kind == "gone":
        path.unlink()
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "no database":
        path.write_bytes(b"not a database" * 400)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "another version":
        with sqlite3.connect(path) as link:
            link.execute("PRAGMA user_version = 999")
        link.close()
    elif kind == "another's tables":
        path.unlink()
        with sqlite3.connect(path) as link:
            link.execute("CREATE TABLE runs (a)")
            link.execute(f"PRAGMA user_version = {indexing.SCHEMA}")
        link.close()
    else:
        raw = bytearray(path.read_bytes())
        raw[4096:] = os.urandom(len(raw) - 4096)
        path.write_bytes(raw)


KINDS = ("gone", "cut off", "no database", "empty", "another version", "another's tables", "overwritten within")


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_index_is_made_anew_when_it_is_asked(kind: str, state: StateDir) -> None:
    three = recorded(state, 1, 2, 3)
    damage(kind, state.index)
    assert ids(state) == three[::-1]
    load_index(state.index)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_index_is_made_anew_when_a_run_ends(kind: str, state: StateDir) -> None:
    three = recorded(state, 1, 2, 3)
    damage(kind, state.index)
    (four,) = recorded(state, 4)
    assert ids(state) == [four, *three[::-1]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gone"])
def test_a_damaged_index_is_shown_and_the_way_out_works(kind: str, state: StateDir) -> None:
    recorded(state, 1, 2)
    damage(kind, state.index)
    with pytest.raises(StateDamaged, match="ccci index --rebuild"):
        load_index(state.index)
    assert rebuild(state) == 2
    load_index(state.index)


def test_who_looks_at_an_index_makes_no_file_beside_it(state: StateDir) -> None:
    recorded(state, 1)
    before = sorted(path.name for path in state.runs.iterdir())
    load_index(state.index)
    assert sorted(path.name for path in state.runs.iterdir()) == before


def test_runs_that_could_not_be_written_down_come_in_later(state: StateDir) -> None:
    recorded(state, 1)
    late = made_result(2)
    written(state, late)
    catch_up(state)
    assert ids(state)[0] == late.run_id


def test_a_result_that_cannot_be_read_keeps_no_other_out(state: StateDir) -> None:
    good = recorded(state, 1)
    (state.run("broken")).mkdir()
    (state.run("broken") / "results.json").write_text("{")
    assert rebuild(state) == 1
    catch_up(state)
    assert ids(state) == good


def test_writers_at_once_lose_nothing(state: StateDir) -> None:
    rows = [row_of(made_result(number)) for number in range(1, 41)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: record(state, row), rows))
    assert ids(state) == [row.run_id for row in reversed(rows)]


def test_a_rebuild_amid_writers_loses_nothing(state: StateDir) -> None:
    def write(number: int) -> None:
        recorded(state, number)

    def anew(_: int) -> None:
        rebuild(state)

    acts: list[Callable[[int], None]] = [anew if number % 5 == 0 else write for number in range(1, 41)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda pair: pair[1](pair[0] + 1), enumerate(acts)))
    assert len(ids(state)) == 32


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from pytest_ccci.results import index
from pytest_ccci.results.index import Index, RunRow, ask, record
from pytest_ccci.statedir import StateDir
where = sys.argv[2]
if where == "in the transaction":
    stored = index._stored
    def die(row):
        if row.run_id == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return stored(row)
    index._stored = die
elif where == "before the new one is in place":
    Path.replace = lambda self, other: os.kill(os.getpid(), signal.SIGKILL)
state = StateDir(Path(sys.argv[1]))
row = lambda name: RunRow(name, "lasuite-docs", "cold", "cold", "pass", "2030-01-01T00:00:00+00:00", 1.0)
if where == "before the new one is in place":
    index.rebuild(state)
else:
    for name in ("lived", "killed"):
        record(state, row(name))
"""


@pytest.mark.parametrize("where", ["in the transaction", "before the new one is in place"])
def test_a_writer_that_is_killed_leaves_a_whole_index(where: str, state: StateDir) -> None:
    one = recorded(state, 1)
    argv = [sys.executable, "-c", KILLED, str(state.root), where]
    assert run(argv, timeout=60, env=current_environment(), check=False).rc == -signal.SIGKILL

    load_index(state.index)
    (two,) = recorded(state, 2)

    lived = ["lived"] if where == "in the transaction" else []
    assert ids(state) == [*lived, two, *one]
    rebuild(state)
    assert list(state.runs.glob(".index-*")) == []


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    one = recorded(state, 1)
    connect = indexing._connect

    def full(address: str) -> sqlite3.Connection:
        link = connect(address)
        link.execute("PRAGMA max_page_count = 1")
        return link

    monkeypatch.setattr(indexing, "_connect", full)
    wide = row_of(made_result(2, started="x" * 100_000))
    with pytest.raises(InfrastructureFault, match="full"):
        record(state, wide)
    monkeypatch.undo()
    assert ids(state) == one


def test_where_nothing_can_be_written_it_is_told_and_asked_in_memory(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        written(state, made_result(number))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(indexing, "hold", refused)
    with pytest.raises(InfrastructureFault, match="Permission denied"):
        record(state, row_of(made_result(3)))
    assert ids(state) == [made_result(2).run_id, made_result(1).run_id]
    assert not state.index.exists()


def test_a_run_that_is_pruned_stays_in_the_history_also_after_a_rebuild(state: StateDir) -> None:
    one, two = recorded(state, 1, 2)
    keep_rows(state, [one])
    (state.run(one) / "results.json").unlink()
    state.index.write_bytes(b"damaged")
    assert ids(state) == [two, one]
    assert load_history(state.history) == (row_of(made_result(1)),)
    assert state.history.stat().st_mode & 0o777 == 0o600


def test_the_history_that_only_the_old_index_knows_is_carried_over(state: StateDir) -> None:
    one, two = recorded(state, 1, 2)
    (state.run(one) / "results.json").unlink()
    rebuild(state)
    assert ids(state) == [two, one]


def test_a_line_of_the_history_that_was_cut_off_costs_that_line_only(state: StateDir) -> None:
    one, two = recorded(state, 1, 2)
    keep_rows(state, [one])
    with state.history.open("ab") as sink:
        sink.write(b'{"run_id": "20')
    keep_rows(state, [two])
    with pytest.raises(StateDamaged, match=r"history\.jsonl:2"):
        load_history(state.history)
    for path in state.runs.glob("*/results.json"):
        path.unlink()
    state.index.unlink()
    assert ids(state) == [two, one]


def test_text_that_is_none_and_text_that_is_sql_are_stored_as_data(state: StateDir) -> None:
    name = "x'); DROP TABLE runs; --"
    row = RunRow("r", name, "cold", "cold", "pass", "now", 1.0, reason="half a pair: \ud800")
    record(state, row)
    recorded(state, 1)
    assert ids(state, name) == ["r"]
    keep_rows(state, [made_result(1).run_id])
    assert json.loads(state.history.read_text())["recipe"] == "lasuite-docs"


def test_texts_are_bounded_in_a_row() -> None:
    red = red_result()
    upgrade = red.tiers[1].model_copy(update={"reason": "x" * (10 << 20)})
    row = row_of(red.model_copy(update={"tiers": (red.tiers[0], upgrade), "verdict": Verdict.FAIL}))
    assert len(row.reason) == 500


def test_what_was_free_is_kept_for_a_while_and_outlives_a_rebuild(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(state, row_of(made_result(1)), free=7)
    monkeypatch.setattr(indexing, "_POINTS", 3)
    for day in range(1, 5):
        note_disk(state, at=f"2027-01-0{day}T00:00:00+00:00", free=day)
    rebuild(state)
    kept = tuple((f"2027-01-0{day}T00:00:00+00:00", day) for day in (4, 3, 2))
    assert ask(state, lambda index: index.disk(most=1000)) == kept
    assert ask(state, lambda index: index.disk(most=1)) == kept[:1]
