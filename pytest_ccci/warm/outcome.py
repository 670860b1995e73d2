"""What came of a reconcile of one app, and how bad the worst of several is."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pytest_ccci.statedir import StateDir, write_atomic

__all__ = ["Outcome", "Reconciled", "last_outcome", "record_outcome", "worst"]


class Outcome(enum.StrEnum):
    """What came of it; from good to bad."""

    CURRENT = "current"
    UPGRADED = "upgraded"
    HELD = "held"
    ROLLED_BACK = "rolled-back"
    ERROR = "error"
    ROLLBACK_FAILED = "rollback-failed"


@dataclass(frozen=True)
class Reconciled:
    """One app's outcome.

    ``before`` ran, ``target`` is the latest, ``now`` runs. ``problem`` says what went wrong, ``reasons`` why it was
    held or let pass, ``since`` when. ``silent`` is for how many seconds the app's route did not answer, ``shut`` for
    how many its ports were closed; both ``None`` where nothing was touched.
    """

    app: str
    outcome: Outcome
    before: str = ""
    target: str = ""
    now: str = ""
    reasons: tuple[str, ...] = ()
    problem: str = ""
    silent: float | None = None
    shut: float | None = None
    seconds: float = 0.0
    ident: str = ""
    since: str = ""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of ``outcomes``; of none: current."""
    order = list(Outcome)
    return max(outcomes, key=order.index, default=Outcome.CURRENT)


def record_outcome(state: StateDir, done: Reconciled) -> None:
    """Keep what came of it, for whoever looks later."""
    facts = {**asdict(done), "time": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomic(state.infra(done.app) / "outcome.json", json.dumps(facts, indent=1).encode())


def last_outcome(state: StateDir, app: str) -> dict[str, object]:
    """What came of the last reconcile of ``app``; empty when there was none."""
    try:
        facts = json.loads((state.infra(app) / "outcome.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
