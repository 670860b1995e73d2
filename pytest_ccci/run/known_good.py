"""The known-goods of a recipe: which one a quick run starts from, and what tests may see of them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ccci.errors import CanonicalRefused, OptionError, RefError, Refused, StoreDamaged
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.results.model import KnownGoodChange
from pytest_ccci.run.census import Census
from pytest_ccci.run.plan import base_problem, promotion_of
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import CanonicalRecord, KnownGood, load_record

if TYPE_CHECKING:
    from pytest_ccci.run.context import RunContext
    from pytest_ccci.run.sentinels import Memory

__all__ = [
    "ALL",
    "COUNTED",
    "LIVED_IN",
    "SENTINELS",
    "CanonicalView",
    "SnapshotView",
    "chosen",
    "kept_census",
    "kept_goods",
    "kept_releases",
    "known_good_now",
    "lived_in",
    "load_canonical",
    "load_snapshot",
    "one_of_all",
    "open_store",
    "require_base",
    "require_reseedable",
    "sentinel_memory",
]

_LOG = logging.getLogger(__name__)

ALL = "all"

SENTINELS = "sentinels"
"""Under which name a snapshot's coverage statement keeps what the sentinels wrote."""

COUNTED = "counted"
"""Under which name it keeps how much there was."""

LIVED_IN = "lived in"
"""Under which name it keeps how often the author's tests have written into it."""


def kept_goods(state: StateDir, recipe: str) -> tuple[KnownGood, ...]:
    """The known-goods of ``recipe``, newest first, each release once: a look, for which no lock is held.

    Raises:
        StoreDamaged: there is a record that cannot be used.
    """
    record = load_record(state.canonical(recipe) / "canonical.json")
    found: dict[str, KnownGood] = {}
    for good in record.all_goods if record else ():
        found.setdefault(good.release, good)
    return tuple(found.values())


def chosen(record: CanonicalRecord | None, release: str) -> KnownGood | None:
    """The known-good of ``record``, or the kept one of ``release``; ``None`` where that is not kept."""
    goods = record.all_goods if record else ()
    return next((good for good in goods if release in {"", good.release}), None)


def open_store(context: RunContext) -> CanonicalStore:
    """The store of the recipe's canonical, recovered from whatever death cut off. The app's lock is held.

    It keeps as many known-goods as recipe.toml says.

    Raises:
        CanonicalRefused: the engine is not on this machine, so that volumes cannot live in our store.
    """
    if context.open_machine().engine.socket_path is None:
        raise CanonicalRefused("the engine is on another machine: its volumes cannot be kept and copied here")
    store = CanonicalStore(context.state.canonical(context.spec.name), context.spec.name, keep=context.spec.keep)
    for line in store.recover():
        _LOG.info(f"canonical: {line}")
    return store


def known_good_now(context: RunContext, *, action: str = "unchanged", reason: str = "") -> KnownGoodChange:
    """The known-good as its record says now; nothing was done to it."""
    folder = context.state.canonical(context.spec.name)
    if not (folder / "canonical.json").is_file():
        return KnownGoodChange(action="failed" if action == "failed" else "none", reason=reason)
    record = CanonicalStore(folder, context.spec.name).record()
    release, snapshot = (record.release, record.snapshot_id) if record else (None, None)
    return KnownGoodChange(
        before=release,
        after=release,
        action=action if record else "none",
        reason=reason,
        snapshot_before=snapshot,
        snapshot_after=snapshot,
    )


def sentinel_memory(store: CanonicalStore, release: str = "") -> Memory:
    """What was written into the known-good (or the kept one of ``release``), as its snapshot says."""
    return dict(_statement(store, release).get(SENTINELS, {}))


def kept_census(store: CanonicalStore, release: str = "") -> Census | None:
    """How much the known-good (or the kept one of ``release``) held when it became that.

    ``None`` where nobody counted, as before 0.1.0.
    """
    kept = _statement(store, release).get(COUNTED)
    return Census.from_json(kept) if kept is not None else None


def lived_in(store: CanonicalStore) -> int:
    """How often the author's tests have written into the known-good."""
    return int(_statement(store, "").get(LIVED_IN, 0))


def _statement(store: CanonicalStore, release: str) -> dict[str, Any]:
    good = chosen(store.record(), release)
    if good is None:
        return {}
    raw: Any = json.loads(store.layout.snapshot(good.snapshot_id).coverage.read_text(encoding="utf-8"))
    return dict(raw)


def kept_releases(settings: Settings, recipe: str) -> tuple[str, ...]:
    """Their releases, oldest first: the order in which a run from each is made."""
    goods = kept_goods(StateDir(settings.state_dir.absolute()), recipe)
    return tuple(good.release for good in reversed(goods))


