"""Is a live-warm app what it should be? Asked of the engine and over its own route; the health gate asks all of it."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pytest_ccci import web
from pytest_ccci.engine.containers import dismiss, send_out
from pytest_ccci.engine.convergence import judge
from pytest_ccci.engine.inspect import StackFacts, inspect_stack
from pytest_ccci.engine.vip_probe import PROBE_IMAGE
from pytest_ccci.errors import DeadlineExceeded, InfrastructureFault, KeycloakUnavailable, TraefikUnavailable
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.recipe.releases import version_numbers
from pytest_ccci.recipe.tree import Head
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm import realms
from pytest_ccci.warm.infra_recipe import InfraRecipe
from pytest_ccci.warm.keycloak import open_keycloak
from pytest_ccci.warm.zone import PROXY, Site

__all__ = [
    "APPS",
    "InfraApp",
    "answers",
    "inspect_infra",
    "is_external",
    "keycloak_answers",
    "prove",
    "require_new_route",
    "traefik_answers",
    "wait_healthy",
]

_TIMEOUT = 5.0
_OK = 200


def traefik_answers(site: Site, domain: str) -> str:
    """The version that Traefik's own API tells over its route, with the zone's certificate served before it.

    Raises:
        TraefikUnavailable: it does not answer, or serves another certificate than the zone's.
    """
    url = f"{site.zone.url(domain)}/api/version"
    try:
        with web.session(site.zone.route, timeout=_TIMEOUT) as client:
            answer = client.get(url)
        served = web.certificate(domain, route=site.zone.route, port=site.zone.https_port, timeout=_TIMEOUT)
    except (requests.RequestException, OSError) as error:
        raise TraefikUnavailable("Traefik does not answer", where=url, seen=str(error)[:300]) from error
    if answer.status_code != _OK:
        raise TraefikUnavailable("Traefik's API does not answer", where=url, seen=_status(answer))
    if site.certificates and _digest(served) != _digest(_der(site.certificates.certificate_file)):
        raise TraefikUnavailable("Traefik serves another certificate than the zone's", where=domain)
    return str(answer.json()["Version"])


def keycloak_answers(site: Site, domain: str) -> str:
    """Keycloak's discovery document, read over its real route, names the right issuer. Returns that issuer.

    Raises:
        KeycloakUnavailable: it does not answer, or names another issuer.
    """
    wanted = f"{site.zone.url(domain)}/realms/master"
    url = f"{wanted}/.well-known/openid-configuration"
    try:
        with web.session(site.zone.route, timeout=_TIMEOUT) as client:
            answer = client.get(url)
    except (requests.RequestException, OSError) as error:
        raise KeycloakUnavailable("Keycloak does not answer", where=url, seen=str(error)[:300]) from error
    if answer.status_code != _OK:
        raise KeycloakUnavailable("Keycloak does not answer", where=url, seen=_status(answer))
    issuer = str(answer.json().get("issuer", ""))
    if issuer != wanted:
        raise KeycloakUnavailable("Keycloak names another issuer", where=url, seen=f"{issuer}, not {wanted}")
    return issuer


APPS = {"traefik": traefik_answers, "keycloak": keycloak_answers}
"""The live-warm apps, in the order they are brought up, and how each shows that it serves."""


def answers(site: Site, app: str, domain: str) -> InfrastructureFault | None:
    """``None`` when ``app`` serves at ``domain``, else what is wrong."""
    try:
        APPS[app](site, domain)
    except InfrastructureFault as error:
        return error
    return None


def _status(answer: requests.Response) -> str:
    return f"{answer.status_code} {answer.text[:200]}"


def _der(file: Path) -> bytes:
    return x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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


def inspect_infra(site: Site, app: str) -> InfraApp | None:
    """The app as it is now, re-read from the engine and asked over its route; ``None`` when it is not deployed."""
    domain = app_domain(app, site.zone.name)
    stack = stack_name(domain)
    if is_external(site, app):
        return InfraApp(app, domain, stack, version="", image="", external=True)
    facts = inspect_stack(site.engine, stack)
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


_LABEL = "org.pytest-ccci.routecheck"
_ROUTE_PATIENCE = 60.0
_ANSWER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, ReuseAddr => 1) or die $!;"
    "while (my $c = $s->accept) { while (defined(my $l = <$c>)) { last if $l =~ /^\\r?\\n$/ }"
    " print $c qq(HTTP/1.1 200 OK\\r\\nContent-Length: 16\\r\\nConnection: close\\r\\n\\r\\n$ENV{NONCE}); close $c }"
)


def require_new_route(site: Site) -> None:
    """Start a service with a route, see that Traefik answers for it, and remove it.

    Raises:
        TraefikUnavailable: its route does not answer in time.
    """
    site.prepare([PROBE_IMAGE])
    mine = f"{_LABEL}={site.zone.name}"
    dismiss(site.engine, mine)  # also that of a check that was killed
    nonce = secrets.token_hex(8)
    name = f"ccci-route-{nonce[:6]}"
    domain = site.zone.domain(name)
    labels = {
        "traefik.enable": "true",
        "traefik.swarm.network": PROXY,
        f"traefik.http.routers.{name}.rule": f"Host(`{domain}`)",
        f"traefik.http.routers.{name}.entrypoints": "web-secure",
        f"traefik.http.routers.{name}.tls": "true",
        f"traefik.http.services.{name}.loadbalancer.server.port": "8080",
        _LABEL: site.zone.name,
    }
    try:
        send_out(
            site.engine,
            name,
            image=PROBE_IMAGE,
            command=["perl", "-e", _ANSWER],
            env=[f"NONCE={nonce}"],
            network=PROXY,
            labels=labels,
        )
        _wait_answer(site, domain, nonce)
    finally:
        dismiss(site.engine, mine)


def _wait_answer(site: Site, domain: str, nonce: str) -> None:
    seen: list[str] = []

    def answers() -> bool:
        try:
            with web.session(site.zone.route, timeout=5) as client:
                answer = client.get(site.zone.url(domain))
        except requests.RequestException as error:
            seen[:] = [str(error)[:200]]
            return False
        seen[:] = [f"{answer.status_code} {answer.text[:100]}"]
        return answer.text == nonce

    try:
        until(answers, deadline=Deadline(_ROUTE_PATIENCE), what="a new route to answer", every=0.2)
    except DeadlineExceeded as error:
        raise TraefikUnavailable("a new route does not appear", where=domain, seen="".join(seen)) from error


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
    found = inspect_infra(site, recipe.name)
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
