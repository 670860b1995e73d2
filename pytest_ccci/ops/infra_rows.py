"""How the live-warm apps stand: what runs, what is held, what is under way, what waits for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import CcciError, Refused
from pytest_ccci.recipe.names import app_domain
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import Hold, read_hold
from pytest_ccci.warm.health import APPS, look
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.reconcile import last_outcome
from pytest_ccci.warm.update import in_progress, stuck
from pytest_ccci.warm.zone import open_site

__all__ = ["InfraRow", "infra_rows"]


@dataclass(frozen=True)
class InfraRow:
    """A live-warm app. ``state`` is ``healthy``, ``not deployed``, ``unknown`` or ``unhealthy``.

    ``updating`` names an update that was begun and not ended, ``stuck`` a rollback that waits for a person.
    """

    name: str
    domain: str
    state: str
    version: str = ""
    image: str = ""
    problem: str = ""
    last_good: str = ""
    hold: Hold | None = None
    held_for: float | None = None
    updating: str = ""
    stuck: str = ""
    outcome: Mapping[str, object] = field(default_factory=dict)


def infra_rows(settings: Settings, state: StateDir, engine: Engine | None) -> Iterator[InfraRow]:
    """Each live-warm app, in the order they are brought up."""
    for app in APPS:
        domain = app_domain(app, settings.zone)
        if engine is None:
            row = InfraRow(app, domain, "unknown", problem="no engine answers")
        elif not state.ca.is_dir() and not settings.external_proxy:
            row = InfraRow(app, domain, "not deployed")
        else:
            row = _look(settings, state, engine, app, domain)
        yield _with_records(state, row)


def _with_records(state: StateDir, row: InfraRow) -> InfraRow:
    """With what reconcile wrote down about the app."""
    hold, mark = read_hold(state, row.name), stuck(state, row.name)
    try:
        pending = in_progress(state, row.name)
        updating = f"{pending.facts.get('prior')} → {pending.facts.get('target')}" if pending else ""
    except CcciError as error:
        updating = str(error)
    return replace(
        row,
        last_good=last_good(state, row.name).release,
        hold=hold,
        held_for=hold.age(datetime.now(UTC)) if hold else None,
        updating=updating,
        stuck=mark.problem if mark else "",
        outcome=last_outcome(state, row.name),
    )


def _look(settings: Settings, state: StateDir, engine: Engine, app: str, domain: str) -> InfraRow:
    def refuse(images: object) -> tuple[object, ...]:
        raise Refused(f"nothing is prepared while looking ({images})")

    try:
        found = look(open_site(engine, settings, state, prepare_images=refuse), app)
    except CcciError as error:
        return InfraRow(app, domain, "unknown", problem=str(error))
    if found is None:
        return InfraRow(app, domain, "not deployed")
    state_of = "healthy" if found.healthy else "unhealthy"
    version = "somebody else's" if found.external else found.version
    return InfraRow(app, domain, state_of, version, found.image, found.problem)
