"""What a run would do, before minutes are spent on it: by the decisions of a run, and by looking only."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import CcciError
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.compose_files import merge, read_compose
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.results.index import ask
from pytest_ccci.results.model import RefFact
from pytest_ccci.results.verdict import ORDER
from pytest_ccci.run.context import head_fact
from pytest_ccci.run.plan import KnownGoodState, Plan
from pytest_ccci.run.prepare import known_of, network, plan_for, require_release_base
from pytest_ccci.run.quick import NOT_QUICK
from pytest_ccci.run.reach import deployed_env
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

__all__ = ["Explained", "explain"]

_GREENS = 30


@dataclass(frozen=True)
class Explained:
    """What a run would do. ``tiers`` are ``(tier, why it is skipped)``, empty where it is performed.

    ``seconds`` is the median of the last ``of`` green runs in that mode, ``None`` where there is none; ``images`` are
    those of base and head, and ``unknown`` says why they are not all known.
    """

    recipe: str
    mode: str
    requested_mode: str
    mode_reason: str
    base: RefFact | None
    head: RefFact
    tiers: tuple[tuple[str, str], ...]
    images: tuple[str, ...]
    unknown: str
    resets_drift: bool
    seconds: float | None
    of: int


def explain(spec: RecipeSpec, settings: Settings, state: StateDir) -> Explained:
    """What a run of ``spec`` would do now. The recipe's mirror is brought up to date; nothing is locked or deployed.

    Raises:
        UsageError: the ref or the base cannot be used.
        InfrastructureFault: the recipe's repository cannot be had.
    """
    mirror = open_mirror(spec, cache=state.recipes, env=network(settings.environment))
    head = mirror.resolve(settings.ref)
    if settings.base and settings.mode == "cold":
        require_release_base(spec, settings, head, mirror)
    plan = plan_for(spec, settings, mirror, head, _known(spec, settings, state, mirror))
    base = mirror.resolve(plan.base) if plan.base else None
    images, unknown = _images(spec, settings, mirror, [one for one in (base, head) if one is not None])
    took = ask(state, lambda index: [row.seconds for row in index.greens(spec.name, plan.mode, most=_GREENS)])
    return Explained(
        recipe=spec.name,
        mode=plan.mode,
        requested_mode=plan.requested_mode,
        mode_reason=plan.mode_reason,
        base=head_fact(base) if base else None,
        head=head_fact(head),
        tiers=tuple((name, _why_skipped(name, spec, plan)) for name in ORDER),
        images=images,
        unknown=unknown,
        resets_drift=plan.reset_drift,
        seconds=statistics.median(took) if took else None,
        of=len(took),
    )


def _known(spec: RecipeSpec, settings: Settings, state: StateDir, mirror: Mirror) -> KnownGoodState | None:
    folder = state.canonical(spec.name)
    if settings.mode != "quick" or not spec.canonical or not folder.is_dir():
        return None
    return known_of(CanonicalStore(folder, spec.name, make=False), mirror, settings.base)


def _why_skipped(name: str, spec: RecipeSpec, plan: Plan) -> str:
    waived = spec.waived(name)
    if waived:
        return f"not applicable: {waived}"
    if name == "upgrade" and plan.base is None:
        return plan.no_upgrade
    return NOT_QUICK.get(name, "") if plan.mode == "quick" else ""


def _images(spec: RecipeSpec, settings: Settings, mirror: Mirror, versions: list[Head]) -> tuple[tuple[str, ...], str]:
    """The images of these versions, and why one of them could not be read."""
    images: dict[str, None] = {}
    problem = ""
    with tempfile.TemporaryDirectory(prefix="ccci-explain-") as scratch:
        for number, version in enumerate(versions):
            try:
                tree = mirror.checkout(version, Path(scratch, str(number)))
                env, _ = deployed_env(spec, tree, zone=settings.zone, version=mirror.release_with(version))
                files = [read_compose(path, within=tree.path) for path in env.compose_files]
                facts = compose_facts(merge(files, env.values))
                images |= dict.fromkeys(facts.images)
            except CcciError as error:
                problem = f"{version.version}: {error}"
    return tuple(images), problem
