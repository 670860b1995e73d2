"""Removes apps of red runs that were kept for a look."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from pytest_ccci.engine.objects import app_inventory
from pytest_ccci.errors import DeadlineExceeded, UsageError
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.run.context import reap_dead_runs
from pytest_ccci.run.host import open_machine
from pytest_ccci.run.kept_apps import KeptApp, kept_apps
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm import realms
from pytest_ccci.warm.keycloak import Keycloak

__all__ = ["Released", "release"]

_ANOTHERS = 15.0
"""Seconds for which a run with another state directory may hold an app's lock, to remove its realm."""


@dataclass(frozen=True)
class Released:
    """The apps that were kept; ``problems`` where something of one is still there, which the next run removes."""

    apps: tuple[KeptApp, ...]
    problems: tuple[str, ...] = ()


def release(settings: Settings, state: StateDir, recipe: str) -> Released:
    """Remove the apps of ``recipe`` that were kept, with their volumes and realms.

    From here on they are what a dead run left: what cannot be removed now, the next run removes.

    Raises:
        UsageError: none is kept; says which are.
        InfrastructureFault: there is no engine, or Keycloak does not answer.
    """
    everything = kept_apps(state)
    apps = tuple(app for app in everything if app.recipe == recipe)
    if not apps:
        others = ", ".join(sorted({app.recipe for app in everything})) or "nothing"
        raise UsageError(f"no app of {recipe} is kept", where=str(state.root), seen=f"kept: {others}")
    machine = open_machine(settings, state, images=None)
    keycloak = machine.keycloak() if any(app.realm for app in apps) else None
    for app in apps:
        state.kept(app.domain).unlink(missing_ok=True)
    problems = list(reap_dead_runs(machine).problems)
    if keycloak is not None:
        with suppress(DeadlineExceeded):  # then the next run removes it
            until(partial(_reaped, keycloak, state, apps), deadline=Deadline(_ANOTHERS), what="the realms to be gone")
    for app in apps:
        left = app_inventory(machine.engine, stack_name(app.domain)).things
        if left:
            names = ", ".join(sorted(str(thing) for thing in left))
            problems.append(f"{app.domain} is still there, while its run ends or since it will not go: {names}")
    return Released(apps, tuple(problems))


def _reaped(keycloak: Keycloak, state: StateDir, apps: tuple[KeptApp, ...]) -> bool:
    """Whether their realms are gone, and our records of them: somebody else with our Keycloak may be at it just now."""
    realms.reap(keycloak, state)
    return not {owner.domain for owner in realms.load_owners(state)} & {app.domain for app in apps}
