"""A live-warm app's recipe as it is deployed: its release, its secrets, its kept data."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docker.errors import NotFound

from pytest_ccci import process
from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.compose import OverlaySettings
from pytest_ccci.engine.containers import exec_in
from pytest_ccci.engine.deploy import AppPlan, Deployed, deploy_app, read_plan, undeploy, volume_name
from pytest_ccci.engine.inspect import stack_filter
from pytest_ccci.engine.objects import remove_volumes
from pytest_ccci.errors import CcciError, InfrastructureFault
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.env import app_env, render_all, write_abra_env
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.recipe.releases import parse
from pytest_ccci.recipe.repository import Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.recipe.tree import Head, Note, notes_between
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.zone import Site

__all__ = [
    "Good",
    "InfraRecipe",
    "adopt",
    "data_of",
    "elsewhere",
    "fetch_images",
    "head_of",
    "keep_secrets",
    "keeps_data",
    "known_secrets",
    "last_good",
    "learn_secrets",
    "live_folders",
    "notes_towards",
    "open_infra",
    "park",
    "read_facts",
    "read_secret",
    "record_good",
    "require_access",
    "require_known",
    "roll_out",
    "trust_advice",
]

_LOG = logging.getLogger(__name__)

_EXEC_TIMEOUT = 20.0
_SECRETS_ADVICE = (
    "put the file back from a copy; or, as long as the app runs, remove it: its secrets are read from its containers"
)


_CHECK_EVERY = 5.0
"""Seconds between two health checks of what stays up for weeks: each starts a program in a container."""


def known_secrets(state: StateDir, app: str) -> dict[str, str]:
    """The kept values (full Swarm name → value) of ``app``.

    Raises:
        StateDamaged: the file cannot be used.
    """
    values = load_state(state.infra(app) / "secrets.json", dict[str, str], advice=_SECRETS_ADVICE) or {}
    SECRETS.learn(*values.values())
    return values


def keep_secrets(state: StateDir, app: str, values: Mapping[str, str]) -> None:
    """Add ``values`` (full Swarm name → value) to what is kept of ``app``."""
    known = known_secrets(state, app)
    both = {**known, **values}
    if both != known:
        write_atomic(state.infra(app) / "secrets.json", json.dumps(both, indent=1).encode())


def learn_secrets(engine: Engine, stack: str, state: StateDir, app: str) -> dict[str, str]:
    """Read every secret of the running stack from its containers, keep them all, and return them.

    Raises:
        InfrastructureFault: one cannot be read.
    """
    held = {name: read_secret(engine, stack, service, target) for service, name, target in _mounted(engine, stack)}
    keep_secrets(state, app, held)
    return held


def require_known(engine: Engine, stack: str, state: StateDir, app: str) -> None:
    """See that every secret of the stack is kept, where one is not by reading it: what dies may have none running.

    Raises:
        InfrastructureFault: one is not kept and cannot be read.
    """
    if {name for _, name, _ in _mounted(engine, stack)} - set(known_secrets(state, app)):
        learn_secrets(engine, stack, state, app)


def read_secret(engine: Engine, stack: str, service: str, target: str) -> str:
    """What the running container of ``service`` holds under ``/run/secrets/<target>``.

    Raises:
        RecipeFault: nothing of the service runs.
        InfrastructureFault: it holds no such secret.
    """
    path = target if target.startswith("/") else f"/run/secrets/{target}"
    done = exec_in(engine, stack, service, ["cat", path], timeout=_EXEC_TIMEOUT)
    if done.rc != 0 or not done.stdout:
        raise InfrastructureFault(
            f"service {service} holds no secret {target}",
            where=stack,
            seen=f"exit status {done.rc}, {len(done.stdout)} characters {done.stderr[:200]}",
        )
    SECRETS.learn(done.stdout)
    return done.stdout


def _mounted(engine: Engine, stack: str) -> list[tuple[str, str, str]]:
    """Service, full secret name and file name of every secret of the stack, each secret once."""
    with engine_errors(f"looking at the secrets of {stack}"):
        services = engine.client.api.services(filters=stack_filter(stack))
    found: dict[str, tuple[str, str, str]] = {}
    for service in services:
        short = service["Spec"]["Name"].removeprefix(f"{stack}_")
        for secret in service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets") or ():
            found.setdefault(secret["SecretName"], (short, secret["SecretName"], secret["File"]["Name"]))
    return list(found.values())


_UNDEPLOY = 120.0
_COPY = 1800.0
_HERE = "run ccci reconcile on the engine's own machine, as root"
_ADVICE = "undeploy the app and remove the volume to start afresh, or run this on the engine's own machine as root"


def data_of(state: StateDir, app: str) -> CanonicalStore:
    """The store of the app's data, by its real path: a volume names it, and must name the same one each time."""
    return CanonicalStore(state.infra(app).resolve() / "store", app)


def keeps_data(facts: ComposeFacts) -> bool:
    """Whether an app has volumes of its own: then going back to another version needs its data too."""
    return bool(_own(facts))


