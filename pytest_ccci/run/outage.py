"""Is the machine itself still there? Asked whenever a recipe is about to be blamed."""

from __future__ import annotations

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault
from pytest_ccci.recipe.names import app_domain
from pytest_ccci.run.machine import Machine
from pytest_ccci.warm.health import answers

__all__ = ["blamed", "outage"]


def outage(machine: Machine, *, keycloak: bool) -> InfrastructureFault | None:
    """What of the machine does not answer now: engine, Traefik, or (where a run has leased a realm) Keycloak."""
    try:
        with engine_errors("asking whether the engine is still there"):
            machine.engine.client.ping()
    except EngineUnavailable as error:
        return error
    site = machine.site
    ours = ["traefik"] if site.certificates else []  # somebody else's Traefik need not show its own API
    for app in (*ours, "keycloak") if keycloak else ours:
        own = machine.own_keycloak if app == "keycloak" else ""
        problem = answers(site, app, own or app_domain(app, site.zone.name))
        if problem is not None:
            return problem
    return None


def blamed(down: InfrastructureFault, seen: str) -> str:
    """The reason of a verdict: what is down, and what went wrong meanwhile."""
    rows = seen.splitlines() or ["nothing else"]
    return f"{down}\n  meanwhile: " + "\n  ".join(rows)
