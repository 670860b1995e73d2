"""What a run would do, before minutes are spent on it: by the decisions of a run, and by looking only."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.engine.images import missing_images
from pytest_ccci.engine.objects import published_ports
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.status import engine_at_hand
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.recipe.compose_files import merge, read_compose
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.results.index import ask
from pytest_ccci.results.model import RefFact
from pytest_ccci.results.report import Line, version_text
from pytest_ccci.results.verdict import ORDER
from pytest_ccci.run.context import head_fact
from pytest_ccci.run.plan import KnownGoodState, Plan
from pytest_ccci.run.prepare import known_of, network, plan_for, require_release_base
from pytest_ccci.run.quick import NOT_QUICK
from pytest_ccci.run.reach import deployed_env
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import allocated, free, shown

__all__ = ["Explained", "explain", "explained_lines"]

_GREENS = 30


@dataclass(frozen=True)
class Explained:
    """What a run would do. ``tiers`` are ``(tier, why it is skipped)``, empty where it is performed.

    ``seconds`` is the median of the last ``of`` green runs in that mode, ``None`` where there is none; ``images`` are
    those of base and head, and ``unknown`` says why they are not all known. ``to_fetch`` are those that the engine does
    not have, ``None`` where no engine answers. ``ports`` of the machine are what the app publishes, ``taken`` says
    which of them another service has. ``known_good`` is what a copy of its data takes on disk, of which ``free`` is
    left.
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
    to_fetch: tuple[str, ...] | None = None
    ports: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    known_good: int | None = None
    free: int = 0


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
    images, ports, unknown = _needs(spec, settings, mirror, [one for one in (base, head) if one is not None])
    to_fetch, taken = _on_the_engine(spec, settings, state, images, ports)
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
        to_fetch=to_fetch,
        ports=tuple(f"{port}/{kind}" for port, kind in ports),
        taken=taken,
        known_good=_size_of_known_good(spec, state),
        free=free(state.root),
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


def _size_of_known_good(spec: RecipeSpec, state: StateDir) -> int | None:
    """What the data of the newest known-good take on disk; ``None`` where there is none."""
    folder = state.canonical(spec.name)
    if not (folder / "canonical.json").is_file():
        return None
    store = CanonicalStore(folder, spec.name, make=False)
    record = store.record()
    return allocated(store.layout.snapshot(record.snapshot_id).volumes) if record else None


def _needs(
    spec: RecipeSpec, settings: Settings, mirror: Mirror, versions: list[Head]
) -> tuple[tuple[str, ...], list[tuple[int, str]], str]:
    """The images and ports of these versions, and why one of them could not be read."""
    images: dict[str, None] = {}
    ports: set[tuple[int, str]] = set()
    problem = ""
    with tempfile.TemporaryDirectory(prefix="ccci-explain-") as scratch:
        for number, version in enumerate(versions):
            try:
                tree = mirror.checkout(version, Path(scratch, str(number)))
                env, _ = deployed_env(spec, tree, zone=settings.zone, version=mirror.release_with(version))
                files = [read_compose(path, within=tree.path) for path in env.compose_files]
                facts = compose_facts(merge(files, env.values))
                images |= dict.fromkeys(facts.images)
                ports |= facts.published
            except CcciError as error:
                problem = f"{version.version}: {error}"
    return tuple(images), sorted(ports), problem


def _on_the_engine(
    spec: RecipeSpec, settings: Settings, state: StateDir, images: tuple[str, ...], ports: list[tuple[int, str]]
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Which images the engine does not have, and which ports another service has; nothing where none answers."""
    try:
        engine = engine_at_hand(settings, state)
        missing = missing_images(engine, images)
        known = published_ports(engine, but=stack_name(canonical_domain(spec.name, settings.zone))) if ports else {}
    except CcciError:
        return None, ()
    return missing, tuple(f"{port}/{kind} by {known[port, kind]}" for port, kind in ports if (port, kind) in known)


def explained_lines(found: Explained) -> Iterator[Line]:
    """The same for people."""
    yield Line(f"{found.recipe}  {found.mode}", "title")
    if found.mode_reason:
        yield Line(f"  not {found.requested_mode}: {found.mode_reason}", "warn")
    if found.base:
        yield Line(f"  from      {version_text(found.base)}")
    yield Line(f"  to        {version_text(found.head)}")
    for name, skipped in found.tiers:
        yield Line(f"  {name:<10}{f'skipped: {skipped}' if skipped else 'yes'}", "dim" if skipped else "plain")
    yield from _needed(found)
    if found.resets_drift:
        yield Line("  first     the live volumes are put back to the known-good")
    if found.seconds is None:
        yield Line(f"  takes     not known: no green {found.mode} run of it yet")
    else:
        yield Line(f"  takes     about {found.seconds:.0f} s, the median of {found.of} green {found.mode} runs")


def _needed(found: Explained) -> Iterator[Line]:
    """What of the machine it needs: images, ports, disk."""
    for number, image in enumerate(found.images):
        note = " (to fetch or build)" if found.to_fetch and image in found.to_fetch else ""
        yield Line(f"  {'' if number else 'images':<10}{image}{note}")
    if found.images and found.to_fetch is None:
        yield Line("            which of them are here is not known: no engine answers", "dim")
    if found.unknown:
        yield Line(f"  not all images are known: {found.unknown}", "warn")
    yield from (Line(f"  port      {port}") for port in found.ports)
    for taken in found.taken:
        yield Line(f"  port      {taken} is taken: the run would end as an error", "warn")
    needs, short = "what the app writes is not known", False
    if found.known_good is not None:
        needs = f"a copy of the known-good takes at most {shown(found.known_good)}"
        short = found.known_good > found.free
    yield Line(f"  disk      {shown(found.free)} free; {needs}", "warn" if short else "plain")
