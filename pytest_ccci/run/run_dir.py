"""The run's own directory: its journal, what it owns, and the recipe's files at each commit that it uses."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.errors import StateDamaged
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.tree import RecipeTree
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import StepResult
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.disk import allocated
from pytest_ccci.store.fs import os_errors
from pytest_ccci.waiting import Stopwatch

__all__ = [
    "BULKY",
    "KEPT_BYTES",
    "Diary",
    "Owned",
    "Trees",
    "damaged_diaries",
    "load_owned",
    "new_run_id",
    "now_text",
    "open_diaries",
]

BULKY = ("trees", "backup", "attached")
"""Folders of a run that go when it is over: work trees and archives of *backup*, which may be large, and what a pytest
on the base was told.
"""

KEPT_BYTES = 1 << 30
"""Of a run that was not green they are kept up to this size, all together."""

_OWNED = "owned.json"


@dataclass(frozen=True)
class Owned:
    """One app that a run has deployed or is about to: enough to remove it when the run is dead.

    ``lock`` is held for as long as the run lives.
    """

    run_id: str
    recipe: str
    stack: str
    domain: str
    lock: str
    volumes: tuple[str, ...] = ()


def new_run_id(now: datetime | None = None) -> str:
    """A new id: the time to the second, for people, and 6 hex digits."""
    return f"{(now or datetime.now(UTC)).strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def now_text() -> str:
    """The time now, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Diary:
    """Writes the journal of one run and keeps its steps.

    The journal is for people: a line that cannot be written must not keep a run from cleaning up. The first such error
    stays in ``unwritten``. What a run owns decides what the next start removes: that is written, or nothing is made.
    """

    path: Path
    watch: Stopwatch = field(default_factory=Stopwatch)
    steps: list[StepResult] = field(default_factory=list)
    unwritten: OSError | None = None

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def note(self, what: str, **facts: object) -> None:
        """Append one line to the journal."""
        row = {"at": now_text(), "seconds": round(self.watch.seconds, 3), **SECRETS.scrub_all({"what": what, **facts})}
        try:
            with (self.path / "journal.jsonl").open("a", encoding="utf-8") as sink:
                sink.write(json.dumps(row, default=lambda value: SECRETS.scrub(str(value))) + "\n")
        except OSError as error:
            self.unwritten = self.unwritten or error

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step, also when it fails; it is in the journal before it begins."""
        watch = Stopwatch()
        self.note(f"begin {name}")
        try:
            yield
        finally:
            self.steps.append(StepResult(name=name, seconds=round(watch.seconds, 3)))
            self.note(f"end {name}", took=round(watch.seconds, 3))

    def own(self, owned: tuple[Owned, ...]) -> None:
        """Say on disk what this run owns now, before it is made. That it owns nothing needs no room.

        Raises:
            InfrastructureFault: it cannot be written; on a full disk DiskFull.
        """
        with os_errors("writing down what the run deploys", where=self.path):
            if owned:
                write_atomic(self.path / _OWNED, json.dumps([asdict(app) for app in owned]).encode())
            else:
                (self.path / _OWNED).unlink(missing_ok=True)

    def put_work_away(self, *, keep: bool, bound: int = KEPT_BYTES) -> tuple[str, str]:
        """Remove archives and work trees, or with ``keep`` leave them if they are at most ``bound`` bytes.

        Returns where they are kept, and a warning: why they went after all, or could not go. Either may be empty.
        Never raises.
        """
        folders = [folder for folder in (self.path / name for name in BULKY) if folder.is_dir()]
        if not folders:
            return "", ""
        size = sum(allocated(folder) for folder in folders)
        if keep and size <= bound:
            where = ", ".join(str(folder) for folder in folders)
            return f"{where} (archives and work trees, {_mib(size)}, until ccci prune)", ""
        try:
            for folder in folders:
                shutil.rmtree(folder)
        except OSError as error:
            what = f"archives and work trees of this run ({_mib(size)})"
            return "", f"{what} cannot be removed, ccci prune tries again: {error}"
        above = f"archives and work trees of this run are removed: {_mib(size)} are above {_mib(bound)}"
        return "", above if keep else ""


def load_owned(path: Path) -> tuple[Owned, ...]:
    """What the file at ``path`` says that a run owns; empty where there is none.

    Raises:
        StateDamaged: it cannot be used.
    """
    advice = "remove what that run left (docker stack ls), then this file"
    found: tuple[Owned, ...] = load_state(path, tuple[Owned, ...], advice=advice) or ()
    texts = (text for app in found for text in (app.run_id, app.recipe, app.stack, app.domain, app.lock, *app.volumes))
    if not all(text and "\0" not in text for text in texts):
        raise StateDamaged("it names nothing, or what no file is named like", where=str(path), advice=advice)
    return found


def open_diaries(state: StateDir) -> Iterator[tuple[Path, tuple[Owned, ...]]]:
    """Every run directory that still says it owns something, with what it owns."""
    for path in sorted(state.runs.glob(f"*/{_OWNED}")):
        with suppress(StateDamaged):  # told by `damaged_diaries`
            owned = load_owned(path)
            if owned:
                yield path.parent, owned


def damaged_diaries(state: StateDir) -> Iterator[tuple[Path, StateDamaged]]:
    """Every run directory whose record of what it owns cannot be read, with why."""
    for path in sorted(state.runs.glob(f"*/{_OWNED}")):
        try:
            load_owned(path)
        except StateDamaged as error:
            yield path.parent, error


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


@dataclass
class Trees:
    """Trees of one run below ``folder``, one per commit."""

    mirror: Mirror
    folder: Path
    _known: dict[str, RecipeTree] = field(default_factory=dict)

    def of(self, head: Head) -> RecipeTree:
        """The tree of ``head``.

        Raises:
            RecipeInvalid: it is no recipe.
        """
        key = f"{head.commit}{'-dirty' if head.dirty else ''}"
        if key not in self._known:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._known[key] = self.mirror.checkout(head, self.folder / key[:20])
        return self._known[key]