def live_folders(site: Site, app: str, facts: ComposeFacts) -> Mapping[str, Path]:
    """Where each of the app's own volumes lives. None where the engine is on another machine: nothing is kept there."""
    if not keeps_data(facts) or site.engine.socket_path is None:
        return {}
    store = data_of(site.state, app)
    return {key: store.live(key) for key in _own(facts)}


def require_access(site: Site, app: str, stack: str, facts: ComposeFacts) -> None:
    """See that the app's data can be copied, before anything is touched for it.

    Raises:
        InfrastructureFault: it lies on another machine, or is not ours to read.
    """
    if site.engine.socket_path is None:
        raise InfrastructureFault(f"{app} keeps data on another machine: it cannot be copied from here", advice=_HERE)
    for key in _own(facts):
        place = _plain(site.engine, volume_name(facts, stack, key)) or data_of(site.state, app).live(key)
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise InfrastructureFault(
                f"the data of {app} cannot be copied by this user", where=str(place), advice=_HERE
            )


def park(site: Site, app: str, stack: str) -> None:
    """Take the app down; its secrets are known then, and nothing writes to its data.

    Raises:
        InfrastructureFault: a secret is not known and cannot be read: nothing was taken down. Or it would not go.
    """
    require_known(site.engine, stack, site.state, app)
    undeploy(site.engine, stack, volumes=False, deadline=Deadline(_UNDEPLOY))


def adopt(site: Site, app: str, stack: str, facts: ComposeFacts) -> None:
    """Move data out of plain volumes, as older deploys made them, to where it is kept; the app is parked for it.

    A plain volume is the truth as long as it exists, so that a move that was cut off is simply begun anew.
    """
    if site.engine.socket_path is None:
        return
    plain = {key: place for key in _own(facts) if (place := _plain(site.engine, volume_name(facts, stack, key)))}
    if not plain:
        return
    _LOG.info(f"{app}: moving its data to where it can be copied ({', '.join(plain)})")
    park(site, app, stack)
    store = data_of(site.state, app)
    for key, place in plain.items():
        _move(place, store.live(key))
        remove_volumes(site.engine, (volume_name(facts, stack, key),))


def _own(facts: ComposeFacts) -> tuple[str, ...]:
    return tuple(key for key, volume in facts.volumes.items() if not volume.external)


def _plain(engine: Engine, name: str) -> Path | None:
    """Where the engine keeps a volume that is no bind of ours; ``None`` when there is none of that kind."""
    with engine_errors(f"looking at volume {name}"):
        try:
            facts = engine.client.volumes.get(name).attrs
        except NotFound:
            return None
    return None if facts.get("Options") else Path(facts["Mountpoint"])


