"""Brings the live-warm apps up where they are not, and leaves them alone where they are.

Which release runs is reconcile's to change; here the last proved one (or, the first time, the newest) is deployed when
nothing healthy is there. An update that was cut off is finished or undone first: nobody uses half of one.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

from pytest_ccci import locks
from pytest_ccci.engine.convergence import wait_converged
from pytest_ccci.engine.objects import published_ports
from pytest_ccci.errors import InfrastructureFault, KeycloakUnavailable, RecipeFault, TraefikUnavailable
from pytest_ccci.locks import Held
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.store.fs import os_errors
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.alerts import Alert, AlertKind, raise_alert
from pytest_ccci.warm.health import InfraApp, inspect_infra, wait_healthy
from pytest_ccci.warm.infra_recipe import Good, head_of, last_good, open_infra, record_good, roll_out
from pytest_ccci.warm.update import Ending, Remedy, Stuck, Update, Way, in_progress, remedy, stuck, unstick
from pytest_ccci.warm.zone import Site, ensure_proxy

__all__ = ["app_lock", "bring_up", "ensure", "recover"]

_LOG = logging.getLogger(__name__)

_LOCK_WAIT = 1800.0
_SERVE = 30.0


def app_lock(site: Site, app: str, doing: str) -> AbstractContextManager[Held]:
    """The lock of a live-warm app, to be entered: whoever changes it holds it for the whole change."""
    lock = site.state.lock(app_domain(app, site.zone.name))
    return locks.hold(lock, wait=_LOCK_WAIT, owner={"doing": doing})


def ensure(site: Site, app: str, *, release: str = "") -> InfraApp:
    """Make sure that ``app`` serves; at once when it does. Two processes at once: one deploys, the other waits.

    ``release`` (its tag) is what is deployed if anything must be; default: what runs, else the last proved one, else
    the newest. An update in progress is waited for; one that was cut off is finished or undone.

    Raises:
        InfrastructureFault: it could not be brought up; whatever its recipe did, no tested recipe is to blame.
    """
    found = inspect_infra(site, app)
    if found and found.healthy and in_progress(site.state, app) is None and stuck(site.state, app) is None:
        return found
    with app_lock(site, app, f"bring {app} up"):
        return bring_up(site, app, release=release)


def bring_up(site: Site, app: str, *, release: str = "") -> InfraApp:
    """The same; the caller holds the app's lock."""
    recover(site, app)
    mark, found = stuck(site.state, app), inspect_infra(site, app)
    if mark and (mark.data or not (found and found.healthy)):
        raise _waits(app, mark)
    if found and not found.healthy:
        found = _let_recover(site, found)
    if found and found.healthy:
        with os_errors("noting that the app serves again", where=site.state.infra(app)):
            unstick(site.state, app)  # without data of its own it is as good as it looks
        return found
    good = last_good(site.state, app)
    running = found.version if found else ""
    wanted = Good(release or running or good.release)
    return _deploy(site, app, good if good.release == wanted.release else wanted)


def recover(site: Site, app: str) -> str:
    """Finish or undo an update that was cut off; what was done, empty when there was nothing. The lock is held.

    Raises:
        InfrastructureFault: it could not be undone: an alert says so, and nothing tries again by itself.
    """
    pending = in_progress(site.state, app)
    if pending is None:
        return ""
    update, mark = Update.parse(pending), stuck(site.state, app)
    way = Way(site, open_infra(site, app, refresh=False), update, steps=list(pending.steps))
    if mark is not None and mark.ident == update.ident:
        # Its rollback failed, and only the journal's end could not be written: a person has the word.
        with os_errors("closing the journal of an update", where=site.state.infra(app)):
            way.journal.done()
        return ""
    what = remedy(pending.steps, data=update.data)
    if what is Remedy.FINISH:
        with os_errors("finishing an update", where=site.state.infra(app)):
            way.finish()
        told = f"its update to {update.target.release} was cut off after it was proved: finished"
    elif what is Remedy.FORGET:
        with os_errors("forgetting an update", where=site.state.infra(app)):
            way.forget()
        told = f"its update to {update.target.release} was cut off before anything was touched: forgotten"
    elif way.back() is Ending.STUCK:
        alert = Alert(
            AlertKind.ROLLBACK_FAILED,
            app,
            attempted=update.target.release,
            last_good=update.prior.release,
            recovered=False,
            notes=way.problem,
            run_id=update.ident,
        )
        raise_alert(site.state, alert)
        raise _unavailable(app, f"the rollback of {app} to {update.prior.release} failed", seen=way.problem)
    else:
        told = f"its update to {update.target.release} was cut off: undone, {update.prior.release} serves"
    _LOG.info(f"{app}: {told}")
    return told


def _waits(app: str, mark: Stuck) -> InfrastructureFault:
    return _unavailable(
        app,
        f"{app} waits for a person: its rollback from {mark.target.release} to {mark.prior.release} failed",
        seen=mark.problem.partition("\n")[0],
        advice=f"ccci reconcile {app} --again tries it once more; when you have put it right by hand: --trust",
    )


def _unavailable(app: str, what: str, *, seen: str, advice: str = "") -> InfrastructureFault:
    kinds: dict[str, type[InfrastructureFault]] = {"keycloak": KeycloakUnavailable, "traefik": TraefikUnavailable}
    return kinds.get(app, InfrastructureFault)(what, seen=seen, advice=advice)


def _deploy(site: Site, app: str, wanted: Good) -> InfraApp:
    ensure_proxy(site)
    if app == "traefik":
        _refuse_taken_ports(site)
    recipe = open_infra(site, app)
    head = head_of(recipe, wanted) or recipe.mirror.resolve(wanted.release or "latest")
    try:
        roll_out(site, recipe, head)
        wait_healthy(site, app, deadline=Deadline(site.timeout))
    except RecipeFault as error:
        raise _unavailable(app, f"{app} could not be brought up at {head.version}", seen=str(error)) from error
    with os_errors("noting what was proved", where=site.state.infra(app)):
        record_good(site.state, app, Good(head.version, head.commit))
    found = inspect_infra(site, app)
    if found is None or not found.healthy:
        raise InfrastructureFault(f"{app} went away again", where=recipe.domain, seen=found.problem if found else "")
    return found


def _let_recover(site: Site, found: InfraApp) -> InfraApp | None:
    """After a restart of the machine or of a task it comes back by itself; a deploy would only disturb it."""
    _LOG.warning(f"{found.name} is there but not healthy: {found.problem}")
    if "certificate" in found.problem:
        return found  # only a deploy brings the zone's new one
    try:
        wait_converged(site.engine, found.stack, deadline=Deadline(site.timeout), doing=found.name)
        wait_healthy(site, found.name, deadline=Deadline(_SERVE))
    except (RecipeFault, InfrastructureFault) as error:
        _LOG.warning(f"{found.name} does not come back by itself: {error}")
    return inspect_infra(site, found.name)


def _refuse_taken_ports(site: Site) -> None:
    """Never a second Traefik on the same ports."""
    ours = stack_name(app_domain("traefik", site.zone.name))
    wanted = {site.zone.http_port, site.zone.https_port}
    for (port, _), service in published_ports(site.engine, but=ours).items():
        if port in wanted:
            raise TraefikUnavailable(
                f"service {service} has the ports {sorted(wanted)} on this Swarm already",
                advice="set ccci_external_proxy and ccci_zone to use it, or ccci_http_port and ccci_https_port",
            )
