"""Deploys an app as its recipe says and waits until it is up: the one path for recipes, canonicals and infra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.compose import stack_config, write_compose
from pytest_ccci.engine.external import APP_LABEL, insert_secrets, present_secrets
from pytest_ccci.engine.observe import StackFacts
from pytest_ccci.engine.overlay import OverlaySettings, build_overlay
from pytest_ccci.engine.stack import deploy, prune_services
from pytest_ccci.engine.volumes import bind_volumes
from pytest_ccci.engine.watch import tasks_of, wait_converged
from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.locks import Tell
from pytest_ccci.recipe.compose_facts import ComposeFacts, compose_facts
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.names import check_names
from pytest_ccci.recipe.secretspecs import choose, needed
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = ["AppPlan", "Deployed", "deploy_app", "read_plan", "volume_name"]


@dataclass(frozen=True)
class AppPlan:
    """All that is needed to deploy one version of an app.

    ``given_secrets`` maps short names to values, ``known_secrets`` full Swarm names to values that the app's kept data
    needs again; ``volumes`` maps volume keys to directories for kept data; ``work`` takes the written overlay;
    ``timeout`` is in seconds. ``author`` is where the given secrets stand, for messages.
    """

    recipe: str
    stack: str
    domain: str
    env: AppEnv
    overlay: OverlaySettings
    timeout: float
    work: Path
    given_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    known_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    author: str = "recipe.toml"

    @property
    def files(self) -> tuple[Path, ...]:
        """The recipe's compose files, in order."""
        return self.env.compose_files


@dataclass(frozen=True)
class Deployed:
    """An app that is up: what was asked for, what was seen, and where the seconds went.

    ``secrets`` are full names → values as far as we know them; ``tasks`` the ids that must stay up; ``images`` what
    ``prepare`` returned; ``dropped`` the services that the new version no longer has.
    """

    stack: str
    compose: ComposeFacts
    facts: StackFacts
    secrets: Mapping[str, str] = field(repr=False)
    tasks: Mapping[str, tuple[str, ...]]
    images: tuple[Any, ...]
    dropped: tuple[str, ...]
    steps: Mapping[str, float]


def read_plan(engine: Engine, plan: AppPlan) -> tuple[dict[str, Any], ComposeFacts]:
    """What Docker's loader makes of the plan's files, raw and as facts; names checked against Docker's limits."""
    config = stack_config(engine, plan.files, plan.env.values)
    facts = compose_facts(config)
    if not facts.services:
        raise RecipeInvalid("the compose files define no service", where=str(plan.files[0]))
    check_names(facts, stack=plan.stack)
    return config, facts


def deploy_app(
    engine: Engine,
    plan: AppPlan,
    *,
    prepare: Callable[[Iterable[str]], tuple[Any, ...]],
    tell: Tell,
    doing: str = "deploy",
) -> Deployed:
    """Deploy ``plan`` (fresh, or over what runs) and wait until it is up.

    Images are fetched first, so that a pull failure is never a deploy failure; secrets are made only where missing.

    Raises:
        RecipeFault: the recipe cannot be deployed, or does not come up.
        InfrastructureFault: anything else that kept it from coming up.
    """
    watch, steps = Stopwatch(), {}
    config, facts = read_plan(engine, plan)
    steps["read"] = watch.seconds
    images = prepare(sorted({service.image for service in facts.services.values()}))
    steps["images"] = watch.seconds - sum(steps.values())
    secrets = _secrets(engine, plan, config)
    named = {volume_name(facts, plan.stack, key): path for key, path in plan.volumes.items() if key in facts.volumes}
    bind_volumes(engine, named, labels={APP_LABEL: plan.stack, "com.docker.stack.namespace": plan.stack})
    overlay = plan.work / "ccci-overlay.yml"
    write_compose(overlay, build_overlay(facts, plan.overlay, version=config.get("version")))
    deploy(engine, plan.stack, (*plan.files, overlay), plan.env.values)
    steps["deploy"] = watch.seconds - sum(steps.values())
    dropped = prune_services(engine, plan.stack, frozenset(facts.services))
    seen = wait_converged(engine, plan.stack, deadline=Deadline(plan.timeout), tell=tell, doing=doing)
    steps["converge"] = watch.seconds - sum(steps.values())
    return Deployed(plan.stack, facts, seen, secrets, tasks_of(seen), images, dropped, steps)


def volume_name(facts: ComposeFacts, stack: str, key: str) -> str:
    """The engine's name of the volume with this key."""
    return facts.volumes[key].name or f"{stack}_{key}"


def _secrets(engine: Engine, plan: AppPlan, config: Mapping[str, Any]) -> dict[str, str]:
    """Insert what is missing: the given value, else the known one, else a new one; return all values we know."""
    wanted = needed(config, plan.env)
    there = present_secrets(engine)
    made = choose(wanted, plan.given_secrets, where=plan.author)
    values: dict[str, str] = {}
    for secret in wanted:
        given = {secret.key, secret.short} & set(plan.given_secrets)
        if secret.name in plan.known_secrets and not given:
            values[secret.name] = plan.known_secrets[secret.name]
        elif secret.name not in there:
            values[secret.name] = made[secret.name]
    insert_secrets(engine, plan.stack, {name: value for name, value in values.items() if name not in there})
    return values
