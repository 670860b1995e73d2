"""Makes the machine ready: engine, images, Traefik and Keycloak; what is ready already is left alone, and said."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.compose import stack_config
from pytest_ccci.engine.images import ImageFact
from pytest_ccci.errors import CcciError
from pytest_ccci.locks import Tell
from pytest_ccci.ops.peek import source_of
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.env import app_env
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.host import Machine, open_engine, open_machine
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.health import InfraApp, look
from pytest_ccci.warm.infra import ensure

__all__ = ["Step", "provision", "recipe_images"]


@dataclass(frozen=True)
class Step:
    """One thing that is ready now. ``reused`` when nothing had to be done for it."""

    name: str
    text: str
    reused: bool
    seconds: float


@dataclass
class _Ear:
    """Passes lines on, and remembers whether there was one about work."""

    tell: Tell
    lines: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.tell(line)
        if not line.startswith("images: present") and " cannot be reached" not in line:
            self.lines.append(line)


def provision(
    settings: Settings, state: StateDir, spec: RecipeSpec | None, *, tell: Tell, done: Callable[[Step], None]
) -> Machine:
    """Make everything ready; ``done`` is told of each step as it ends.

    Raises:
        InfrastructureFault: something cannot be had.
    """
    source = source_of(settings, state) or f"private, in {state.engine}"
    _timed("engine", tell, done, lambda ear: _engine(open_engine(settings, state, ear), source))
    folder = spec.folder / "images" if spec else None
    made: list[Machine] = []

    def traefik(ear: Tell) -> str:
        made.append(open_machine(settings, state, images=folder, tell=ear))
        found = look(made[0].site, "traefik")
        return _infra(found) if found else "there"

    _timed("traefik", tell, done, traefik)
    machine = made[0]
    with ThreadPoolExecutor(max_workers=2) as pool:
        work = [pool.submit(_timed, "keycloak", tell, done, lambda ear: _keycloak(machine, ear))]
        if spec:
            work.append(pool.submit(_timed, "images", tell, done, lambda ear: _images(machine, spec, ear)))
        for each in work:
            each.result()
    return machine


def _timed(name: str, tell: Tell, done: Callable[[Step], None], act: Callable[[Tell], str]) -> None:
    ear, watch = _Ear(tell), Stopwatch()
    text = act(ear)
    done(Step(name, text, reused=not ear.lines, seconds=watch.seconds))


def _engine(engine: Engine, source: str) -> str:
    facts = engine.facts
    return f"Docker {facts.version}, API {facts.api_version}, {source}"


def _infra(found: InfraApp) -> str:
    return "somebody else's" if found.external else f"{found.version} at https://{found.domain}"


def _keycloak(machine: Machine, tell: Tell) -> str:
    return _infra(ensure(replace(machine.site, tell=tell), "keycloak"))


def _images(machine: Machine, spec: RecipeSpec, tell: Tell) -> str:
    refs = recipe_images(machine.engine, machine.state, spec, zone=machine.settings.zone, tell=tell)
    facts: tuple[ImageFact, ...] = replace(machine, tell=tell).prepare(refs)
    built = sum(fact.origin == "built" for fact in facts)
    return f"{len(facts)} of {spec.name}, {built} of them built here"


def recipe_images(engine: Engine, state: StateDir, spec: RecipeSpec, *, zone: str, tell: Tell) -> tuple[str, ...]:
    """The images of all releases and the tip of a recipe. A version that cannot be read is told and left out."""
    mirror = open_mirror(spec, cache=state.recipes, tell=tell)
    heads = {head.commit: head for head in (*(mirror.head_of(one) for one in mirror.releases()), mirror.tip)}
    refs: dict[str, None] = {}
    for head in heads.values():
        try:
            refs.update(dict.fromkeys(_images_of(engine, mirror, spec, head, zone)))
        except CcciError as error:
            tell(f"images: those of {spec.name} {head.version} are left for its run: {error.what}")
    return tuple(refs)


def _images_of(engine: Engine, mirror: Mirror, spec: RecipeSpec, head: Head, zone: str) -> Iterator[str]:
    domain = canonical_domain(spec.name, zone)
    with tempfile.TemporaryDirectory(prefix="ccci-") as work:
        tree = mirror.checkout(head, Path(work) / "recipe")
        # The templates of [env] stay as they are written: no image name depends on a lease.
        env = app_env(tree, domain=domain, stack=stack_name(domain), overrides=spec.env)
        facts = compose_facts(stack_config(engine, env.compose_files, env.values))
        yield from (service.image for service in facts.services.values())
