"""On which of several machines a run belongs, and what starts it there.

Where is a pure decision over what each machine last told of itself. What starts it there are the Actions of a Forgejo
or Gitea. A request has the id of its run: handed over twice, or played again by a runner whose worker died, it is begun
once (``--ccci-run-id``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.decision import Mode

__all__ = [
    "AWAY",
    "ForgeActions",
    "JobState",
    "MachineState",
    "Placement",
    "Receipt",
    "Request",
    "load_machines",
    "place",
]

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


@dataclass(frozen=True)
class Request:
    """A run that is wanted; ``run_id`` is chosen by who wants it."""

    recipe: str
    mode: Mode
    ref: str
    run_id: str
    promotes: bool = False

    def settings(self) -> dict[str, str]:
        """What its pytest is told, as environment variables: no shell ever reads them."""
        return {
            "CCCI_MODE": self.mode,
            "CCCI_REF": self.ref,
            "CCCI_RUN_ID": self.run_id,
            "CCCI_PROMOTE": str(self.promotes).lower(),
        }


@dataclass(frozen=True)
class Receipt:
    """What was handed over: ``job`` is its name where it was handed to, ``link`` its page, empty where it has none."""

    run_id: str
    machine: str
    job: str
    link: str = ""


@dataclass(frozen=True)
class JobState:
    """How it stands. ``waits``: nobody plays it yet; ``lost``: the forge does not know it any more."""

    at: Literal["waits", "runs", "ended", "lost"]
    said: str = ""
    """How it ended: ``success`` is green, ``failure`` is not."""


@dataclass(frozen=True)
class ForgeActions:
    """Actions of a Forgejo or Gitea: one workflow in one repository, and a runner per machine with its name as label.

    Args:
        bot: may write to the repository.
        workflow: the name of the workflow's file; see ``docs/ci/dispatch.yml``.
    """

    bot: Bot
    repository: str
    workflow: str = "dispatch.yml"

    def submit(self, request: Request, machine: str) -> Receipt:
        """Start the workflow.

        Raises:
            InfrastructureFault: the forge did not take it.
        """
        told = {name.removeprefix("CCCI_").lower(): value for name, value in request.settings().items()}
        inputs = {"machine": machine, "recipe": request.recipe, **told}
        run = self.bot.start_workflow(self.repository, self.workflow, inputs)
        return Receipt(request.run_id, machine, str(run.workflow_run_id), run.html_url)

    def state(self, receipt: Receipt) -> JobState:
        """As the forge tells it. Of a runner that died it says for some minutes that it runs."""
        run = self.bot.workflow_run(self.repository, int(receipt.job))
        if run is None:
            return JobState("lost")
        if run.status == "completed":
            return JobState("ended", run.conclusion or "")
        return JobState("runs" if run.status == "in_progress" else "waits")
