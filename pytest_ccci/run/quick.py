"""A quick run: the canonical from its known-good to head, and back if head is bad. It never promotes."""

from __future__ import annotations

import logging

from pytest_ccci.engine.images import missing_images
from pytest_ccci.errors import CcciError, ImageMissing, ImageUnavailable, InfrastructureFault, Refused, StoreDamaged
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.results.model import IMAGES_AGAIN, KnownGoodChange
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.host import outage
from pytest_ccci.run.known_good import chosen, kept_census, known_good_now, sentinel_memory
from pytest_ccci.run.room import require_room
from pytest_ccci.run.tiers import Record, Run, tier
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import KnownGood
from pytest_ccci.warm.alerts import Alert, AlertKind, write_alert

__all__ = ["NOT_QUICK", "QuickRun"]

_LOG = logging.getLogger(__name__)

NOT_QUICK = {name: f"a quick run does not test {name}: cold does" for name in ("backup", "restore")}
"""Tiers that a quick run skips, and why."""


class QuickRun(Run):
    """Opt-in, never a gate. The canonical's lock is held since the mode was decided."""

    kept: CanonicalStore
    before = ""
    """The fingerprint of record and snapshots before anything was done."""

    def __init__(self, context: RunContext, record: Record, kept: CanonicalStore) -> None:
        super().__init__(context, record)
        self.kept = kept

    def begin(self) -> None:
        """Put the known-good that is asked for into the live volumes where they are not it; lease the realm."""
        context, release = self.context, self.release
        self.app = context.deployment(canonical_domain(context.spec.name, context.settings.zone), store=self.kept)
        versions = [context.mirror.resolve(self._good(release).commit), context.head]
        require_room(context, self.app, versions, fresh=False, store=self.kept)
        state = self.kept.state()
        if state.drift or self.earlier:
            why = f"drifted ({state.why_drifted})" if state.drift else "at the newest known-good"
            _LOG.info(f"canonical: {why}, restoring {f'the known-good of {release}' if release else 'the known-good'}")
            with context.diary.step("reset drift"):
                self.kept.restore(stopped=self.app.require_stopped, release=release)
        self.before = self.kept.fingerprint()
        self.app.secrets.update(self.kept.secrets(release=release))
        self.app.lease = context.lease_for(self.app)
        context.note_before()
        self.app.memory = sentinel_memory(self.kept, release)
        self.kept.mark_drifted(context.run_id, f"quick run {context.run_id}")

    @property
    def release(self) -> str:
        """The release of the known-good that was asked for; empty for the newest."""
        return self.context.settings.base

    @property
    def earlier(self) -> bool:
        """Whether it is an earlier one than the newest."""
        return self._good(self.release).snapshot_id != self._good("").snapshot_id

    @tier("install")
    def install(self) -> dict[str, str]:
        """Deploy the known-good over its kept data, and see that the data is there."""
        good = self._good(self.release)
        again = self._bring_images_back(good)
        facts = self.app.come_up(self.context.mirror.resolve(good.commit), doing="known-good")
        self.app.check_sentinels(after="on the kept data")
        held = kept_census(self.kept, self.release)
        return {**facts, **again, **(self.app.learn(held) if held else {})}

    @tier("upgrade", needs="install")
    def upgrade(self) -> dict[str, str]:
        """Bring head up in place."""
        return self.app.upgrade(stateful=True)

    @tier("backup", needs="upgrade")
    def backup(self) -> dict[str, str]:
        """Not part of a quick run."""
        raise Refused(NOT_QUICK["backup"])

    @tier("restore", needs="backup")
    def restore(self) -> dict[str, str]:
        """Not part of a quick run."""
        raise Refused(NOT_QUICK["restore"])

    @tier("settle", always=True)
    def settle(self) -> dict[str, str]:
        """Green: undeploy and keep the volumes. Else: back to the known-good, and prove it."""
        green, _ = self.so_far()
        problem = self.app.window_problem() if green else None
        if green and problem is None:
            return self._keep()
        facts = self._put_back()
        if problem is not None:
            raise problem
        return facts

    def _keep(self) -> dict[str, str]:
        self.context.remove_app(self.app)
        self.context.check_nothing_left(self.app, left=self.app.left())
        self.context.disown(self.app)
        facts, self.known_good = self._unchanged()
        return facts

    def _put_back(self) -> dict[str, str]:
        """Restore the known-good and prove it; where it cannot be proved, it is quarantined."""
        context = self.context
        self.app.undeploy()
        try:
            facts = self._restore_and_prove()
        except CcciError as error:
            if isinstance(error, InfrastructureFault) and not isinstance(error, StoreDamaged):
                raise  # nothing can be proved now; the volumes are marked, so that the next run restores them first
            if outage(context.open_machine(), keycloak=bool(context.leases)):
                raise  # the same: it looks like the known-good's fault, and is not
            self._quarantine(f"its restore could not be proved: {error}")
            raise
        context.check_nothing_left(self.app, left=self.app.left())
        context.disown(self.app)
        unchanged, change = self._unchanged()
        self.known_good = change.model_copy(
            update={"action": "restored-and-proved", "reason": "restored from the snapshot, came up, sentinels there"}
        )
        return {**unchanged, **facts}

    def _restore_and_prove(self) -> dict[str, str]:
        context = self.context
        with context.diary.step("restore known-good"):
            report = self.kept.restore(stopped=self.app.require_stopped)
        record = self._good("")
        self.app.secrets.clear()
        self.app.secrets.update(self.kept.secrets())
        self.app.memory = sentinel_memory(self.kept)
        if self.app.lease is not None and self.app.lease not in context.leases:
            self.app.lease = context.lease_for(self.app)  # it was given back by a settle that was cut off
        self._bring_images_back(record)
        _LOG.info(f"proving the restored known-good {record.release}")
        self.kept.mark_drifted(context.run_id, "proof of the restore")
        self.app.come_up(context.mirror.resolve(record.commit), doing="prove")
        self.app.check_sentinels(after="after the restore of the known-good")
        self.app.undeploy()
        context.give_back(self.app.lease)
        return {
            "restored": f"{report.files} files, {report.size} bytes in {report.seconds:.2f} s by {report.backend}",
            "verified": "against the manifest" if report.verified else "no",
            "proved": f"{record.release} came up on the restored data, sentinels there",
        }

    def _unchanged(self) -> tuple[dict[str, str], KnownGoodChange]:
        """Prove that record and snapshot are what they were.

        Raises:
            StoreDamaged: they are not. No recipe can reach them, so that none is blamed; the canonical is quarantined.
        """
        after = self.kept.fingerprint()
        if after != self.before:
            raise self._changed("the known-good", f"{self.before[:12]} → {after[:12]}")
        facts = {"known-good": f"byte-identical ({after[:12]})"}
        if self.earlier:
            changed = self.kept.verify(read_data=False, release=self.release)
            if changed:
                raise self._changed(f"the kept known-good of {self.release}", str(changed[0]))
            facts["base"] = f"the kept known-good of {self.release} matches its manifest"
        return facts, known_good_now(
            self.context, reason="a quick run never promotes; record and snapshot are byte-identical"
        )

    def _bring_images_back(self, good: KnownGood) -> dict[str, str]:
        """Have the known-good's images on the engine, where somebody removed them: undeployed, they look unused.

        Raises:
            ImageUnavailable: one cannot be had any more, which is no fault of the head that is tested.
        """
        machine = self.context.open_machine()
        gone = missing_images(machine.engine, good.images)
        if not gone:
            return {}
        _LOG.info(f"images of the known-good were removed by somebody else: {', '.join(gone)}")
        with self.context.diary.step("images again, removed by somebody else"):
            try:
                facts = machine.prepare(gone, before=good.images)
            except ImageMissing as error:
                raise ImageUnavailable(
                    "an image of the known-good was removed from the engine, and cannot be had again",
                    where=self.context.spec.name,
                    seen=str(error),
                    advice="load it with `docker load`, or make a new known-good: ccci reseed with the recipe's folder",
                ) from error
        moved = [fact.ref for fact in facts if fact.origin == "pulled" and fact.image_id != good.images[fact.ref]]
        if moved:
            self.context.warnings.append(
                f"the known-good runs of another image than it was made with: {', '.join(moved)} means another one now"
            )
        return {IMAGES_AGAIN: ", ".join(gone)}

    def _good(self, release: str) -> KnownGood:
        good = chosen(self.kept.record(), release)
        if good is None:
            raise StoreDamaged("the known-good is gone", where=str(self.kept.layout.root))
        return good

    def _changed(self, what: str, seen: str) -> StoreDamaged:
        """The fault of a known-good that changed while a run used it; quarantined, and an operator is alerted."""
        name = self.context.spec.name
        advice = f"see ccci verify {name}; then ccci restore {name}, or ccci reseed {name}"
        error = StoreDamaged(
            f"{what} changed during a quick run", where=str(self.kept.layout.root), seen=seen, advice=advice
        )
        self._quarantine(f"{error}")
        return error

    def _quarantine(self, why: str) -> None:
        context = self.context
        self.kept.quarantine(why)
        alert = Alert(
            AlertKind.QUARANTINED,
            context.spec.name,
            attempted=context.head.version,
            recovered=False,
            notes=why,
            run_id=context.run_id,
        )
        try:
            write_alert(context.state, alert)
        except OSError as unwritten:
            context.warnings.append(f"the alert of the quarantine could not be written: {unwritten}")
        first = why.partition("\n")[0]
        context.warnings.append(f"the canonical is quarantined: {first}")
