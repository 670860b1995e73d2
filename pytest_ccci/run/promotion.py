"""Replaces the known-good after a green cold run of the latest release; the old one stands until the new reads back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pytest_ccci.engine.deploy import Deployed
from pytest_ccci.engine.images import declared_volumes
from pytest_ccci.engine.objects import nodes_of
from pytest_ccci.errors import CanonicalRefused, CcciError, Interrupted, RecipeFault, StoreDamaged, Verdict
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.coverage import CoverageStatement, coverage
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.results.model import CoveredPath, KnownGoodChange
from pytest_ccci.run.census import Census
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.known_good import (
    COUNTED,
    LIVED_IN,
    SENTINELS,
    kept_census,
    known_good_now,
    lived_in,
    open_store,
    sentinel_memory,
)
from pytest_ccci.run.plan import PromotionKind, promotion_kind
from pytest_ccci.run.room import require_room
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import CanonicalRecord
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.warm.alerts import Alert, AlertKind, write_alert

__all__ = ["coverage_of", "covered_paths", "promote"]

_LOG = logging.getLogger(__name__)
_LIVES = 10
"""How often the author's tests write into one canonical: each time there is more in it."""


def coverage_of(context: RunContext, facts: ComposeFacts, *, stack: str) -> CoverageStatement:
    """The coverage statement of what is deployed as ``stack``."""
    engine = context.open_machine().engine
    declared = declared_volumes(engine, (service.image for service in facts.services.values()))
    return coverage(facts, disposable=context.spec.disposable, nodes=nodes_of(engine), stack=stack, declared=declared)


def covered_paths(statement: CoverageStatement) -> tuple[CoveredPath, ...]:
    """The statement as results tell it."""
    return tuple(CoveredPath(**asdict(path)) for path in statement.paths)


def promote(context: RunContext, compose: ComposeFacts, *, stack: str) -> KnownGoodChange:
    """Advance the canonical to head, or seed it fresh where there is none or a reseed was asked for; that is promoted.

    ``compose`` is what was deployed of head, as ``stack``: it says where data is kept.

    Raises:
        CanonicalRefused: it keeps data where no snapshot reaches.
        Interrupted: somebody asked to stop before the record was replaced; the old known-good is as it was.
        CcciError: it did not come up; the old known-good is as it was.
    """
    _check_coverage(context, compose, stack)
    _check_not_interrupted(context)
    domain = canonical_domain(context.spec.name, context.settings.zone)
    context.lock_app(domain)
    kept = open_store(context)
    state = kept.state()
    kind = promotion_kind(
        head=context.head.commit,
        known_good=state.record.commit if state.record else "",
        quarantined=bool(state.quarantined),
        reseed=context.settings.reseed,
    )
    if kind == "keep" and state.record is not None:
        return known_good_now(context, reason=f"{state.record.release} is the known-good already")
    context.promoting = True
    promotion = _Promotion(context, context.deployment(domain, store=kept), kept, kind, before=state.record)
    try:
        return promotion.perform()
    except BaseException as error:
        promotion.step_back()
        if not isinstance(error, Interrupted):
            promotion.alert(error)
        raise


