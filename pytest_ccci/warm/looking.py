"""A live-warm app as it is now: what the engine says of it, and whether it answers over its route."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ccci.engine.convergence import judge
from pytest_ccci.engine.inspect import StackFacts, observe
from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.health import answers
from pytest_ccci.warm.warmsite import Site

__all__ = ["InfraApp", "is_external", "look", "wait_healthy"]


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


def is_external(site: Site, app: str) -> bool:
    """Whether somebody else looks after the app."""
    return app == "traefik" and site.certificates is None


def look(site: Site, app: str) -> InfraApp | None:
    """The app as it is now, re-read from the engine and asked over its route; ``None`` when it is not deployed."""
    domain = app_domain(app, site.zone.name)
    stack = stack_name(domain)
    if is_external(site, app):
        return InfraApp(app, domain, stack, version="", image="", external=True)
    facts = observe(site.engine, stack)
    service = facts.service("app")
    if service is None:
        return None
    version = service.labels.get(f"coop-cloud.{stack}.version", "")
    return InfraApp(app, domain, stack, version, service.image, problem=_problem(site, app, domain, facts))


def wait_healthy(site: Site, app: str, *, domain: str = "", deadline: Deadline) -> None:
    """Wait until ``app`` serves over its route.

    Raises:
        InfrastructureFault: it does not, up to the deadline; says what was seen last.
    """
    last: list[InfrastructureFault] = []

    def serves() -> bool:
        problem = answers(site, app, domain or app_domain(app, site.zone.name))
        last[:] = [problem] if problem else []
        return problem is None

    try:
        until(serves, deadline=deadline, what=f"{app} to serve", every=0.2)
    except DeadlineExceeded as error:
        raise (last[0] if last else error) from error


def _problem(site: Site, app: str, domain: str, facts: StackFacts) -> str:
    verdict = judge(facts)
    if not verdict.converged:
        return f"waiting for {', '.join(verdict.waiting)}"
    problem = answers(site, app, domain)
    return str(problem) if problem else ""
