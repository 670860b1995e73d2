"""On which of several machines a run belongs: a pure decision over what each machine last told of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_ccci.errors import UsageError

__all__ = ["AWAY", "MachineState", "Placement", "load_machines", "place"]

AWAY = timedelta(minutes=10)
"""A machine that was not heard of for so long counts as away."""


@dataclass(frozen=True)
class MachineState:
    """What a machine told of itself at ``heard``: its slots, those that are taken or waited for, and what it keeps.

    ``keeps`` are the recipes whose canonical is there; ``low``: too little is free on one of its file systems.
    """

    name: str
    heard: datetime
    slots: int
    taken: int = 0
    free: int = 0
    keeps: frozenset[str] = frozenset()
    low: bool = False

    def is_away(self, now: datetime, limit: timedelta) -> bool:
        """Whether it was not heard of for longer than ``limit``."""
        return now - self.heard > limit


@dataclass(frozen=True)
class Placement:
    """Where a run goes, and why. Without a ``machine`` it waits; ``alert`` is for an operator.

    ``promotes``: a green one may become the known-good. Away from the canonical it must not: there would be two.
    """

    machine: str
    why: str
    alert: str = ""
    promotes: bool = True


def place(
    recipe: str, mode: str, machines: Iterable[MachineState], *, now: datetime, away: timedelta = AWAY
) -> Placement:
    """Where the canonical is; else where room is. With its machine away a cold run may go elsewhere, a quick one never.

    A run whose machine is full goes there all the same, and waits there in turn: elsewhere is no known-good.
    """
    known = sorted(machines, key=lambda one: one.name)
    here = [one for one in known if not one.is_away(now, away)]
    homes = [one for one in known if recipe in one.keeps]
    at_home = [one for one in homes if one in here]
    if at_home:
        best = _roomiest(at_home)
        return Placement(best.name, "its canonical is there")
    alert = ""
    if homes:
        names = ", ".join(one.name for one in homes)
        since = max(one.heard for one in homes).isoformat(timespec="minutes")
        alert = f"{names}, with the canonical of {recipe}, is away: last heard of at {since}"
        if mode == "quick":
            return Placement("", "a quick run starts from the known-good, and its machine is away", alert)
    fit = [one for one in here if not one.low]
    if not fit:
        what = "too little is free on every machine" if here else "no machine is there"
        return Placement("", what, alert or what)
    best = _roomiest(fit)
    why = "the machine of its canonical is away" if homes else "no machine keeps a canonical of it, and there is room"
    return Placement(best.name, why, alert, promotes=not homes)


def _roomiest(machines: Iterable[MachineState]) -> MachineState:
    return min(machines, key=lambda one: (one.low, -(one.slots - one.taken), -one.free, one.name))


def load_machines(folder: Path) -> tuple[MachineState, ...]:
    """What machines told: ``<machine>.json`` in ``folder``, each what ``ccci status --json`` printed there.

    When it was heard of is the time of its file.

    Raises:
        UsageError: there is none, or one cannot be used.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            heard = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            found.append(_state(path.stem, told, heard))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            advice = "it must be what `ccci status --json` of the same version prints"
            raise UsageError(
                "what a machine told cannot be used", where=str(path), seen=str(error), advice=advice
            ) from error
    if not found:
        raise UsageError(
            "no machine told of itself", where=str(folder), advice="write ccci status --json to <machine>.json"
        )
    return tuple(found)


def _state(name: str, told: Mapping[str, Any], heard: datetime) -> MachineState:
    in_slots = sum(str(run["lock"]).isdigit() for run in told["runs"])
    return MachineState(
        name=name,
        heard=heard,
        slots=int(told["slots"]),
        taken=in_slots + len(told["waiting"]),
        free=int(told["disk"]["free"]),
        keeps=frozenset(str(row["recipe"]) for row in told["canonicals"] if row["release"]),
        low=any(one["low"] for one in told["disk"]["file_systems"]),
    )
