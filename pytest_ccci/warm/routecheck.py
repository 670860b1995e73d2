"""Does a new route appear and answer? Shown with a service of our own that lives for as long as the check does."""

from __future__ import annotations

import secrets

import requests

from pytest_ccci import web
from pytest_ccci.engine.containers import dismiss, send_out
from pytest_ccci.engine.vip_probe import PROBE_IMAGE
from pytest_ccci.errors import DeadlineExceeded, TraefikUnavailable
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.warmsite import PROXY, Site

__all__ = ["require_new_route"]

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
