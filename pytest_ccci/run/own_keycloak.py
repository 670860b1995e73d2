"""A cold Keycloak of a run's own, for when the warm one cannot be had: slower, labelled, gone when the run ends."""

from __future__ import annotations

from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.errors import InfrastructureFault, KeycloakUnavailable, RecipeFault
from pytest_ccci.recipe.names import cold_domain
from pytest_ccci.run.machine import Machine
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, write_alert
from pytest_ccci.warm.health import wait_healthy
from pytest_ccci.warm.infra_recipe import elsewhere, head_of, last_good, open_infra, roll_out
from pytest_ccci.warm.keycloak import Keycloak, open_keycloak

__all__ = ["alert_of", "bring_up_own", "own_domain", "remove_own"]

_APP = "keycloak"
_UNDEPLOY = 120.0


def own_domain(run_id: str, zone: str) -> str:
    """Where the run's own Keycloak is."""
    return cold_domain(_APP, run_id, zone)


def bring_up_own(machine: Machine, domain: str) -> Keycloak:
    """Deploy it, at the release that was the last good, and wait until it serves. The caller holds its lock.

    Raises:
        KeycloakUnavailable: this one cannot be brought up either.
    """
    site = machine.site
    try:
        recipe = open_infra(site, _APP)
        head = head_of(recipe, last_good(site.state, _APP)) or recipe.mirror.resolve("latest")
        roll_out(site, elsewhere(recipe, domain), head)
        wait_healthy(site, _APP, domain=domain, deadline=Deadline(site.timeout))
        return open_keycloak(site, domain=domain)
    except (RecipeFault, InfrastructureFault) as error:
        raise KeycloakUnavailable(
            "a Keycloak of the run's own does not come up", where=domain, seen=str(error)
        ) from error


def remove_own(machine: Machine, stack: str) -> None:
    """Remove it with all it has."""
    undeploy(machine.engine, stack, volumes=True, deadline=Deadline(_UNDEPLOY), tell=machine.tell)


def alert_of(machine: Machine, problem: InfrastructureFault, *, run_id: str) -> None:
    """See that an operator is told that the warm one is gone; one open alert about it is enough."""
    state = machine.state
    if any(alert.app == _APP and alert.recovered is False for _, alert in open_alerts(state)):
        return
    good = last_good(state, _APP).release
    alert = Alert(AlertKind.UNAVAILABLE, _APP, last_good=good, recovered=False, notes=str(problem), run_id=run_id)
    write_alert(state, alert)