@dataclass
class _Promotion:
    """One promotion: the canonical's app is brought to head, its volumes become a snapshot, the record names it."""

    context: RunContext
    app: Deployment
    kept: CanonicalStore
    kind: PromotionKind
    before: CanonicalRecord | None
    lives: int = 0

    def perform(self) -> KnownGoodChange:
        """Do all of it, in this order."""
        deployed = self._bring_to_head()
        self._live_in()
        self.app.close_window()
        counted = self.app.count()
        self.context.remove_app(self.app)
        snapshot = self._take_snapshot(deployed.compose, counted)
        _check_not_interrupted(self.context)
        record = self._replace_record(snapshot, images={fact.ref: fact.image_id for fact in deployed.images})
        self.context.disown(self.app)
        return KnownGoodChange(
            before=self.before.release if self.before else None,
            after=record.release,
            action="promoted" if self.kind == "advance" else "seeded",
            reason="green cold run of the latest release; re-read from disk",
            snapshot_before=self.before.snapshot_id if self.before else None,
            snapshot_after=record.snapshot_id,
        )

    def step_back(self) -> None:
        """After a failure: nothing stays deployed; the live volumes are drifted and reset before the next use."""
        try:
            self.app.undeploy()
            self.context.give_back(self.app.lease)
            self.context.disown(self.app)
        except CcciError as error:
            self.context.warnings.append(f"cleaning up after a failed promotion: {error}")

    def alert(self, error: BaseException) -> None:
        """Tell an operator that the promotion failed."""
        alert = Alert(
            AlertKind.PROMOTION_FAILED,
            self.context.spec.name,
            attempted=self.context.head.version,
            last_good=self.before.release if self.before else "",
            recovered=True,
            notes=str(error),
            run_id=self.context.run_id,
        )
        try:
            write_alert(self.context.state, alert)
        except OSError as unwritten:  # a full disk must not hide what went wrong before
            self.context.warnings.append(f"the alert of a failed promotion could not be written: {unwritten}")

    # -- the steps

    def _bring_to_head(self) -> Deployed:
        """Deploy head over the known-good's data, or over nothing, with its sentinels there."""
        if self.kind == "refuse":
            recipe = self.context.spec.name
            raise StoreDamaged(
                "the canonical is quarantined, so that it is not promoted",
                where=recipe,
                seen=self.kept.state().quarantined or "",
                advice=f"look into it, then 'ccci restore {recipe}', or 'ccci reseed' with the recipe's folder",
            )
        require_room(self.context, self.app, [self.context.head], fresh=False, store=self.kept)
        if self.kind == "seed":
            self._clear_volumes()
        else:
            self._fill_volumes()
        self.app.lease = self.context.lease_for(self.app)
        self.kept.mark_drifted(self.context.run_id, "promotion in progress")
        self.app.come_up(self.context.head, doing="promote")
        if self.kind == "advance":
            self.app.check_sentinels(after="after the canonical was brought to head")
            held = kept_census(self.kept)
            if held is not None:
                self.app.check_kept(held, "the promotion")
        if self.kind == "seed" or self.app.sentinels.unseeded(self.app.memory):
            self.app.seed()
        if self.app.last is None:
            raise StoreDamaged("nothing was deployed to take a snapshot of")
        return self.app.last

    def _live_in(self) -> None:
        """Let the author's tests use the app, so that the known-good holds what people do; not for ever.

        Raises:
            RecipeFault: one that passed on a fresh app fails here.
        """
        before = 0 if self.kind == "seed" else lived_in(self.kept)
        done = self.context.perform_tests(self.app, self.context.head) if before < _LIVES else None
        failed = [test for test in done.red if test.verdict == Verdict.FAIL] if done else []
        if failed:
            raise RecipeFault(
                f"{failed[0].nodeid.rpartition('/')[2]} passed on a fresh app, and fails on the kept one",
                where=self.app.domain,
                seen="; ".join(test.reason for test in failed),
                advice="a test must bear running again on data that it wrote before: let it make names of its own, or "
                "set on_base = false below [tests] in recipe.toml",
            )
        self.lives = before + (1 if done and done.tests else 0)

    def _clear_volumes(self) -> None:
        for line in self.kept.clear_the_way():
            _LOG.info(f"canonical: {line}")
        self.kept.reset_live()

    def _fill_volumes(self) -> None:
        """Have the known-good in the live volumes, with what its sentinels wrote."""
        self.app.secrets.update(self.kept.secrets())
        self.app.memory = sentinel_memory(self.kept)
        if self.kept.state().drift:
            self.kept.restore(stopped=self.app.require_stopped)

    def _take_snapshot(self, compose: ComposeFacts, counted: Census) -> Snapshot:
        statement = coverage_of(self.context, compose, stack=self.app.stack)
        paths = [{key: str(value) for key, value in asdict(path).items()} for path in statement.paths]
        with self.context.diary.step("snapshot"):
            return self.kept.snapshot(
                volumes=self.kept.live_volumes(),
                secrets=self.app.secrets,
                coverage={
                    "statement": paths,
                    SENTINELS: dict(self.app.memory),
                    COUNTED: counted.to_json(),
                    LIVED_IN: self.lives,
                },
                stopped=self.app.require_stopped,
            )

    def _replace_record(self, snapshot: Snapshot, *, images: Mapping[str, str]) -> CanonicalRecord:
        """Make ``snapshot`` the known-good; the record as it is on disk afterwards."""
        context, kept = self.context, self.kept
        release = context.head.release
        with context.diary.step("promote record"):
            keep = kept.keep_whole()
            with kept.damaged_record_aside():
                record = kept.promote(
                    snapshot,
                    release=release.tag if release else context.head.version,
                    commit=context.head.commit,
                    domain=self.app.domain,
                    run_id=context.run_id,
                    images=images,
                    app_version=release.app_half if release else "",
                    keep=keep,
                )
            if kept.record() != record:
                raise StoreDamaged("the record does not read back as it was written", where=str(kept.layout.record))
            if context.settings.reseed:
                kept.release_quarantine()
        return record


def _check_not_interrupted(context: RunContext) -> None:
    if context.interrupted:
        raise Interrupted(f"interrupted: {context.interrupted}", advice="nothing is promoted by an interrupted run")


def _check_coverage(context: RunContext, facts: ComposeFacts, stack: str) -> None:
    statement = coverage_of(context, facts, stack=stack)
    if not statement.complete:
        paths = "; ".join(f"{path.service}:{path.target} ({path.why})" for path in statement.blocking)
        raise CanonicalRefused(
            "the app keeps data where no snapshot reaches",
            where=str(context.spec.file),
            seen=paths,
            advice="use named volumes, declare it [[disposable]] with a reason, or set canonical = false",
        )
