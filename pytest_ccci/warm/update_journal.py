"""What an update of a live-warm app is about to do, durable before it is done: whoever comes after a death reads on.

| last steps               | what the next one does                                            |
|--------------------------|-------------------------------------------------------------------|
| none, mark, fetch        | forget: nothing was touched                                       |
| park, snapshot           | the prior release anew, on its data, which nobody else has seen   |
| deploy, prove            | data back, the prior release anew (without data: only the latter) |
| undo                     | the same again                                                    |
| proved                   | finish: what runs is the last good                                |
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal, Operation
from pytest_ccci.warm.course import Tried
from pytest_ccci.warm.rollout import Good

__all__ = [
    "Remedy",
    "Step",
    "Stuck",
    "Update",
    "forget_tried",
    "in_progress",
    "journal_of",
    "mark_stuck",
    "mark_tried",
    "remedy",
    "stuck",
    "tried",
    "unstick",
]

_NAME = "update"


class Step(enum.StrEnum):
    """One step, journalled before it is begun."""

    MARK = "mark"
    FETCH = "fetch"
    PARK = "park"
    SNAPSHOT = "snapshot"
    DEPLOY = "deploy"
    PROVE = "prove"
    PROVED = "proved"
    UNDO = "undo"


class Remedy(enum.Enum):
    """What is to be done about an update that was cut off or went wrong."""

    FORGET = "nothing was touched"
    REDEPLOY = "the prior release anew"
    RESTORE = "data back, then the prior release anew"
    FINISH = "what runs is the last good"


@dataclass(frozen=True)
class Update:
    """The way of ``app`` from ``prior`` to ``target``. ``data``: it keeps data that must go back with it."""

    app: str
    ident: str
    prior: Good
    target: Good
    data: bool

    def facts(self) -> dict[str, str]:
        """As plain text fields."""
        return {
            "app": self.app,
            "ident": self.ident,
            "prior": self.prior.release,
            "prior_commit": self.prior.commit,
            "target": self.target.release,
            "target_commit": self.target.commit,
            "data": "yes" if self.data else "no",
        }

    @classmethod
    def parse(cls, pending: Operation) -> Update:
        """The update that a journal tells of.

        Raises:
            StoreDamaged: something of it is missing.
        """
        facts = pending.facts
        try:
            return cls(
                facts["app"],
                facts["ident"],
                Good(facts["prior"], facts["prior_commit"]),
                Good(facts["target"], facts["target_commit"]),
                data=facts["data"] == "yes",
            )
        except KeyError as error:
            raise StoreDamaged(f"the journal of an update lacks {error}", seen=str(dict(facts))) from error


@dataclass(frozen=True)
class Stuck:
    """A rollback that failed: a person must look. ``ident`` names the update."""

    app: str
    ident: str
    prior: Good
    target: Good
    data: bool
    time: str
    problem: str


def remedy(steps: Sequence[str], *, data: bool) -> Remedy:
    """What the steps that were begun make necessary."""
    if Step.PROVED in steps and Step.UNDO not in steps:
        return Remedy.FINISH
    if Step.DEPLOY in steps:
        return Remedy.RESTORE if data else Remedy.REDEPLOY
    return Remedy.REDEPLOY if Step.PARK in steps else Remedy.FORGET


def journal_of(state: StateDir, app: str) -> Journal:
    """The journal of the app's updates."""
    state.infra(app).mkdir(parents=True, exist_ok=True, mode=0o700)
    return Journal(state.infra(app) / "update.jsonl", fs=Fs())


def in_progress(state: StateDir, app: str) -> Operation | None:
    """The update that was begun and not ended, by a living process or a dead one.

    Raises:
        StoreDamaged: the journal cannot be read.
    """
    path = state.infra(app) / "update.jsonl"
    return Journal(path, fs=Fs()).pending() if path.exists() else None


def tried(state: StateDir, app: str) -> Tried | None:
    """The release that was rolled back last, unless something newer stayed since."""
    facts = _read(state, app, "tried.json")
    return Tried(**facts) if facts else None


def mark_tried(state: StateDir, app: str, target: Good, problem: str) -> None:
    """Remember a release that did not stay."""
    _write(state, app, "tried.json", asdict(Tried(target.release, target.commit, _now(), problem)))


def forget_tried(state: StateDir, app: str) -> None:
    """Something newer stayed."""
    (state.infra(app) / "tried.json").unlink(missing_ok=True)


def stuck(state: StateDir, app: str) -> Stuck | None:
    """The rollback that failed, if a person must look at the app."""
    facts = _read(state, app, "stuck.json")
    if not facts:
        return None
    return Stuck(**{**facts, "prior": Good(**facts["prior"]), "target": Good(**facts["target"])})


def mark_stuck(state: StateDir, update: Update, problem: str) -> None:
    """Say durably that a rollback failed: nothing touches the app by itself until it serves again."""
    _write(state, update.app, "stuck.json", {**asdict(update), "time": _now(), "problem": problem})


def unstick(state: StateDir, app: str) -> None:
    """It serves again, or is to be tried again."""
    (state.infra(app) / "stuck.json").unlink(missing_ok=True)


def _read(state: StateDir, app: str, name: str) -> dict[str, Any]:
    try:
        facts = json.loads((state.infra(app) / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(state: StateDir, app: str, name: str, facts: object) -> None:
    write_atomic(state.infra(app) / name, json.dumps(facts, indent=1).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
