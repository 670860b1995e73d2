"""Replaces the known-good after a green cold run of the latest release; the old one stands until the new reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pytest_ccci.engine.objects import nodes_of
from pytest_ccci.errors import CanonicalRefused, CcciError, StoreDamaged
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.coverage import CoverageStatement, coverage
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.results.model import CoveredPath, KnownGoodChange
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.flow import Steps
from pytest_ccci.run.known_good import chosen
from pytest_ccci.run.plan import Way, way_to_head
from pytest_ccci.run.sentinels import Memory
from pytest_ccci.run.stage import Stage
from pytest_ccci.store.canonical import CanonicalStore, clear_the_way, damaged_record_aside, keep_whole
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.record import CanonicalRecord
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.warm.alerts import Alert, AlertKind, write_alert

__all__ = ["SENTINELS", "coverage_of", "covered_paths", "known_good_now", "open_store", "promote", "sentinel_memory"]


def coverage_of(context: RunContext, facts: ComposeFacts, *, stack: str) -> CoverageStatement:
    """The coverage statement of what is deployed as ``stack``."""
    nodes = nodes_of(context.machine.engine)
    return coverage(facts, disposable=context.spec.disposable, nodes=nodes, stack=stack)


def covered_paths(statement: CoverageStatement) -> tuple[CoveredPath, ...]:
    """The statement as results tell it."""
    return tuple(CoveredPath(**asdict(path)) for path in statement.paths)


SENTINELS = "sentinels"
"""Under which name a snapshot's coverage statement keeps what the sentinels wrote."""


def open_store(context: RunContext) -> CanonicalStore:
    """The store of the recipe's canonical, recovered from whatever death cut off. The app's lock is held.

    It keeps as many known-goods as recipe.toml says.

    Raises:
        CanonicalRefused: the engine is not on this machine, so that volumes cannot live in our store.
    """
    if context.machine.engine.socket_path is None:
        raise CanonicalRefused("the engine is on another machine: its volumes cannot be kept and copied here")
    store = CanonicalStore(context.state.canonical(context.spec.name), context.spec.name, keep=context.spec.keep)
    for line in store.recover():
        context.tell(f"canonical: {line}")
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
    good = chosen(store.record(), release)
    if good is None:
        return {}
    raw: Any = json.loads(store.layout.snapshot(good.snapshot_id).coverage.read_text(encoding="utf-8"))
    return dict(raw.get(SENTINELS, {}))


def promote(context: RunContext, compose: ComposeFacts, *, stack: str) -> KnownGoodChange:
    """Advance the canonical to head, or seed it fresh where there is none or a reseed was asked for; that is promoted.

    ``compose`` is what was deployed of head, as ``stack``: it says where data is kept.

    Raises:
        CanonicalRefused: it keeps data where no snapshot reaches.
        CcciError: it did not come up; the old known-good is as it was.
    """
    _require_coverage(context, compose, stack)
    domain = canonical_domain(context.spec.name, context.settings.zone)
    context.lock_app(domain)
    store = open_store(context)
    state = store.state()
    way = way_to_head(
        head=context.head.commit,
        known_good=state.record.commit if state.record else "",
        quarantined=bool(state.quarantined),
        reseed=context.settings.reseed,
    )
    if way == "keep" and state.record is not None:
        return known_good_now(context, reason=f"{state.record.release} is the known-good already")
    context.promoting = True
    stage = context.stage(domain, store=store)
    try:
        return _advance(context, stage, store, way)
    except BaseException as error:
        _step_back(context, stage)
        _alert(context, state.record, error)
        raise


def _advance(context: RunContext, stage: Stage, store: CanonicalStore, way: Way) -> KnownGoodChange:
    before = store.state().record
    steps = _bring_to_head(context, stage, store, way)
    deployed = steps.base
    if deployed is None:
        raise StoreDamaged("nothing was deployed to take a snapshot of")
    stage.close_window()
    context.leave(stage)
    with context.diary.step("snapshot"):
        snapshot = store.snapshot(
            volumes=store.live_volumes(),
            secrets=stage.secrets,
            coverage={"statement": _statement(context, deployed.compose, stage.stack), SENTINELS: dict(steps.memory)},
            stopped=stage.require_stopped,
        )
    with context.diary.step("promote record"):
        record = _replace_record(context, stage, store, snapshot, images={f.ref: f.image_id for f in deployed.images})
    context.disown(stage)
    return KnownGoodChange(
        before=before.release if before else None,
        after=record.release,
        action="promoted" if way == "advance" else "seeded",
        reason="green cold run of the latest release; re-read from disk",
        snapshot_before=before.snapshot_id if before else None,
        snapshot_after=record.snapshot_id,
    )


