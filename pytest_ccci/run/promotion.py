"""Replaces the known-good after a green cold run of the latest release; the old one stands until the new reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pytest_ccci.errors import CanonicalRefused, CcciError, StoreDamaged
from pytest_ccci.recipe.coverage import coverage
from pytest_ccci.recipe.facts import ComposeFacts
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.results.model import KnownGoodChange
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.flow import Steps
from pytest_ccci.run.sentinels import Memory
from pytest_ccci.run.stage import Stage
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import CanonicalRecord
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.warm.alerts import Alert, AlertKind, write_alert

__all__ = ["known_good_now", "open_store", "promote", "sentinel_memory"]

_MEMORY = "sentinels"


def open_store(context: RunContext) -> CanonicalStore:
    """The store of the recipe's canonical, recovered from whatever death cut off. The app's lock is held.

    Raises:
        CanonicalRefused: the engine is not on this machine, so that volumes cannot live in our store.
    """
    if context.machine.engine.socket_path is None:
        raise CanonicalRefused("the engine is on another machine: its volumes cannot be kept and copied here")
    store = CanonicalStore(context.state.canonical(context.spec.name), context.spec.name)
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


def sentinel_memory(store: CanonicalStore) -> Memory:
    """What was written into the canonical when it was seeded, kept with the snapshot."""
    record = store.record()
    if record is None:
        return {}
    raw: Any = json.loads(store.layout.snapshot(record.snapshot_id).coverage.read_text(encoding="utf-8"))
    return dict(raw.get(_MEMORY, {}))


def promote(context: RunContext, compose: ComposeFacts) -> KnownGoodChange:
    """Advance the canonical to head, or seed it fresh where there is none, and make that the known-good.

    ``compose`` is what was deployed of head: it says where data is kept.

    Raises:
        CanonicalRefused: it keeps data where no snapshot reaches.
        CcciError: it did not come up; the old known-good is as it was.
    """
    _require_coverage(context, compose)
    domain = canonical_domain(context.spec.name, context.settings.zone)
    context.lock_app(domain)
    store = open_store(context)
    before = store.record()
    if before is not None and before.commit == context.head.commit and not store.state().quarantined:
        return known_good_now(context, reason=f"{before.release} is the known-good already")
    context.promoting = True
    stage = context.stage(domain, store=store)
    try:
        return _advance(context, stage, store)
    except BaseException as error:
        _step_back(context, stage)
        _alert(context, before, error)
        raise


def _advance(context: RunContext, stage: Stage, store: CanonicalStore) -> KnownGoodChange:
    before = store.record()
    steps = _bring_to_head(context, stage, store)
    deployed = steps.base
    if deployed is None:
        raise StoreDamaged("nothing was deployed to take a snapshot of")
    stage.close_window()
    context.leave(stage)
    with context.diary.step("snapshot"):
        snapshot = store.snapshot(
            volumes=store.live_volumes(),
            secrets=stage.secrets,
            coverage={"statement": _statement(context, deployed.compose), _MEMORY: dict(steps.memory)},
            stopped=stage.require_stopped,
        )
    with context.diary.step("promote record"):
        record = _replace_record(context, stage, store, snapshot, images={f.ref: f.image_id for f in deployed.images})
    context.disown(stage)
    return KnownGoodChange(
        before=before.release if before else None,
        after=record.release,
        action="promoted" if before else "seeded",
        reason="green cold run of the latest release; re-read from disk",
        snapshot_before=before.snapshot_id if before else None,
        snapshot_after=record.snapshot_id,
    )


def _bring_to_head(context: RunContext, stage: Stage, store: CanonicalStore) -> Steps:
    """Deploy head over the known-good's data, or over nothing where there is none, with its sentinels there."""
    state = store.state()
    if state.quarantined:
        raise StoreDamaged(
            "the canonical is quarantined, so that it is not promoted",
            where=context.spec.name,
            seen=state.quarantined,
            advice=f"look into it, then 'ccci restore {context.spec.name}'",
        )
    steps = Steps(stage, context.sentinels, context.head)
    if state.record is None:
        store.reset_live()
    else:
        stage.secrets.update(store.secrets())
        steps.memory = sentinel_memory(store)
        if state.drift:
            store.restore(stopped=stage.require_stopped, tell=context.tell)
    stage.lease = context.lease_for(stage)
    store.mark_drifted(context.run_id, "promotion in progress")
    steps.come_up(context.head, doing="promote")
    if state.record is not None:
        steps.check(after="after the canonical was brought to head")
    if state.record is None or steps.sentinels.unseeded(steps.memory):
        steps.seed()
    return steps


def _replace_record(
    context: RunContext, stage: Stage, store: CanonicalStore, snapshot: Snapshot, *, images: Mapping[str, str]
) -> CanonicalRecord:
    """Make ``snapshot`` the known-good; the record as it is on disk afterwards."""
    release = context.head.release
    record = store.promote(
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


def _require_coverage(context: RunContext, facts: ComposeFacts) -> None:
    statement = coverage(facts, disposable=context.spec.disposable)
    if not statement.complete:
        paths = "; ".join(f"{path.service}:{path.target} ({path.why})" for path in statement.blocking)
        raise CanonicalRefused(
            "the app keeps data where no snapshot reaches",
            where=str(context.spec.file),
            seen=paths,
            advice="use named volumes, declare it [[disposable]] with a reason, or set canonical = false",
        )


def _statement(context: RunContext, facts: ComposeFacts) -> list[dict[str, str]]:
    return [
        {key: str(value) for key, value in asdict(path).items()}
        for path in coverage(facts, disposable=context.spec.disposable).paths
    ]
