"""Brings the live-warm apps up where they are not, and leaves them alone where they are.

Which release runs is reconcile's to change; here the last proved one (or, the first time, the newest) is deployed when
nothing healthy is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_ccci import locks
from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.convergence import judge
from pytest_ccci.engine.observe import STACK_LABEL, StackFacts, observe
from pytest_ccci.engine.watch import wait_converged
from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault, RecipeFault, TraefikUnavailable
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.health import answers
from pytest_ccci.warm.rollout import last_good, open_infra, record_good, roll_out
from pytest_ccci.warm.warmsite import Site, ensure_proxy

__all__ = ["InfraApp", "ensure", "look", "wait_healthy"]

_LOCK_WAIT = 900.0


@dataclass(frozen=True)
class InfraApp:
    """A live-warm app as it is now. ``version`` is its release's label; ``problem`` is empty when it serves."""

    name: str
    domain: str
    stack: str
    version: str
    image: str
    problem: str = ""
    external: bool = False

    @property
    def healthy(self) -> bool:
        """Whether it is up and serves."""
        return not self.problem


def look(site: Site, app: str) -> InfraApp | None:
    """The app as it is now, re-read from the engine and asked over its route; ``None`` when it is not deployed."""
    domain = app_domain(app, site.zone.name)
    stack = stack_name(domain)
    if app == "traefik" and site.certificates is None:
        return InfraApp(app, domain, stack, version="", image="", external=True)
    facts = observe(site.engine, stack)
    service = facts.service("app")
    if service is None:
        return None
    version = service.labels.get(f"coop-cloud.{stack}.version", "")
    return InfraApp(app, domain, stack, version, service.image, problem=_problem(site, app, domain, facts))


def ensure(site: Site, app: str, *, release: str = "") -> InfraApp:
    """Make sure that ``app`` serves; at once when it does. Two processes at once: one deploys, the other waits.

    ``release`` (its tag) is what is deployed if anything must be; default: what runs, else the last proved one, else
    the newest.

    Raises:
        InfrastructureFault: it could not be brought up; whatever its recipe did, no tested recipe is to blame.
    """
    found = look(site, app)
    if found and found.healthy:
        return found
    domain = app_domain(app, site.zone.name)
    with locks.hold(site.state.lock(domain), wait=_LOCK_WAIT, owner={"doing": f"bring {app} up"}, tell=site.tell):
        found = look(site, app)
        if found and not found.healthy:
            found = _let_recover(site, found)
        if found and found.healthy:
            return found
        return _bring_up(site, app, release or (found.version if found else "") or last_good(site.state, app))


def wait_healthy(site: Site, app: str, *, deadline: Deadline) -> None:
    """Wait until ``app`` serves over its route.

    Raises:
        InfrastructureFault: it does not, up to the deadline; says what was seen last.
    """
    domain = app_domain(app, site.zone.name)
    last: list[InfrastructureFault] = []

    def serves() -> bool:
        problem = answers(site, app, domain)
        last[:] = [problem] if problem else []
        return problem is None

    try:
        until(serves, deadline=deadline, what=f"{app} to serve", every=0.2)
    except DeadlineExceeded as error:
        raise (last[0] if last else error) from error


def _bring_up(site: Site, app: str, ref: str) -> InfraApp:
    ensure_proxy(site)
    if app == "traefik":
        _refuse_taken_ports(site)
    recipe = open_infra(site, app)
    head = recipe.mirror.resolve(ref or "latest")
    try:
        roll_out(site, recipe, head)
        wait_healthy(site, app, deadline=Deadline(site.timeout))
    except RecipeFault as error:
        raise InfrastructureFault(
            f"{app} could not be brought up at {head.version}", where=recipe.domain, seen=str(error)
        ) from error
    record_good(site.state, app, head)
    found = look(site, app)
    if found is None or not found.healthy:
        raise InfrastructureFault(f"{app} went away again", where=recipe.domain, seen=found.problem if found else "")
    return found


def _let_recover(site: Site, found: InfraApp) -> InfraApp | None:
    """After a restart of the machine or of a task it comes back by itself; a deploy would only disturb it."""
    site.tell(f"{found.name} is there but not healthy: {found.problem}")
    if "certificate" in found.problem:
        return found  # only a deploy brings the zone's new one
    try:
        wait_converged(site.engine, found.stack, deadline=Deadline(site.timeout), tell=site.tell, doing=found.name)
        wait_healthy(site, found.name, deadline=Deadline(30))
    except (RecipeFault, InfrastructureFault) as error:
        site.tell(f"{found.name} does not come back by itself: {error}")
    return look(site, found.name)


def _problem(site: Site, app: str, domain: str, facts: StackFacts) -> str:
    verdict = judge(facts)
    if not verdict.converged:
        return f"waiting for {', '.join(verdict.waiting)}"
    problem = answers(site, app, domain)
    return str(problem) if problem else ""


def _refuse_taken_ports(site: Site) -> None:
    """Never a second Traefik on the same ports."""
    ours = stack_name(app_domain("traefik", site.zone.name))
    wanted = {site.zone.http_port, site.zone.https_port}
    with engine_errors("listing services"):
        services = site.engine.client.api.services()
    for service in services:
        spec = service["Spec"]
        if spec.get("Labels", {}).get(STACK_LABEL) != ours and wanted & set(_published(service)):
            raise TraefikUnavailable(
                f"service {spec['Name']} has the ports {sorted(wanted)} on this Swarm already",
                advice="set ccci_external_proxy and ccci_zone to use it, or ccci_http_port and ccci_https_port",
            )


def _published(service: dict[str, object]) -> Iterable[int]:
    endpoint = service.get("Endpoint")
    ports = endpoint.get("Ports") if isinstance(endpoint, dict) else None
    return [int(port["PublishedPort"]) for port in ports or [] if "PublishedPort" in port]
