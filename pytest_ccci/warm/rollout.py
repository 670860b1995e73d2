"""Rolls a release of an infra recipe out: the one path for the first deploy, for reconcile and for its rollback."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci.engine.deployment import AppPlan, Deployed, deploy_app
from pytest_ccci.engine.overlay import OverlaySettings
from pytest_ccci.recipe.appenv import app_env
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.recipe.source import Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.recipe.templates import render_all
from pytest_ccci.recipe.tree import Head
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.warm.kept_secrets import keep_secrets, known_secrets
from pytest_ccci.warm.warmsite import Site

__all__ = ["BUNDLED", "InfraRecipe", "last_good", "open_infra", "record_good", "roll_out"]

BUNDLED = Path(__file__).resolve().parent.parent / "infra"


@dataclass(frozen=True)
class InfraRecipe:
    """An infra recipe with its mirror, and where its app lives."""

    name: str
    spec: RecipeSpec
    mirror: Mirror
    domain: str
    stack: str


def open_infra(site: Site, app: str, *, folder: Path = BUNDLED, refresh: bool = True) -> InfraRecipe:
    """The recipe of the live-warm ``app`` from ``folder``; its releases are fetched at run time, none is pinned."""
    spec = load_spec(folder / app)
    mirror = open_mirror(spec, cache=site.state.infra(app), refresh=refresh, tell=site.tell)
    domain = app_domain(app, site.zone.name)
    return InfraRecipe(app, spec, mirror, domain, stack_name(domain))


def roll_out(site: Site, recipe: InfraRecipe, head: Head) -> Deployed:
    """Deploy ``head`` over whatever runs, with the secrets that are there, and wait until Swarm says it is up.

    Raises:
        RecipeFault: this release does not come up.
        InfrastructureFault: anything else that kept it from coming up.
    """
    home = site.state.infra(recipe.name)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    site.tell(f"{recipe.name}: deploying {head.version} at {recipe.domain}")
    with tempfile.TemporaryDirectory(dir=home, prefix="tree-") as work:
        tree = recipe.mirror.checkout(head, Path(work) / "recipe")
        context = _context(site, recipe)
        where = str(recipe.spec.file)
        overrides = render_all(recipe.spec.env, context, where=f"{where} [env]")
        deployed = deploy_app(
            site.engine,
            AppPlan(
                recipe=recipe.name,
                stack=recipe.stack,
                domain=recipe.domain,
                env=app_env(tree, domain=recipe.domain, stack=recipe.stack, overrides=overrides),
                overlay=_overlay(site, recipe),
                timeout=recipe.spec.health.timeout or site.timeout,
                work=Path(work),
                given_secrets=render_all(recipe.spec.secrets, context, where=f"{where} [secrets]"),
                known_secrets=known_secrets(site.state, recipe.name),
            ),
            prepare=site.prepare,
            tell=site.tell,
            doing=recipe.name,
        )
    keep_secrets(site.state, recipe.name, deployed.secrets)
    return deployed


def last_good(state: StateDir, app: str) -> str:
    """The tag of the release that was proved last; empty when none was."""
    return str(_read(state.infra(app) / "last_good.json").get("release", ""))


def record_good(state: StateDir, app: str, head: Head) -> None:
    """Record ``head`` as what was proved last."""
    facts = {"release": head.version, "commit": head.commit}
    write_atomic(state.infra(app) / "last_good.json", json.dumps(facts, indent=1).encode())


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


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}
