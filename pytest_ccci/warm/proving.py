"""The health gate: all that must be so before a release of a live-warm app is the last good."""

from __future__ import annotations

from pytest_ccci.errors import InfrastructureFault
from pytest_ccci.recipe.releases import version_numbers
from pytest_ccci.recipe.tree import Head
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm import realms
from pytest_ccci.warm.admin import open_keycloak
from pytest_ccci.warm.health import traefik_answers
from pytest_ccci.warm.looking import look, wait_healthy
from pytest_ccci.warm.rollout import InfraRecipe
from pytest_ccci.warm.routecheck import require_new_route
from pytest_ccci.warm.warmsite import Site

__all__ = ["prove"]

_SERVE = 60.0
_PATIENCE = 30.0
_LEASE_WAIT = 60.0


def prove(site: Site, recipe: InfraRecipe, head: Head, *, ident: str) -> None:
    """Prove that ``head`` runs and does all that others need of it.

    Traefik: its own API over TLS with the zone's certificate, and a route that appears and answers. Keycloak: ready,
    discovery with the right issuer over the real route, an administrator's token, a realm lease taken and given back.
    Both: the version that the program itself tells, and the release's label on what runs.

    Raises:
        CcciError: one of these is not so; says which.
    """
    wait_healthy(site, recipe.name, deadline=Deadline(_SERVE))
    told = _traefik(site, recipe) if recipe.name == "traefik" else _keycloak(site, ident)
    wanted = version_numbers(head.release.app_half) if head.release else ()
    seen = version_numbers(told)
    if wanted and seen[: len(wanted)] != wanted:
        raise InfrastructureFault(f"{recipe.name} says it is {told}", where=recipe.domain, seen=f"not {head.version}")
    found = look(site, recipe.name)
    if found is None or not found.healthy:
        raise InfrastructureFault(f"{recipe.name} went away again", where=recipe.domain, seen=str(found))
    if found.version != head.version:
        raise InfrastructureFault(
            f"{recipe.name} is labelled {found.version}, not {head.version}",
            where=recipe.domain,
            advice="the release's compose.yml must carry its own version label",
        )


def _traefik(site: Site, recipe: InfraRecipe) -> str:
    told = traefik_answers(site, recipe.domain)
    require_new_route(site)
    return told


def _keycloak(site: Site, ident: str) -> str:
    keycloak = open_keycloak(site, patience=_PATIENCE)
    told = keycloak.check()
    with realms.leased(
        keycloak,
        site.state,
        recipe="ccci-health",
        run_id=ident,
        domain=site.zone.domain("ccci-health"),
        zone=site.zone.name,
        doing="check realm leases",
        wait=_LEASE_WAIT,
        bound=site.realms,
    ) as lease:
        pass
    if keycloak.realm(lease.realm) is not None:
        raise InfrastructureFault(f"realm {lease.realm} is still there after it was given back", where=keycloak.url)
    return told