def one_of_all(settings: Settings, release: str) -> Settings:
    """The settings of the run from ``release`` where one from each kept known-good was asked for."""
    return settings._replace(base=release, sources={**settings.sources, "base": ALL})


def require_base(recipe: str, settings: Settings, head: Head, mirror: Mirror, goods: tuple[KnownGood, ...]) -> None:
    """Refuse a base that is not kept, or that head cannot be upgraded to from.

    Raises:
        RefError: says what is kept, or why it cannot be.
        Refused: the same for one of several: the others can be.
    """
    kept = ", ".join(good.release for good in goods) or "none"
    if settings.base not in {good.release for good in goods}:
        raise RefError(
            "no known-good is kept that a run could start from"
            if settings.base == ALL
            else f"no known-good of release {settings.base} is kept",
            where=recipe,
            seen=f"kept: {kept}",
            advice="a green cold run of the latest release makes one, keep = 3 in recipe.toml lets earlier ones stay",
        )
    problems = {
        good.release: base_problem(good.release, good.commit, head, older=_older(mirror, head, good)) for good in goods
    }
    problem = problems[settings.base]
    if problem and settings.sources.get("base") == ALL and not all(problems.values()):
        raise Refused(problem)
    if problem:
        raise RefError(
            problem, where=recipe, seen=f"head: {head.version}; kept: {kept}", advice="name another base or ref"
        )


def _older(mirror: Mirror, head: Head, good: KnownGood) -> bool:
    return good.commit != head.commit and mirror.is_ancestor(head, good.commit)


def require_reseedable(
    spec: RecipeSpec, settings: Settings, head: Head, mirror: Mirror, *, whole: bool, unusual: str = ""
) -> None:
    """Refuse a reseed that could not end in a known-good, however green the run.

    ``unusual`` as in :class:`Plan`.

    Raises:
        OptionError: says why.
    """
    found = promotion_of(
        mode=settings.mode,
        enrolled=spec.canonical,
        head=head,
        releases=mirror.releases(),
        missing=() if whole else ("only a part of it is selected",),
        green=True,
        unusual=unusual,
        asked=settings.promote,
    )
    if not found.eligible:
        raise OptionError(
            f"there is nothing to reseed by this run: {found.reason}",
            where=str(spec.file),
            advice="ccci reseed with the recipe's folder: a whole cold run of its latest release",
        )


@dataclass(frozen=True)
class CanonicalView:
    """A canonical. ``release`` is empty where there is no known-good; ``problem`` says why it cannot be used.

    ``kept``: the releases of all known-goods that are kept, newest first.
    """

    recipe: str
    directory: Path
    release: str = ""
    commit: str = ""
    snapshot_id: str = ""
    domain: str = ""
    since: str = ""
    drifted: bool = False
    problem: str = ""
    kept: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is a known-good that can be used."""
        return bool(self.release) and not self.problem


@dataclass(frozen=True)
class SnapshotView:
    """The known-good's snapshot."""

    snapshot_id: str
    directory: Path
    volumes: tuple[str, ...]
    files: int
    size: int
    _store: CanonicalStore

    def verify(self) -> tuple[Any, ...]:
        """How it differs from its manifest, every content read anew; empty when it does not."""
        return self._store.verify(read_data=True)


def load_canonical(state: StateDir, recipe: str) -> CanonicalView:
    """The canonical of ``recipe`` as it is on disk now."""
    folder = state.canonical(recipe)
    if not folder.is_dir():
        return CanonicalView(recipe, folder)
    now = CanonicalStore(folder, recipe).state()
    record = now.record
    return CanonicalView(
        recipe,
        folder,
        release=record.release if record else "",
        commit=record.commit if record else "",
        snapshot_id=record.snapshot_id if record else "",
        domain=record.domain if record else "",
        since=record.since if record else "",
        drifted=now.drift,
        problem=now.quarantined or "",
        kept=tuple(good.release for good in (record.all_goods if record else ())),
    )


def load_snapshot(state: StateDir, recipe: str) -> SnapshotView | None:
    """The known-good's snapshot, or ``None`` where there is none."""
    folder = state.canonical(recipe)
    if not (folder / "canonical.json").is_file():
        return None
    store = CanonicalStore(folder, recipe)
    try:
        record = store.record()
    except StoreDamaged:
        return None
    if record is None:
        return None
    paths = store.layout.snapshot(record.snapshot_id)
    return SnapshotView(record.snapshot_id, paths.volumes, record.volumes, record.files, record.size, store)
