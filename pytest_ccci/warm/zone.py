"""The zone (names, certificates, Traefik) and the place where the live-warm apps are deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.objects import ensure_config, ensure_network
from pytest_ccci.errors import Refused, TraefikUnavailable
from pytest_ccci.settings import Settings, abra_dir
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.certificates import Certificates, bundle_with, load_certificates, prepare
from pytest_ccci.web import Route

__all__ = ["BUNDLED", "PROXY", "Prepare", "Site", "Zone", "ensure_bundle", "ensure_proxy", "inspect_site", "open_site"]

_HTTPS = 443


@dataclass(frozen=True)
class Zone:
    """Names at or under ``name`` are served at ``address``; ``ca_file`` signs them.

    ``bundle_file`` is what a container trusts: the public CAs and the zone's own. Both are ``None`` where the zone's
    certificates come from a CA that everybody trusts already.
    """

    name: str = "ci.test"
    address: str = "127.0.0.1"
    http_port: int = 80
    https_port: int = _HTTPS
    ca_file: Path | None = None
    bundle_file: Path | None = None

    def domain(self, label: str) -> str:
        """The domain of ``label`` in this zone."""
        return f"{label}.{self.name}"

    def url(self, domain: str) -> str:
        """The address a browser uses for ``domain``, without a slash at the end."""
        return f"https://{domain}" if self.https_port == _HTTPS else f"https://{domain}:{self.https_port}"

    @property
    def route(self) -> Route:
        """How our own HTTP clients reach the zone."""
        return Route(zone=self.name, address=self.address, ca_file=self.ca_file)


PROXY = "proxy"
"""The overlay network between Traefik and what it serves: Co-op Cloud's own name for it."""
BUNDLED = Path(__file__).resolve().parent.parent / "infra"
"""The recipes of Traefik and Keycloak that come with us."""
_SUBNET = "10.111.0.0/16"
_LABEL = {"org.pytest-ccci.infra": "true"}

Prepare = Callable[[Iterable[str]], tuple[Any, ...]]
"""Makes images ready by their names; what it returns is recorded as it is."""


@dataclass(frozen=True)
class Site:
    """One engine with its zone. ``certificates`` is ``None`` where a Traefik of somebody else serves the zone.

    ``recipes`` holds the infra recipes, a folder each; ``abra`` is abra's own directory, where there is one.
    """

    engine: Engine
    state: StateDir
    zone: Zone
    certificates: Certificates | None
    prepare: Prepare
    realms: int = 64
    timeout: float = 300.0
    recipes: Path = BUNDLED
    abra: Path | None = None


def open_site(engine: Engine, settings: Settings, state: StateDir, *, prepare_images: Prepare) -> Site:
    """The site that the settings describe; the zone's certificates are made if they are not there yet."""
    made = None if settings.external_proxy else prepare(state, settings.zone)
    zone = Zone(
        name=settings.zone,
        address=settings.zone_address,
        http_port=settings.http_port,
        https_port=settings.https_port,
        ca_file=made.ca_file if made else settings.zone_ca,
        bundle_file=made.bundle_file if made else _external_bundle(settings.zone_ca, state),
    )
    return Site(
        engine,
        state,
        zone,
        made,
        prepare_images,
        realms=settings.realms,
        timeout=settings.timeout,
        recipes=settings.infra_recipes or BUNDLED,
        abra=abra_dir(settings.environment),
    )


def inspect_site(engine: Engine, settings: Settings, state: StateDir) -> Site | None:
    """The site to look at, with the certificates there are; ``None`` where it was never made. Makes nothing."""
    made = None if settings.external_proxy else load_certificates(state, settings.zone)
    if made is None and not settings.external_proxy:
        return None

    def refuse(images: object) -> tuple[object, ...]:
        raise Refused(f"nothing is prepared while looking ({images})")

    zone = Zone(
        name=settings.zone,
        address=settings.zone_address,
        http_port=settings.http_port,
        https_port=settings.https_port,
        ca_file=made.ca_file if made else settings.zone_ca,
        bundle_file=made.bundle_file if made else None,
    )
    return Site(engine, state, zone, made, refuse, recipes=settings.infra_recipes or BUNDLED)


def ensure_proxy(site: Site) -> None:
    """Make sure the network ``proxy`` exists. Somebody else's, on a Swarm that has one, is used as it is.

    Raises:
        TraefikUnavailable: a Traefik of somebody else is to be used, but there is no such network.
    """
    if site.certificates is None and not _has_network(site.engine, PROXY):
        raise TraefikUnavailable(
            f"there is no network {PROXY!r} on this Swarm, although a Traefik that is already there should be used",
            advice="deploy one as Co-op Cloud does, or turn ccci_external_proxy off",
        )
    ensure_network(site.engine, PROXY, subnet=_SUBNET, labels=_LABEL)


def ensure_bundle(site: Site) -> str:
    """The Swarm config that carries the CAs a container trusts, named by its content; empty where none is needed."""
    if site.zone.bundle_file is None:
        return ""
    name = f"ccci-ca-{_digest(site.zone.bundle_file)}"
    ensure_config(site.engine, name, site.zone.bundle_file.read_bytes(), labels=_LABEL)
    return name


def _external_bundle(ca: Path | None, state: StateDir) -> Path | None:
    return bundle_with(ca.read_bytes(), state.ca / "external-bundle.pem") if ca else None


def _has_network(engine: Engine, name: str) -> bool:
    with engine_errors(f"looking for network {name}"):
        return any(network["Name"] == name for network in engine.client.api.networks(names=[name]))


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
