"""The index of all runs: a row each in ``runs/index.sqlite``, made from results.json, and made anew when it is damaged.

The results.json of each run is the truth. Of a run that was pruned its row stays, in the index and as a line of
``runs/history.jsonl``, from which an index is rebuilt too. Writers take turns by a kernel lock, so that an index can be
replaced beneath readers only; a reader has the old one or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pytest_ccci.errors import CcciError, InfrastructureFault, LockBusy, StateDamaged
from pytest_ccci.locks import hold
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.verdict import deciding, run_verdict
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir, parse_state

__all__ = [
    "SCHEMA",
    "Index",
    "LatestRun",
    "RunRow",
    "ask",
    "catch_up",
    "glance",
    "keep_rows",
    "load_history",
    "load_index",
    "note_disk",
    "rebuild",
    "record",
    "row_of",
]

_LOG = logging.getLogger(__name__)

SCHEMA = 2
"""Of the index. One of another version is made anew."""

T = TypeVar("T")

_WAIT = 10.0
_REASON = 500
_NAME = 200
_STEPS = 400
_POINTS = 500
_ADVICE = "nothing is lost: ccci index --rebuild makes it anew from the results of the runs"
_HISTORY_ADVICE = "remove the line that is named: it was the history of one run that was pruned"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}


@dataclass(frozen=True)
class RunRow:
    """What the index keeps of a run. ``steps`` are ``(tier, step, seconds)``; ``infra`` is a digest of the machine.

    ``known_good`` is the one after the run; ``tier`` the one that decided a verdict other than pass.
    """

    run_id: str
    recipe: str
    mode: str
    requested_mode: str
    verdict: str
    started: str
    seconds: float
    reason: str = ""
    tier: str = ""
    base: str = ""
    base_commit: str = ""
    head: str = ""
    head_commit: str = ""
    dirty: bool = False
    asked: str = ""
    action: str = ""
    known_good: str = ""
    infra: str = ""
    steps: tuple[tuple[str, str, float], ...] = ()


class LatestRun(NamedTuple):
    """What is shown of the last run of a recipe in a mode: a whole row of each of ten thousand takes its time."""

    recipe: str
    mode: str
    run_id: str
    verdict: str
    started: str
    head: str
    reason: str


def row_of(result: RunResult) -> RunRow:
    """The row of a run; texts are bounded, since the row stays when the run is pruned."""
    _, why = run_verdict(result.tiers, result.custom, leftovers=result.leftovers)
    decides = deciding(result.tiers, result.custom, leftovers=result.leftovers)
    machine = json.dumps([result.engine, result.infra], sort_keys=True).encode("utf-8", "replace")
    steps = [(tier.tier[:_NAME], step.name[:_NAME], step.seconds) for tier in result.tiers for step in tier.steps]
    return RunRow(
        run_id=result.run_id,
        recipe=result.recipe,
        mode=result.mode,
        requested_mode=result.requested_mode,
        verdict=str(result.verdict),
        started=result.started,
        seconds=result.seconds,
        reason=_bounded(why, _REASON) if str(result.verdict) != "pass" else "",
        tier=decides.tier[:_NAME] if decides else "",
        base=_bounded(result.base.version, _NAME) if result.base else "",
        base_commit=_bounded(result.base.commit, _NAME) if result.base else "",
        head=_bounded(result.head.version, _NAME) if result.head else "",
        head_commit=_bounded(result.head.commit, _NAME) if result.head else "",
        dirty=bool(result.head and result.head.dirty),
        asked=_bounded(" ".join(result.asked), _NAME),
        action=result.known_good.action,
        known_good=_bounded(result.known_good.after or "", _NAME),
        infra=hashlib.sha256(machine).hexdigest()[:12],
        steps=tuple(steps[:_STEPS]),
    )


def _bounded(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# -- the file

_COLUMNS = tuple(field.name for field in fields(RunRow))
_DIRTY = _COLUMNS.index("dirty")
_KINDS = {"seconds": "REAL", "dirty": "INTEGER"}
_WITHOUT_STEPS = tuple(name for name in _COLUMNS if name != "steps")


def _declared(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {_KINDS.get(name, 'TEXT')} NOT NULL" for name in names)


_TABLES = (
    f"CREATE TABLE runs ({_declared(_COLUMNS)}, PRIMARY KEY (run_id)) WITHOUT ROWID",
    "CREATE INDEX runs_of_a_recipe ON runs (recipe, mode, started, run_id)",
    # Copies of the last row of each recipe and mode: to show all of them, nothing else is read.
    f"CREATE TABLE latest ({_declared(_WITHOUT_STEPS)}, PRIMARY KEY (recipe, mode)) WITHOUT ROWID",
    # What was free when, in bytes: told by nothing else, and of no weight.
    "CREATE TABLE disk (at TEXT PRIMARY KEY, free INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE recipes (recipe TEXT PRIMARY KEY, runs INTEGER NOT NULL) WITHOUT ROWID",
    # Kept by the index itself, so that a writer that is killed leaves both as they were.
    "CREATE TRIGGER added AFTER INSERT ON runs BEGIN "  # noqa: ISC004, S608  one statement, of our own names only
    f"INSERT INTO latest VALUES ({', '.join(f'new.{name}' for name in _WITHOUT_STEPS)}) "
    f"ON CONFLICT (recipe, mode) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _WITHOUT_STEPS)} "
    "WHERE (excluded.started, excluded.run_id) >= (started, run_id); "
    "INSERT INTO recipes VALUES (new.recipe, 1) ON CONFLICT (recipe) DO UPDATE SET runs = runs + 1; END",
)
_INSERT = f"INSERT OR IGNORE INTO runs VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608  our own names only


_NOTE_DISK = (
    "INSERT OR REPLACE INTO disk VALUES (?, ?)",
    "DELETE FROM disk WHERE at < (SELECT at FROM disk ORDER BY at DESC LIMIT 1 OFFSET ?)",
)


def record(state: StateDir, row: RunRow, *, free: int | None = None) -> None:
    """Add the row of a run, and how many bytes were ``free``.

    An index that is not there, damaged or of another version is made anew.

    Raises:
        InfrastructureFault: it cannot be written. The run's own results are there, so that nothing is lost.
    """
    with _writing(state):
        try:
            _add(state.index, (row,), disk=None if free is None else (row.started, free))
        except _Stale:
            _make(state, also=(row,))


def note_disk(state: StateDir, *, at: str, free: int) -> None:
    """Note how many bytes are ``free`` now (``at``, ISO 8601 in UTC).

    Raises:
        InfrastructureFault: it cannot be written.
    """
    with _writing(state):
        try:
            _add(state.index, (), disk=(at, free))
        except _Stale:
            _make(state)


def rebuild(state: StateDir) -> int:
    """Make the index anew from the results of the runs and the history of those that were pruned; how many it has.

    Raises:
        InfrastructureFault: it cannot be written.
    """
    with _writing(state):
        return _make(state)


def catch_up(state: StateDir) -> None:
    """Add the runs that are not in the index, such as those that could not write it.

    Raises:
        InfrastructureFault: it cannot be written.
    """
    with _writing(state):
        try:
            with closing(_opened(state.index, write=False)) as there, _judged():
                missing = [path for path in _result_files(state) if not _has(there, path.parent.name)]
            if missing:
                _add(state.index, _loaded(missing))
        except _Stale:
            _make(state)


def _has(link: sqlite3.Connection, run_id: str) -> bool:
    return link.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is not None


def keep_rows(state: StateDir, run_ids: Iterable[str]) -> None:
    """Write the rows of runs that are about to be pruned to the history.

    Raises:
        InfrastructureFault: it cannot be written.
    """
    rows = _loaded([state.run(run_id) / "results.json" for run_id in run_ids])
    lines = "".join(f"{json.dumps(asdict(row), ensure_ascii=True)}\n" for row in rows)
    if not lines:
        return
    with _writing(state), state.history.open("ab") as sink:
        if sink.tell() and not _ends_a_line(state.history):
            sink.write(b"\n")  # a line that was cut off stays alone
        os.fchmod(sink.fileno(), 0o600)
        sink.write(lines.encode("ascii"))
        sink.flush()
        os.fsync(sink.fileno())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as source:
        source.seek(-1, os.SEEK_END)
        return source.read(1) == b"\n"


class _Stale(Exception):
    """The index is not there, damaged, or of another version."""


@contextmanager
def _writing(state: StateDir) -> Iterator[None]:
    """Be the only writer; whatever goes wrong meanwhile is one kind of fault."""
    try:
        owner = {"doing": "index"}
        with hold(state.runs / "index.lock", wait=_WAIT, owner=owner, level=logging.DEBUG):
            yield
    except (OSError, sqlite3.Error, LockBusy) as error:
        raise InfrastructureFault(
            "the index of runs cannot be written", where=str(state.index), seen=str(error), advice=_ADVICE
        ) from error


def _opened(path: Path, *, write: bool) -> sqlite3.Connection:
    """The index, if it can be used.

    Raises:
        _Stale: it is to be made anew.
    """
    if not path.exists():
        raise _Stale
    link = _connect(f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}")
    try:
        with _judged():
            version = link.execute("PRAGMA user_version").fetchone()[0]
            link.execute("SELECT run_id FROM latest LIMIT 1").fetchone()
    except BaseException:
        link.close()
        raise
    if version != SCHEMA:
        link.close()
        raise _Stale
    return link


def _connect(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)


@contextmanager
def _judged() -> Iterator[None]:
    """What says that the file is damaged or of another make, and not that the disk is full or busy, is `_Stale`."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
            raise _Stale from error
        raise


