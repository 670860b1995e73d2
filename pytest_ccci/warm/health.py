"""Is a live-warm app what it should be? Asked over its own route, never of something that is deployed after it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pytest_ccci import web
from pytest_ccci.errors import InfrastructureFault, KeycloakUnavailable, TraefikUnavailable
from pytest_ccci.warm.warmsite import Site

__all__ = ["APPS", "answers", "keycloak_answers", "traefik_answers"]

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
