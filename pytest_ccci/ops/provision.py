"""Makes the machine ready: packages, engine, images, Traefik and Keycloak; and stops the private engine."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci import process, web
from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine, find_cli
from pytest_ccci.engine.compose import stack_config
from pytest_ccci.engine.images import REQUIREMENTS
from pytest_ccci.errors import CcciError, EngineUnavailable, InfrastructureFault, ProgramFailed
from pytest_ccci.ops.inflight import nothing_in_flight
from pytest_ccci.ops.status import source_of
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.env import app_env
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.host import Machine, open_engine, open_machine, open_quietly
from pytest_ccci.settings import Settings, current_environment
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.health import InfraApp, inspect_infra
from pytest_ccci.warm.infra import ensure
from pytest_ccci.warm.zone import Site

__all__ = [
    "MachineFacts",
    "Need",
    "Step",
    "gather",
    "install",
    "missing",
    "provision",
    "recipe_images",
    "remove_engine",
    "stop_engine",
]

_LOG = logging.getLogger(__name__)

_ENGINE = {"dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "iptables": "iptables"}
_REGISTRY = "https://registry-1.docker.io/v2/"
_POLICY = Path("/usr/sbin/policy-rc.d")
_UNITS = ("docker.service", "docker.socket")
_APT = 1800.0


@dataclass(frozen=True)
class MachineFacts:
    """What decides about packages. ``engine`` names the one that answers; ``cli`` says why no Docker CLI will do."""

    root: bool
    apt: bool
    engine: str
    registry: bool
    programs: frozenset[str]
    cli: str = ""


@dataclass(frozen=True)
class Need:
    """A package that is missing, and what for."""

    package: str
    why: str


def gather(engine: str) -> MachineFacts:
    """The facts of this machine; ``engine`` names the engine that answers, if one does."""
    wanted = ("git", "java", *REQUIREMENTS, *_ENGINE)
    return MachineFacts(
        root=os.geteuid() == 0,
        apt=process.which("apt-get") is not None,
        engine=engine,
        registry=web.answers_from_here(_REGISTRY),
        programs=frozenset(name for name in wanted if process.which(name)),
        cli=_cli_problem(),
    )


def missing(facts: MachineFacts, *, requirements: Mapping[str, str] = REQUIREMENTS) -> tuple[Need, ...]:
    """The packages to install, none twice: with an engine and a registry there is little to miss."""
    needs = [] if "git" in facts.programs else [Need("git", "recipes are git repositories")]
    if not facts.engine:
        why = "no Docker engine answers: for a private one"
        needs += [Need(package, why) for program, package in _ENGINE.items() if program not in facts.programs]
    if facts.cli:
        needs.append(Need("docker-cli", f"'docker stack config' is needed ({facts.cli})"))
    if not facts.registry:
        why = "no image registry answers: images are built here"
        needs += [Need(package, why) for program, package in requirements.items() if program not in facts.programs]
        if "mvn" in requirements and "java" not in facts.programs:
            needs.append(Need("default-jre-headless", why))
    seen: dict[str, Need] = {}
    for need in needs:
        seen.setdefault(need.package, need)
    return tuple(seen.values())


def install(needs: tuple[Need, ...]) -> None:
    """Install the packages, and nothing they only recommend; no service is started by it.

    Raises:
        InfrastructureFault: apt failed; shows its own words.
    """
    if not needs:
        return
    _LOG.info("apt: reading package lists")
    _apt("update")
    packages = [need.package for need in needs]
    if "docker-cli" in packages and not _exists("docker-cli"):
        packages = [name for name in packages if name != "docker-cli"]  # older Debians have it in docker.io
    if packages:
        _LOG.info(f"apt: installing {', '.join(packages)}")
        with _services_stay_off(engine="docker.io" in packages):
            _apt("install", "--yes", "--no-install-recommends", *packages)


def _apt(*words: str) -> None:
    environment = {**current_environment(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    options = ("--quiet=2", "--option=DPkg::Lock::Timeout=300", "--option=Dpkg::Options::=--force-confold")
    try:
        process.run(["apt-get", *options, *words], timeout=_APT, env=environment)
    except ProgramFailed as error:
        raise InfrastructureFault(
            f"apt-get {words[0]} failed",
            seen=error.tail,
            advice="see whether apt's sources are within reach, or install the packages yourself and run this again",
        ) from error


def _exists(package: str) -> bool:
    done = process.run(["apt-cache", "policy", package], timeout=60, check=False)
    return "Candidate:" in done.stdout and "Candidate: (none)" not in done.stdout


@contextmanager
def _services_stay_off(*, engine: bool) -> Iterator[None]:
    """Let packages start no service: in a container without init that fails, and our private engine is our own.

    Debian's own way is a policy-rc.d that answers 101. One that is there already is left alone.
    """
    ours = not _POLICY.exists() and not _POLICY.is_symlink()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
        if engine and Path("/run/systemd/system").is_dir():
            # Else the next boot would bring up a second engine, on the default socket, that is no Swarm.
            process.run(["systemctl", "disable", *_UNITS], timeout=60, check=False)


def _cli_problem() -> str:
    try:
        find_cli()
    except EngineUnavailable as error:
        return error.seen
    return ""


@dataclass(frozen=True)
class Step:
    """One thing that is ready now. ``reused`` when nothing had to be done for it."""

    name: str
    text: str
    reused: bool
    seconds: float


def provision(settings: Settings, state: StateDir, spec: RecipeSpec | None, *, done: Callable[[Step], None]) -> Machine:
    """Make everything ready; ``done`` is told of each step as it ends.

    Raises:
        InfrastructureFault: something cannot be had.
    """
    source = source_of(settings, state) or f"private, in {state.engine}"
    _timed("engine", done, lambda: _engine(settings, state, source))
    folder = spec.folder / "images" if spec else None
    made: list[Machine] = []

    def traefik() -> tuple[str, bool]:
        served = _serves(open_quietly(settings, state), "traefik")
        made.append(open_machine(settings, state, images=folder))
        found = inspect_infra(made[0].site, "traefik")
        return _infra(found) if found else "there", served

    _timed("traefik", done, traefik)
    machine = made[0]
    with ThreadPoolExecutor(max_workers=2) as pool:
        work = [pool.submit(_timed, "keycloak", done, lambda: _keycloak(machine))]
        if spec:
            work.append(pool.submit(_timed, "images", done, lambda: _images(machine, spec)))
        for each in work:
            each.result()
    return machine


def _timed(name: str, done: Callable[[Step], None], act: Callable[[], tuple[str, bool]]) -> None:
    """Do one thing; ``act`` says what there is now, and whether it was there before."""
    watch = Stopwatch()
    text, reused = act()
    done(Step(name, text, reused=reused, seconds=watch.seconds))


def _engine(settings: Settings, state: StateDir, source: str) -> tuple[str, bool]:
    try:
        discovery.inspect_engine(settings, state)
        ran = True
    except EngineUnavailable:
        ran = False
    facts = open_engine(settings, state).facts
    return f"Docker {facts.version}, API {facts.api_version}, {source}", ran


def _serves(site: Site, app: str) -> bool:
    found = inspect_infra(site, app)
    return found is not None and found.healthy


def _infra(found: InfraApp) -> str:
    return "somebody else's" if found.external else f"{found.version} at https://{found.domain}"


def _keycloak(machine: Machine) -> tuple[str, bool]:
    served = _serves(machine.site, "keycloak")
    return _infra(ensure(machine.site, "keycloak")), served


def _images(machine: Machine, spec: RecipeSpec) -> tuple[str, bool]:
    refs = recipe_images(machine.engine, machine.state, spec, zone=machine.settings.zone)
    facts = machine.prepare(refs)
    built = sum(fact.origin == "built" for fact in facts)
    return f"{len(facts)} of {spec.name}, {built} of them built here", not any(fact.fresh for fact in facts)


def recipe_images(engine: Engine, state: StateDir, spec: RecipeSpec, *, zone: str) -> tuple[str, ...]:
    """The images of all releases and the tip of a recipe. A version that cannot be read is told and left out."""
    mirror = open_mirror(spec, cache=state.recipes)
    heads = {head.commit: head for head in (*(mirror.head_of(one) for one in mirror.releases()), mirror.tip)}
    refs: dict[str, None] = {}
    for head in heads.values():
        try:
            refs.update(dict.fromkeys(_images_of(engine, mirror, spec, head, zone)))
        except CcciError as error:
            _LOG.warning(f"images: those of {spec.name} {head.version} are left for its run: {error.what}")
    return tuple(refs)


def _images_of(engine: Engine, mirror: Mirror, spec: RecipeSpec, head: Head, zone: str) -> Iterator[str]:
    domain = canonical_domain(spec.name, zone)
    with tempfile.TemporaryDirectory(prefix="ccci-") as work:
        tree = mirror.checkout(head, Path(work) / "recipe")
        # The templates of [env] stay as they are written: no image name depends on a lease.
        values = spec.env.at(mirror.release_with(head))
        env = app_env(tree, domain=domain, stack=stack_name(domain), overrides=values, older=head != mirror.tip)
        facts = compose_facts(stack_config(engine, env.compose_files, env.values))
        yield from (service.image for service in facts.services.values())


def stop_engine(settings: Settings, state: StateDir) -> bool:
    """Stop the private engine; whether one ran. Its data stays: the next start finds everything again.

    Raises:
        LockBusy: a run is in flight.
    """
    with nothing_in_flight(state, settings, doing="stop the engine"):
        return discovery.stop(state.engine)


def remove_engine(settings: Settings, state: StateDir) -> bool:
    """Stop the private engine and remove its data and bridges; whether there was any. Canonicals stay.

    Raises:
        LockBusy: a run is in flight.
    """
    with nothing_in_flight(state, settings, doing="remove the engine"):
        there = state.engine.exists()
        discovery.remove(state.engine)
        return there