def _bring_to_head(context: RunContext, stage: Stage, store: CanonicalStore, way: Way) -> Steps:
    """Deploy head over the known-good's data, or over nothing, with its sentinels there."""
    state = store.state()
    if way == "refuse":
        raise StoreDamaged(
            "the canonical is quarantined, so that it is not promoted",
            where=context.spec.name,
            seen=state.quarantined or "",
            advice=f"look into it, then 'ccci restore {context.spec.name}', or 'ccci reseed' with the recipe's folder",
        )
    steps = Steps(stage, context.sentinels, context.head)
    if way == "seed":
        for line in clear_the_way(store.layout, fs=Fs()):
            context.tell(f"canonical: {line}")
        store.reset_live()
    else:
        stage.secrets.update(store.secrets())
        steps.memory = sentinel_memory(store)
        if state.drift:
            store.restore(stopped=stage.require_stopped, tell=context.tell)
    stage.lease = context.lease_for(stage)
    store.mark_drifted(context.run_id, "promotion in progress")
    steps.come_up(context.head, doing="promote")
    if way == "advance":
        steps.check(after="after the canonical was brought to head")
    if way == "seed" or steps.sentinels.unseeded(steps.memory):
        steps.seed()
    return steps


def _replace_record(
    context: RunContext, stage: Stage, store: CanonicalStore, snapshot: Snapshot, *, images: Mapping[str, str]
) -> CanonicalRecord:
    """Make ``snapshot`` the known-good; the record as it is on disk afterwards."""
    release, fs = context.head.release, Fs()
    keep = keep_whole(store.layout, context.spec.keep, fs=fs)
    writer = store if keep == context.spec.keep else CanonicalStore(store.layout.root, store.recipe, keep=keep)
    with damaged_record_aside(store.layout, fs=fs):
        record = writer.promote(
            snapshot,
            release=release.tag if release else context.head.version,
            commit=context.head.commit,
            domain=stage.domain,
            run_id=context.run_id,
            images=images,
            app_version=release.app_half if release else "",
        )
    if store.record() != record:
        raise StoreDamaged("the record does not read back as it was written", where=str(store.layout.record))
    if context.settings.reseed:
        store.release_quarantine()
    return record


def _step_back(context: RunContext, stage: Stage) -> None:
    """After a failed promotion: nothing stays deployed; the live volumes are drifted and reset before the next use."""
    try:
        stage.undeploy()
        context.give_back(stage.lease)
        context.disown(stage)
    except CcciError as error:
        context.warnings.append(f"cleaning up after a failed promotion: {error}")


def _alert(context: RunContext, before: CanonicalRecord | None, error: BaseException) -> None:
    alert = Alert(
        AlertKind.PROMOTION_FAILED,
        context.spec.name,
        attempted=context.head.version,
        last_good=before.release if before else "",
        recovered=True,
        notes=str(error),
        run_id=context.run_id,
    )
    try:
        write_alert(context.state, alert)
    except OSError as unwritten:  # a full disk must not hide what went wrong before
        context.warnings.append(f"the alert of a failed promotion could not be written: {unwritten}")


def _require_coverage(context: RunContext, facts: ComposeFacts, stack: str) -> None:
    statement = coverage_of(context, facts, stack=stack)
    if not statement.complete:
        paths = "; ".join(f"{path.service}:{path.target} ({path.why})" for path in statement.blocking)
        raise CanonicalRefused(
            "the app keeps data where no snapshot reaches",
            where=str(context.spec.file),
            seen=paths,
            advice="use named volumes, declare it [[disposable]] with a reason, or set canonical = false",
        )


def _statement(context: RunContext, facts: ComposeFacts, stack: str) -> list[dict[str, str]]:
    return [
        {key: str(value) for key, value in asdict(path).items()}
        for path in coverage_of(context, facts, stack=stack).paths
    ]