def _move(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InfrastructureFault(
            "the data of an older deploy cannot be reached from here", where=str(source), advice=_ADVICE
        )
    shutil.rmtree(target)
    process.run(["cp", "-a", "--reflink=auto", source, target], timeout=_COPY)
    process.run(["sync", "-f", target], timeout=_COPY)


@dataclass(frozen=True)
class InfraRecipe:
    """An infra recipe with its mirror, and where its app lives. ``kept``: its data and secrets outlive its deploys."""

    name: str
    spec: RecipeSpec
    mirror: Mirror
    domain: str
    stack: str
    kept: bool = True


def trust_advice(app: str) -> str:
    """The way out of damaged notes about ``app``."""
    return (
        f"see that {app} serves with its data, then ccci reconcile {app} --trust: "
        "it is proved, and the damaged file is set aside"
    )


@dataclass(frozen=True)
class Good:
    """A release that was proved. Empty ``release``: none ever was."""

    release: str = ""
    commit: str = ""


def open_infra(site: Site, app: str, *, refresh: bool = True) -> InfraRecipe:
    """The recipe of the live-warm ``app``; its releases are fetched at run time, none is pinned."""
    spec = load_spec(site.recipes / app)
    mirror = open_mirror(spec, cache=site.state.infra(app), refresh=refresh)
    domain = app_domain(app, site.zone.name)
    return InfraRecipe(app, spec, mirror, domain, stack_name(domain))


def elsewhere(recipe: InfraRecipe, domain: str) -> InfraRecipe:
    """The same recipe for an app at ``domain`` of which nothing is kept."""
    return replace(recipe, domain=domain, stack=stack_name(domain), kept=False)


def roll_out(site: Site, recipe: InfraRecipe, head: Head) -> Deployed:
    """Deploy ``head`` over whatever runs, with the secrets and the data that are there, and wait until it is up.

    Raises:
        RecipeFault: this release does not come up.
        InfrastructureFault: anything else that kept it from coming up.
    """
    _LOG.info(f"{recipe.name}: deploying {head.version} at {recipe.domain}")
    with _planned(site, recipe, head) as plan:
        whole = replace(plan, volumes=_kept_volumes(site, recipe, plan)) if recipe.kept else plan
        deployed = deploy_app(site.engine, whole, prepare=site.prepare, doing=recipe.name)
    if recipe.kept:
        keep_secrets(site.state, recipe.name, deployed.secrets)
        if problem := write_abra_env(
            site.abra, whole.env, recipe=recipe.name, version=head.version, domain=recipe.domain
        ):
            _LOG.warning(f"abra: {problem}")
    return deployed


def fetch_images(site: Site, recipe: InfraRecipe, head: Head) -> ComposeFacts:
    """Have all images of ``head`` on the engine while its predecessor still serves; what its compose files say.

    Raises:
        RecipeFault: it cannot be deployed, or names an image that does not exist.
        InfrastructureFault: an image cannot be had.
    """
    with _planned(site, recipe, head) as plan:
        facts = read_plan(site.engine, plan)[1]
        site.prepare(sorted({service.image for service in facts.services.values()}))
        return facts


def read_facts(site: Site, recipe: InfraRecipe, head: Head) -> ComposeFacts:
    """What the compose files of ``head`` say.

    Raises:
        RecipeFault: it cannot be deployed.
    """
    with _planned(site, recipe, head) as plan:
        return read_plan(site.engine, plan)[1]


def notes_towards(recipe: InfraRecipe, running: str, head: Head) -> tuple[Note, ...]:
    """The release notes somebody must read who goes from ``running`` to ``head``."""
    with tempfile.TemporaryDirectory(prefix="ccci-") as work:
        tree = recipe.mirror.checkout(head, Path(work) / "recipe")
        return notes_between(tree, parse(running), head.release, recipe.mirror.releases())


def last_good(state: StateDir, app: str) -> Good:
    """What was proved last.

    Raises:
        StateDamaged: the file that says so cannot be used.
    """
    path = state.infra(app) / "last_good.json"
    return load_state(path, Good, advice=trust_advice(app), check=_require_release) or Good()


def _require_release(good: Good) -> None:
    if not good.release:
        raise ValueError("it names no release")


def record_good(state: StateDir, app: str, good: Good) -> None:
    """Record what was proved last."""
    facts = {"release": good.release, "commit": good.commit}
    write_atomic(state.infra(app) / "last_good.json", json.dumps(facts, indent=1).encode())


def head_of(recipe: InfraRecipe, good: Good) -> Head | None:
    """The release that was proved, found again by its commit, else by its name; ``None`` when the recipe lost it."""
    for ref in (good.commit, good.release):
        if ref:
            try:
                found = recipe.mirror.resolve(ref)
            except CcciError:
                continue
            if not good.release or found.version == good.release:
                return found
    return None


def _kept_volumes(site: Site, recipe: InfraRecipe, plan: AppPlan) -> Mapping[str, Path]:
    facts = read_plan(site.engine, plan)[1]
    adopt(site, recipe.name, recipe.stack, facts)
    return live_folders(site, recipe.name, facts)


@contextmanager
def _planned(site: Site, recipe: InfraRecipe, head: Head) -> Iterator[AppPlan]:
    """What is to be deployed, in a directory of its own for as long as the block runs."""
    home = site.state.infra(recipe.name)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=home, prefix="tree-") as work:
        tree = recipe.mirror.checkout(head, Path(work) / "recipe")
        context = _context(site, recipe)
        where = str(recipe.spec.file)
        version = recipe.mirror.release_with(head)
        overrides = render_all(recipe.spec.env.at(version), context, where=f"{where} [env]")
        yield AppPlan(
            recipe=recipe.name,
            stack=recipe.stack,
            domain=recipe.domain,
            env=app_env(tree, domain=recipe.domain, stack=recipe.stack, overrides=overrides),
            overlay=_overlay(site, recipe),
            timeout=recipe.spec.health.timeout or site.timeout,
            work=Path(work),
            given_secrets=render_all(recipe.spec.given_secrets(version), context, where=f"{where} [secrets]"),
            secret_rules=recipe.spec.secret_rules(version),
            known_secrets=known_secrets(site.state, recipe.name) if recipe.kept else {},
        )


def _overlay(site: Site, recipe: InfraRecipe) -> OverlaySettings:
    labels = {f"coop-cloud.{recipe.stack}.recipe": recipe.name, f"coop-cloud.{recipe.stack}.chaos": "false"}
    return OverlaySettings(vip=site.engine.facts.vip, labels=labels, check_every=_CHECK_EVERY)


def _context(site: Site, recipe: InfraRecipe) -> dict[str, Any]:
    made = site.certificates
    zone = {
        "name": site.zone.name,
        "http_port": str(site.zone.http_port),
        "https_port": str(site.zone.https_port),
        "certificate_version": made.version if made else "",
        "certificate": made.certificate_file.read_text("ascii") if made else "",
        "certificate_key": made.key_file.read_text("ascii") if made else "",
    }
    return {
        "app": {"domain": recipe.domain, "url": site.zone.url(recipe.domain)},
        "engine": {"socket": str(site.engine.socket_path or "/var/run/docker.sock")},
        "zone": zone,
    }
