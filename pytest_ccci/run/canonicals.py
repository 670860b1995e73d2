"""A canonical brought up outside of a run: to plant data in a copy of it, and to look at what is kept in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.known_good import SENTINELS, open_store, sentinel_memory
from pytest_ccci.run.prepare import open_context
from pytest_ccci.run.sentinels import Memory
from pytest_ccci.settings import Settings
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs

__all__ = ["Planted", "check_planted", "plant_in_copy"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planted:
    """What a person wrote into the app, as the author's hook remembers it, and what is kept of all data then."""

    memories: tuple[Memory, ...]
    kept: dict[str, bytes]


def plant_in_copy(spec: RecipeSpec, settings: Settings, original: CanonicalStore, *, documents: int) -> Planted:
    """Make a canonical in the state directory of ``settings`` from ``original``'s known-good, with more data in it.

    A person writes ``documents`` documents through the app; the result is that canonical's known-good. ``original`` is
    only read.

    Raises:
        CcciError: the known-good does not come up, or its sentinels are not there.
    """
    record = original.record()
    if record is None:
        raise StoreDamaged("there is no known-good", where=str(original.layout.root))
    with _brought_up(spec, settings) as (context, app, store):
        volumes = original.layout.snapshot(record.snapshot_id).volumes
        store.backend.copy_tree(volumes, store.layout.live, fs=Fs(), only=record.volumes)
        app.secrets.update(original.secrets())
        _bring_up(context, app, store, sentinel_memory(original), doing="plant")
        memories = context.sentinels.plant(app.handle, app.lease, documents)
        kept = _kept(context, app, app.memory, memories)
        statement = original.layout.snapshot(record.snapshot_id).coverage.read_text(encoding="utf-8")
        app.close_window()
        app.undeploy()
        snapshot = store.snapshot(
            volumes=record.volumes,
            secrets=app.secrets,
            coverage={"copied": statement, SENTINELS: dict(app.memory)},
            stopped=app.require_stopped,
        )
        store.promote(
            snapshot,
            release=record.release,
            commit=record.commit,
            domain=app.domain,
            run_id=context.run_id,
            images=record.images,
            app_version=record.app_version,
        )
        return Planted(memories, kept)


def check_planted(spec: RecipeSpec, settings: Settings, planted: Planted) -> dict[str, bytes]:
    """Bring the known-good's version up over the live volumes as they are, and look at what is kept in them.

    Raises:
        DataLost: a sentinel or a planted document is gone or changed, as the app shows it to the person.
    """
    with _brought_up(spec, settings) as (context, app, store):
        app.secrets.update(store.secrets())
        _bring_up(context, app, store, sentinel_memory(store), doing="look")
        for memory in planted.memories:
            context.sentinels.check(app.handle, app.lease, memory, after="after the rollback")
        return _kept(context, app, app.memory, planted.memories)


@contextmanager
def _brought_up(spec: RecipeSpec, settings: Settings) -> Iterator[tuple[RunContext, Deployment, CanonicalStore]]:
    """The canonical's app with its lock held; undeployed and all given back at the end, whatever happened."""
    context = open_context(spec, settings)
    try:
        context.take_slot()
        domain = canonical_domain(spec.name, settings.zone)
        context.lock_app(domain)
        store = open_store(context)
        app = context.deployment(domain, store=store)
        try:
            yield context, app, store
        finally:
            app.undeploy()
            context.give_back(app.lease)
            context.disown(app)
    finally:
        for problem in context.close():
            _LOG.warning(problem)


def _bring_up(context: RunContext, app: Deployment, store: CanonicalStore, memory: Memory, *, doing: str) -> None:
    store.mark_drifted(context.run_id, f"{doing}: brought up outside of a run")
    app.lease = context.lease_for(app)
    app.memory = memory
    app.come_up(context.head, doing=doing)
    app.check_sentinels(after="on the kept data")


def _kept(context: RunContext, app: Deployment, memory: Memory, planted: tuple[Memory, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for one in (memory, *planted):
        found |= context.sentinels.read_back(app.handle, app.lease, one)
    return found
