"""The host a run stands on: engine, zone, Traefik, Keycloak (warm, or one of the run's own), and whether it is down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_ccci import web
from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.compose import OverlaySettings
from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.engine.images import ImageFact, prepare
from pytest_ccci.engine.standin_definitions import load_definitions
from pytest_ccci.engine.vip_probe import vip_works
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, KeycloakUnavailable, RecipeFault, StateDamaged
from pytest_ccci.recipe.names import app_domain, cold_domain
from pytest_ccci.run.image_notes import note_used, noted_digests
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, raise_alert
from pytest_ccci.warm.health import answers, wait_healthy
from pytest_ccci.warm.infra import ensure
from pytest_ccci.warm.infra_recipe import elsewhere, head_of, last_good, open_infra, roll_out
from pytest_ccci.warm.keycloak import Keycloak, open_keycloak
from pytest_ccci.warm.zone import Site, ensure_bundle, ensure_proxy, open_site

__all__ = [
    "IMAGES",
    "Machine",
    "alert_of",
    "blamed",
    "bring_up_own",
    "open_engine",
    "open_machine",
    "open_quietly",
    "outage",
    "own_domain",
    "remove_own",
    "with_own_keycloak",
]

IMAGES = Path(__file__).resolve().parent.parent / "images"
"""The local image builds that come with us."""


@dataclass(frozen=True)
class Machine:
    """One engine with its zone and what keeps running on it.

    ``hosts`` are names that services must be told, ``bundle`` the Swarm config of what they trust; both are empty where
    the zone has real DNS and certificates everybody trusts. ``own_keycloak`` is the domain of a cold Keycloak that
    stands in for the warm one.
    """

    settings: Settings
    state: StateDir
    engine: Engine
    site: Site
    bundle: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    image_folders: tuple[Path, ...] = (IMAGES,)
    used: dict[str, ImageFact] = field(default_factory=dict)
    own_keycloak: str = ""

    def prepare(self, refs: Iterable[str], *, before: Mapping[str, str] = MappingProxyType({})) -> tuple[Any, ...]:
        """Have images on the engine, and remember what was used.

        ``before`` has the ids of what was there under these references: the same is pulled, if its digest is noted.
        """
        digests = noted_digests(self.state, before)
        facts = _prepare(self.engine, self.state, self.image_folders, refs, digests)
        self.used.update({fact.ref: fact for fact in facts})
        return facts

    def overlay(self, labels: Mapping[str, str], app_env: Mapping[str, str], *, domain: str) -> OverlaySettings:
        """The overlay for an app at ``domain``."""
        hosts = {**self.hosts, domain: self.engine.facts.gateway} if self.hosts else {}
        return OverlaySettings(
            hosts=hosts,
            ca_config=self.bundle,
            fast_health=self.settings.fast_health,
            start_interval=self.engine.facts.start_interval,
            vip=self.engine.facts.vip,
            labels=labels,
            app_env=app_env,
        )

    def keycloak(self) -> Keycloak:
        """The warm Keycloak, brought up if it is not there.

        Raises:
            InfrastructureFault: it cannot be.
        """
        ensure(self.site, "keycloak")
        return open_keycloak(self.site)


def with_own_keycloak(machine: Machine, domain: str) -> Machine:
    """The machine with a Keycloak at ``domain`` in the place of the warm one, also for what runs in containers."""
    hosts = {**machine.hosts, domain: machine.engine.facts.gateway} if machine.hosts else {}
    return replace(machine, hosts=hosts, own_keycloak=domain)


def open_machine(settings: Settings, state: StateDir, *, images: Path | None) -> Machine:
    """Find or start the engine, find out what its network can do, and have Traefik serving.

    ``images`` is a recipe folder's own folder of image definitions, if it has one.

    Raises:
        InfrastructureFault: one of them cannot be had.
    """
    folders = (IMAGES, images) if images and images.is_dir() else (IMAGES,)
    site = open_quietly(settings, state, folders=folders)
    engine = site.engine
    ensure_proxy(site)
    ensure(site, "traefik")
    keycloak = app_domain("keycloak", settings.zone)
    hosts = {} if web.resolves(keycloak) else {keycloak: engine.facts.gateway}
    return Machine(settings, state, engine, site, ensure_bundle(site), hosts, folders)


def open_quietly(settings: Settings, state: StateDir, *, folders: tuple[Path, ...] = (IMAGES,)) -> Site:
    """Find or start the engine and say where infra lives on it; none of that is brought up.

    Raises:
        InfrastructureFault: there is no engine.
    """
    engine = open_engine(settings, state)
    return open_site(
        engine,
        settings,
        state,
        prepare_images=lambda refs: _prepare(engine, state, folders, refs),
    )


def open_engine(settings: Settings, state: StateDir) -> Engine:
    """The engine, with what was found out about its network."""
    engine = find_engine(settings, state)
    vip = vip_works(
        engine,
        state.engines,
        prepare=lambda ref: _prepare(engine, state, (IMAGES,), [ref]),
    )
    return replace(engine, facts=replace(engine.facts, vip=vip))


def _prepare(
    engine: Engine,
    state: StateDir,
    folders: tuple[Path, ...],
    refs: Iterable[str],
    digests: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ImageFact, ...]:
    definitions = load_definitions(*folders)
    facts = prepare(engine.client, refs, definitions=definitions, cache=state.images, digests=digests)
    note_used(state, engine.facts.engine_id, facts)
    return facts


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
    undeploy(machine.engine, stack, volumes=True, deadline=Deadline(_UNDEPLOY))


def alert_of(machine: Machine, problem: InfrastructureFault, *, run_id: str) -> None:
    """See that an operator is told that the warm one is gone; one open alert about it is enough."""
    state = machine.state
    if any(alert.app == _APP and alert.recovered is False for _, alert in open_alerts(state)):
        return
    try:
        good = last_good(state, _APP).release
    except StateDamaged:  # shown by ``ccci status``; the alert is about something else
        good = ""
    alert = Alert(AlertKind.UNAVAILABLE, _APP, last_good=good, recovered=False, notes=str(problem), run_id=run_id)
    raise_alert(state, alert)


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
    return f"{down.reason()}\n  meanwhile: " + "\n  ".join(rows)
