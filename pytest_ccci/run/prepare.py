"""Opens a run: brings the repository up to date, resolves head, takes slot and locks, decides the mode."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from pytest_ccci.errors import CanonicalRefused, CcciError, RefError, StoreDamaged, UsageError
from pytest_ccci.recipe.names import canonical_domain, require_fitting_names
from pytest_ccci.recipe.releases import Release
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.cold import ColdRun
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.known_good import chosen, open_store
from pytest_ccci.run.plan import KnownGoodState, Plan, decide, release_problem
from pytest_ccci.run.quick import QuickRun
from pytest_ccci.run.reach import refuse_reach
from pytest_ccci.run.run_dir import Diary, Trees, new_run_id
from pytest_ccci.run.sentinels import Sentinels, load_hooks
from pytest_ccci.run.tiers import Record, Run
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import os_errors

__all__ = ["history", "known_of", "network", "open_context", "open_mode", "plan_for", "require_release_base"]

_LOG = logging.getLogger(__name__)

Check = Callable[[StateDir, Head, Mirror], None]


def open_context(spec: RecipeSpec, settings: Settings, *, check: Check = lambda *_: None) -> RunContext:
    """Everything a run of ``spec`` is made of. ``check`` raises where it cannot be, before it has a directory.

    Raises:
        RecipeInvalid: head reaches outside of its app what ``--ccci-reach`` does not.
        UsageError: the state directory, the zone, the ref or recipe.toml cannot be used, or ``--ccci-run-id`` was.
        InfrastructureFault: the state directory cannot take what a run keeps there; on a full disk DiskFull.
    """
    require_fitting_names(spec.name, settings.zone, canonical=spec.canonical)
    state, run_id = open_state(settings.state_dir), settings.run_id or new_run_id()
    with os_errors("opening the run", where=state.root):
        mirror = open_mirror(spec, cache=state.recipes, env=network(settings.environment))
        head = mirror.resolve(settings.ref)
        check(state, head, mirror)
        if settings.reach:
            refuse_reach(spec, mirror, head, base=settings.reach, zone=settings.zone, grants=settings.grant)
        if settings.run_id:
            _claim(state, run_id)
        diary = Diary(state.run(run_id).resolve())
    return RunContext(
        run_id=run_id,
        spec=spec,
        settings=settings,
        state=state,
        mirror=mirror,
        head=head,
        sentinels=Sentinels(spec.sentinels, load_hooks(spec.folder)),
        diary=diary,
        trees=Trees(mirror, diary.path / "trees"),
    )


def _claim(state: StateDir, run_id: str) -> None:
    """Be the first run of that id: who asks for one twice, or plays a job again whose worker died, begins none."""
    try:
        state.run(run_id).mkdir(mode=0o700)
    except FileExistsError as error:
        raise UsageError(
            f"the run {run_id} was begun before, and an id is for one run",
            where="--ccci-run-id",
            seen=f"it is over: {state.run(run_id)}"
            if (state.run(run_id) / "results.json").exists()
            else "it may go on",
            advice=f"see ccci report {run_id} and ccci status; leave out --ccci-run-id to begin another one",
        ) from error


def network(environment: Mapping[str, str]) -> dict[str, str]:
    """What git needs to get out: proxies and CAs, nothing else."""
    names = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "git_ssl_cainfo", "path", "home")
    return {name: value for name, value in environment.items() if name.lower() in names}


def open_mode(context: RunContext, record: Record) -> Run:
    """Take a slot, decide the mode, lock the app, lease the realm; the run in that mode."""
    context.take_slot()
    held = ExitStack()
    store, known = _known_good(context, held) if context.settings.mode == "quick" else (None, None)
    plan = context.plan = plan_for(context.spec, context.settings, context.mirror, context.head, known)
    if context.settings.base and context.settings.mode == "quick" and plan.mode != "quick":
        raise StoreDamaged(
            f"the run cannot start from the kept known-good of {context.settings.base}",
            where=context.spec.name,
            seen=plan.mode_reason,
            advice=f"see ccci status {context.spec.name}; without --ccci-base it would be a cold run",
        )
    if plan.mode_reason:
        _LOG.info(f"quick is not possible: {plan.mode_reason}; running cold")
    if plan.mode == "quick" and store is not None:
        context.holds.push(held.pop_all().__exit__)
        if context.settings.keep:
            context.warnings.append(
                f"--ccci-keep={context.settings.keep} is for cold runs: a quick one always puts the canonical back, of "
                "which there is no other copy"
            )
        quick = QuickRun(context, record, store)
        quick.begin()
        return quick
    held.close()
    cold = ColdRun(context, record)
    cold.begin()
    return cold


def require_release_base(spec: RecipeSpec, settings: Settings, head: Head, mirror: Mirror) -> Plan:
    """Refuse a base of a cold run that is no release, or that head cannot be upgraded to from; else how it would be.

    Raises:
        RefError: says why, and which releases there are.
    """
    asked, known = settings.base, {release.tag: release for release in mirror.releases()}
    waived = spec.waived("upgrade")
    near = difflib.get_close_matches(asked, known, n=1)
    advice = f"did you mean {near[0]}?" if near else ""
    if waived:
        problem, advice = f"upgrade does not apply to this recipe: {waived}", "leave out --ccci-base"
    elif asked not in known:
        problem = f"{asked!r} is no release of this recipe"
    else:
        releases, ancestors = history(mirror, head)
        base = mirror.head_of(known[asked])
        holds_head = not head.dirty and mirror.is_ancestor(head, base)
        problem = release_problem(known[asked], head, releases=releases, ancestors=ancestors, holds_head=holds_head)
        if not problem:
            return decide(
                "cold", head, releases=releases, ancestors=ancestors, known_good=None, enrolled=False, asked=asked
            )
        problem, advice = f"{asked} cannot be the base: {problem}", "name an older release, or another ref"
    there = ", ".join(reversed(known)) or "none"
    raise RefError(problem, where=spec.name, seen=f"head: {head.version}; releases: {there}", advice=advice)


def history(mirror: Mirror, head: Head) -> tuple[tuple[Release, ...], frozenset[str]]:
    """The releases that are not head under another name, oldest first, and the tags of those that head builds on."""
    pairs = [(release, mirror.head_of(release).commit) for release in mirror.releases()]
    ancestors = (r.tag for r, commit in pairs if commit != head.commit and mirror.is_ancestor(commit, head))
    return tuple(r for r, commit in pairs if commit != head.commit or r == head.release), frozenset(ancestors)


def plan_for(spec: RecipeSpec, settings: Settings, mirror: Mirror, head: Head, known: KnownGoodState | None) -> Plan:
    """What a run of ``head`` will do, given what is known of the canonical."""
    releases, ancestors = history(mirror, head)
    older = bool(known and known.commit and known.commit != head.commit and mirror.is_ancestor(head, known.commit))
    plan = decide(
        settings.mode,
        head,
        releases=releases,
        ancestors=ancestors,
        known_good=known,
        enrolled=spec.canonical,
        older_than_known_good=older,
        asked=settings.base,
    )
    waived = spec.waived("upgrade")
    if not waived:
        return plan
    no_upgrade = f"not applicable: {waived}"
    return Plan(plan.mode, plan.requested_mode, plan.mode_reason, None, no_upgrade, plan.reset_drift)


def _known_good(context: RunContext, held: ExitStack) -> tuple[CanonicalStore | None, KnownGoodState | None]:
    """The canonical with its lock held, and what is known of it."""
    folder = context.state.canonical(context.spec.name)
    if not context.spec.canonical or not folder.is_dir():
        return None, None
    held.enter_context(context.lock_of(canonical_domain(context.spec.name, context.settings.zone)))
    try:
        store = open_store(context)
    except CanonicalRefused as error:
        return None, KnownGoodState(problem=str(error))
    return store, known_of(store, context.mirror, context.settings.base)


def known_of(store: CanonicalStore, mirror: Mirror, release: str) -> KnownGoodState | None:
    """What is known of the canonical in ``store``, by its known-good of ``release`` (or the newest): a look."""
    state = store.state()
    if state.record is None and not state.quarantined:
        return None
    good = chosen(state.record, release)
    commit = good.commit if good else ""
    problem = state.quarantined or (_unusable(mirror, commit) if good else "it is not kept any more")
    return KnownGoodState(
        release=good.release if good else "",
        commit=commit,
        snapshot_id=good.snapshot_id if good else "",
        problem=f"quarantined: {problem}" if state.quarantined else problem,
        drifted=state.drift,
    )


def _unusable(mirror: Mirror, commit: str) -> str:
    try:
        mirror.resolve(commit)
    except CcciError:
        return f"its commit {commit[:12]} is no longer in the recipe's repository"
    return ""
