"""Holds: updates that the gate refused, each with since when, listed with its age, alerted by policy, not per run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.warm.alerts import AlertKind

__all__ = ["Hold", "all_holds", "keep_hold", "lift_hold", "read_hold", "renewed"]


@dataclass(frozen=True)
class Hold:
    """``app`` stays at ``current`` although ``release`` is there. ``since`` it is held; ``alerted`` last."""

    app: str
    current: str
    release: str
    kind: AlertKind
    reasons: tuple[str, ...]
    since: str
    alerted: str = ""

    def age(self, now: datetime) -> float:
        """For how many seconds the app is held."""
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def renewed(
    previous: Hold | None,
    *,
    app: str,
    current: str,
    release: str,
    kind: AlertKind,
    reasons: Sequence[str],
    now: datetime,
    again: float,
) -> tuple[Hold, bool]:
    """The hold as it stands now, and whether an operator is to be alerted (anew).

    A newer release that is held too is news, and the app's time goes on; the same one is news after ``again`` seconds.
    """
    moment = now.isoformat(timespec="seconds")
    hold = Hold(app, current, release, kind, tuple(reasons), since=previous.since if previous else moment)
    if previous is None or (previous.release, previous.kind) != (release, kind) or not previous.alerted:
        return replace(hold, alerted=moment), True
    due = (now - datetime.fromisoformat(previous.alerted)).total_seconds() >= again
    return replace(hold, alerted=moment if due else previous.alerted), due


def read_hold(state: StateDir, app: str) -> Hold | None:
    """The hold of ``app``, if it is held. What cannot be read counts as none: the gate will say it again."""
    return _read_hold(_file(state, app))


def keep_hold(state: StateDir, hold: Hold) -> None:
    """Record the hold."""
    write_atomic(_file(state, hold.app), json.dumps(asdict(hold), indent=1).encode())


def lift_hold(state: StateDir, app: str) -> None:
    """The app is held no longer."""
    _file(state, app).unlink(missing_ok=True)


def all_holds(state: StateDir) -> tuple[Hold, ...]:
    """All holds, by app."""
    found = (_read_hold(path) for path in sorted(state.holds.glob("*.json")))
    return tuple(hold for hold in found if hold is not None)


def _file(state: StateDir, app: str) -> Path:
    return state.holds / f"{app}.json"


def _read_hold(path: Path) -> Hold | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        hold = Hold(**{**facts, "kind": AlertKind(facts["kind"]), "reasons": tuple(facts["reasons"])})
        datetime.fromisoformat(hold.since)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return hold
