"""Rolls a release of an infra recipe out: the one path for the first deploy, for reconcile and for its rollback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ccci.engine.compose import OverlaySettings
from pytest_ccci.engine.deploy import AppPlan, Deployed, deploy_app, read_plan
from pytest_ccci.errors import CcciError
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.env import app_env, render_all, write_abra_env
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.recipe.releases import parse
from pytest_ccci.recipe.repository import Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.recipe.tree import Head, Note, notes_between
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.warm.kept_data import adopt, live_folders
from pytest_ccci.warm.kept_secrets import keep_secrets, known_secrets
from pytest_ccci.warm.warmsite import Site

__all__ = [
    "Good",
    "InfraRecipe",
    "elsewhere",
    "fetch_images",
    "head_of",
    "last_good",
    "notes_towards",
    "open_infra",
    "read_facts",
    "record_good",
    "roll_out",
]


@dataclass(frozen=True)
class InfraRecipe:
    """An infra recipe with its mirror, and where its app lives. ``kept``: its data and secrets outlive its deploys."""

    name: str
    spec: RecipeSpec
    mirror: Mirror
    domain: str
    stack: str
    kept: bool = True


@dataclass(frozen=True)
class Good:
    """A release that was proved. Empty ``release``: none ever was."""

    release: str = ""
    commit: str = ""


def open_infra(site: Site, app: str, *, refresh: bool = True) -> InfraRecipe:
    """The recipe of the live-warm ``app``; its releases are fetched at run time, none is pinned."""
    spec = load_spec(site.recipes / app)
    mirror = open_mirror(spec, cache=site.state.infra(app), refresh=refresh, tell=site.tell)
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
    site.tell(f"{recipe.name}: deploying {head.version} at {recipe.domain}")
    with _planned(site, recipe, head) as plan:
        whole = replace(plan, volumes=_kept_volumes(site, recipe, plan)) if recipe.kept else plan
        deployed = deploy_app(site.engine, whole, prepare=site.prepare, tell=site.tell, doing=recipe.name)
    if recipe.kept:
        keep_secrets(site.state, recipe.name, deployed.secrets)
        if problem := write_abra_env(
            site.abra, whole.env, recipe=recipe.name, version=head.version, domain=recipe.domain
        ):
            site.tell(f"abra: {problem}")
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
    """What was proved last."""
    try:
        facts = json.loads((state.infra(app) / "last_good.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Good()
    return Good(str(facts.get("release", "")), str(facts.get("commit", "")))


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
        overrides = render_all(recipe.spec.env, context, where=f"{where} [env]")
        yield AppPlan(
            recipe=recipe.name,
            stack=recipe.stack,
            domain=recipe.domain,
            env=app_env(tree, domain=recipe.domain, stack=recipe.stack, overrides=overrides),
            overlay=_overlay(site, recipe),
            timeout=recipe.spec.health.timeout or site.timeout,
            work=Path(work),
            given_secrets=render_all(recipe.spec.secrets, context, where=f"{where} [secrets]"),
            known_secrets=known_secrets(site.state, recipe.name) if recipe.kept else {},
        )


def _overlay(site: Site, recipe: InfraRecipe) -> OverlaySettings:
    labels = {f"coop-cloud.{recipe.stack}.recipe": recipe.name, f"coop-cloud.{recipe.stack}.chaos": "false"}
    return OverlaySettings(vip=site.engine.facts.vip, labels=labels)


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