def _add(path: Path, rows: Iterable[RunRow], *, disk: tuple[str, int] | None = None) -> None:
    with closing(_opened(path, write=True)) as link, _judged():
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute("BEGIN IMMEDIATE")
        link.executemany(_INSERT, map(_stored, rows))
        if disk is not None:
            link.execute(_NOTE_DISK[0], disk)
            link.execute(_NOTE_DISK[1], (_POINTS - 1,))
        link.execute("COMMIT")


def _stored(row: RunRow) -> tuple[object, ...]:
    return tuple(_value(getattr(row, name)) for name in _COLUMNS)


def _value(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be stored
    return value


def _make(state: StateDir, also: tuple[RunRow, ...] = ()) -> int:
    """Make it aside, then put it in the place of the old one, of which the rows are kept that nothing else tells."""
    for old in state.runs.glob(".index-*"):
        old.unlink()
    handle, name = tempfile.mkstemp(dir=state.runs, prefix=".index-")
    os.close(handle)
    made = Path(name)
    try:
        with closing(_connect(made.as_uri())) as link:
            link.execute("PRAGMA journal_mode = MEMORY")
            link.execute("PRAGMA synchronous = OFF")
            _fill(link, (*also, *_loaded(_result_files(state)), *_pruned(state), *_salvaged(state.index)))
            link.executemany(_NOTE_DISK[0], _salvaged_disk(state.index))
            count = int(link.execute("SELECT count(*) FROM runs").fetchone()[0])
            link.execute("PRAGMA journal_mode = WAL")
        for beside in ("-wal", "-shm"):
            state.index.with_name(state.index.name + beside).unlink(missing_ok=True)
        made.replace(state.index)
    finally:
        for path in (made, *(made.with_name(made.name + beside) for beside in ("-wal", "-shm", "-journal"))):
            path.unlink(missing_ok=True)
    _LOG.debug(f"the index of runs was made anew, of {count} runs")
    return count


def _fill(link: sqlite3.Connection, rows: Iterable[RunRow]) -> None:
    link.execute("BEGIN")
    for statement in _TABLES:
        link.execute(statement)
    link.executemany(_INSERT, map(_stored, rows))
    link.execute(f"PRAGMA user_version = {SCHEMA}")
    link.execute("COMMIT")


def _result_files(state: StateDir) -> list[Path]:
    return sorted(state.runs.glob("*/results.json"))


def _loaded(paths: Iterable[Path]) -> Iterator[RunRow]:
    """The rows of results; those that cannot be read are shown by ``ccci status``."""
    for path in paths:
        with suppress(CcciError):
            yield row_of(load_result(path))


def _pruned(state: StateDir) -> list[RunRow]:
    """The history of pruned runs, as far as it can be read."""
    rows = []
    with suppress(OSError):
        for number, line in enumerate(state.history.read_bytes().splitlines(), 1):
            with suppress(StateDamaged):
                rows.append(_parsed(line, f"{state.history}:{number}"))
    return rows


def _parsed(line: bytes, where: str) -> RunRow:
    return parse_state(line, RunRow, where=where, advice=_HISTORY_ADVICE)


def _salvaged(path: Path) -> list[RunRow]:
    """What an old index of this version still tells."""
    rows: list[RunRow] = []
    with suppress(_Stale, sqlite3.Error, ValueError, TypeError), closing(_opened(path, write=False)) as link:
        rows.extend(_row(found) for found in link.execute("SELECT * FROM runs"))
    return rows


def _salvaged_disk(path: Path) -> list[tuple[str, int]]:
    """The same of the disk."""
    rows: list[tuple[str, int]] = []
    with suppress(_Stale, sqlite3.Error, ValueError, TypeError), closing(_opened(path, write=False)) as link:
        rows.extend((str(at), int(free)) for at, free in link.execute("SELECT at, free FROM disk"))
    return rows


def load_history(path: Path) -> tuple[RunRow, ...]:
    """The history of pruned runs; empty where there is none.

    Raises:
        StateDamaged: a line cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        seen = error.strerror or str(error)
        raise StateDamaged("a state file cannot be read", where=str(path), seen=seen, advice=_HISTORY_ADVICE) from error
    return tuple(_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip())


def load_index(path: Path) -> None:
    """See whether the index at ``path`` is whole. Makes no file beside it; nothing where there is none.

    Raises:
        StateDamaged: it is damaged, or of another version.
    """
    if not path.exists() and not path.is_symlink():
        return
    problem = ""
    # As a file that nobody changes: else a file for readers is made beside it. Where somebody does change it: properly.
    for way in ("immutable=1", "mode=ro"):
        try:
            with closing(_connect(f"{path.absolute().as_uri()}?mode=ro&{way}")) as link:
                version = link.execute("PRAGMA user_version").fetchone()[0]
                problem = str(link.execute("PRAGMA quick_check(1)").fetchone()[0])
                if problem == "ok" and version == SCHEMA:
                    link.execute("SELECT run_id FROM latest LIMIT 1").fetchone()
                    return
                problem = problem if problem != "ok" else f"its version is {version}, and not {SCHEMA}"
        except (sqlite3.Error, OSError) as error:
            problem = str(error)
    raise StateDamaged("the index of runs cannot be used", where=str(path), seen=problem[:300], advice=_ADVICE)


# -- what is asked of it


def ask(state: StateDir, question: Callable[[Index], T]) -> T:
    """What ``question`` comes to. Damage is repaired; where nothing can be written, an index is made in memory."""
    for repair in (None, rebuild):
        try:
            if repair is not None:
                repair(state)
            with closing(_opened(state.index, write=False)) as link, _judged():
                return question(Index(link))
        except (_Stale, sqlite3.Error, ValueError, TypeError, InfrastructureFault) as error:
            _LOG.debug(f"the index of runs cannot be used: {error}")
    with closing(_connect(":memory:")) as link:
        _fill(link, (*_loaded(_result_files(state)), *_pruned(state)))
        return question(Index(link))


def glance(state: StateDir, question: Callable[[Index], T], without: T) -> T:
    """The same for who changes nothing: ``without`` where there is no index, or it cannot be used as it is."""
    try:
        with closing(_opened(state.index, write=False)) as link, _judged():
            return question(Index(link))
    except (_Stale, OSError, sqlite3.Error, ValueError, TypeError, InfrastructureFault):
        return without


class Index:
    """Answers from an open index. Rows come newest first."""

    def __init__(self, link: sqlite3.Connection) -> None:
        self._link = link

    def latest(self) -> Iterator[LatestRun]:
        """The last run of each recipe in each mode, by recipe."""
        columns = ", ".join(LatestRun._fields)
        return map(LatestRun._make, self._link.execute(f"SELECT {columns} FROM latest ORDER BY recipe, mode"))  # noqa: S608  our own names only

    def recipes(self) -> tuple[str, ...]:
        """The recipes that were ever run."""
        return tuple(str(name) for (name,) in self._link.execute("SELECT recipe FROM recipes ORDER BY recipe"))

    def count(self) -> int:
        """How many runs there are."""
        return int(self._link.execute("SELECT coalesce(sum(runs), 0) FROM recipes").fetchone()[0])

    def history(self, recipe: str, mode: str, *, most: int) -> tuple[RunRow, ...]:
        """The last runs of a recipe in one mode."""
        return self._rows(
            "WHERE recipe = ? AND mode = ? ORDER BY started DESC, run_id DESC LIMIT ?", recipe, mode, most
        )

    def greens(self, recipe: str, mode: str, *, most: int) -> tuple[RunRow, ...]:
        """The last green runs of a recipe in one mode."""
        where = "WHERE recipe = ? AND mode = ? AND verdict = 'pass'"
        return self._rows(f"{where} ORDER BY started DESC, run_id DESC LIMIT ?", recipe, mode, most)

    def promotions(self, recipe: str, *, most: int) -> tuple[RunRow, ...]:
        """The runs that made a known-good of a recipe."""
        where = "WHERE recipe = ? AND mode = 'cold' AND action IN ('promoted', 'seeded')"
        return self._rows(f"{where} ORDER BY started DESC, run_id DESC LIMIT ?", recipe, most)

    def run(self, run_id: str) -> RunRow | None:
        """One run."""
        return next(iter(self._rows("WHERE run_id = ?", run_id)), None)

    def disk(self, *, most: int) -> tuple[tuple[str, int], ...]:
        """When how many bytes were free, newest first."""
        found = self._link.execute("SELECT at, free FROM disk ORDER BY at DESC LIMIT ?", (most,))
        return tuple((str(at), int(free)) for at, free in found)

    def last_green(self, row: RunRow) -> RunRow | None:
        """The last green run of the same recipe and mode that started before this one."""
        where = "WHERE recipe = ? AND mode = ? AND (started, run_id) < (?, ?) AND verdict = 'pass'"
        order = "ORDER BY started DESC, run_id DESC LIMIT 1"
        return next(iter(self._rows(f"{where} {order}", row.recipe, row.mode, row.started, row.run_id)), None)

    def _rows(self, where: str, *values: object) -> tuple[RunRow, ...]:
        found = self._link.execute(f"SELECT * FROM runs {where}", values)  # noqa: S608  our own words; values are bound
        return tuple(_row(each) for each in found)


def _row(found: tuple[Any, ...]) -> RunRow:
    *values, steps = found
    values[_DIRTY] = bool(values[_DIRTY])
    read = () if steps == "[]" else tuple((str(tier), str(name), float(took)) for tier, name, took in json.loads(steps))
    return RunRow(*(*values, read))
