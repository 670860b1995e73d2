"""A quick run: the canonical from its known-good to head, and back if head is bad. It never promotes."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_ccci.errors import CcciError, DataLost, InfrastructureFault, Refused, StoreDamaged
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.results.model import KnownGoodChange
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.flow import Steps
from pytest_ccci.run.host import outage
from pytest_ccci.run.known_good import chosen
from pytest_ccci.run.plan import Plan
from pytest_ccci.run.promotion import known_good_now, sentinel_memory
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import KnownGood
from pytest_ccci.warm.alerts import Alert, AlertKind, write_alert

__all__ = ["QuickFlow"]


@dataclass
class QuickFlow:
    """The tiers of a quick run. The canonical's lock is held since it was planned."""

    context: RunContext
    plan: Plan
    store: CanonicalStore
    steps: Steps = field(init=False)
    before: str = ""

    def begin(self) -> None:
        """Put the known-good that is asked for into the live volumes where they are not it; lease the realm."""
        context, release = self.context, self.release
        stage = context.stage(canonical_domain(context.spec.name, context.settings.zone), store=self.store)
        state = self.store.state()
        if state.drift or self.earlier:
            why = f"drifted ({state.why_drifted})" if state.drift else "at the newest known-good"
            context.tell(
                f"canonical: {why}, restoring {f'the known-good of {release}' if release else 'the known-good'}"
            )
            with context.diary.step("reset drift"):
                self.store.restore(stopped=stage.require_stopped, tell=context.tell, release=release)
        self.before = self.store.fingerprint()
        stage.secrets.update(self.store.secrets(release=release))
        stage.lease = context.lease_for(stage)
        self.steps = Steps(stage, context.sentinels, context.head, memory=sentinel_memory(self.store, release))
        self.store.mark_drifted(context.run_id, f"quick run {context.run_id}")

    @property
    def release(self) -> str:
        """The release of the known-good that was asked for; empty for the newest."""
        return self.context.settings.base

    @property
    def earlier(self) -> bool:
        """Whether it is an earlier one than the newest."""
        return self._good(self.release).snapshot_id != self._good("").snapshot_id

    def install(self) -> dict[str, str]:
        """Deploy the known-good over its kept data, and see that the data is there."""
        good = self._good(self.release)
        facts = self.steps.come_up(self.context.mirror.resolve(good.commit), doing="known-good")
        self.steps.check(after="on the kept data")
        return facts

    def upgrade(self) -> dict[str, str]:
        """Bring head up in place."""
        return self.steps.upgrade(stateful=True)

    def backup(self) -> dict[str, str]:
        """Not part of a quick run."""
        raise Refused("a quick run does not test backup: cold does")

    def restore(self) -> dict[str, str]:
        """Not part of a quick run."""
        raise Refused("a quick run does not test restore: cold does")

    def settle(self, *, green: bool, why_red: str, whole: bool) -> tuple[dict[str, str], KnownGoodChange]:
        """Green: undeploy and keep the volumes. Else: back to the known-good, and prove it."""
        del why_red, whole  # a quick run never promotes, whatever it was
        context, stage = self.context, self.steps.stage
        problem = stage.window_problem() if green else None
        if green and problem is None:
            context.leave(stage)
            context.disown(stage)
            return self._unchanged()
        stage.undeploy()
        try:
            facts = self._restore_and_prove()
        except CcciError as error:
            if isinstance(error, InfrastructureFault) and not isinstance(error, StoreDamaged):
                raise  # nothing can be proved now; the volumes are marked, so that the next run restores them first
            if outage(context.machine, keycloak=bool(context.leases)):
                raise  # the same: it looks like the known-good's fault, and is not
            self._quarantine(error)
            raise
        context.disown(stage)
        if problem is not None:
            raise problem
        unchanged, change = self._unchanged()
        return {**unchanged, **facts}, change.model_copy(
            update={"action": "restored-and-proved", "reason": "restored from the snapshot, came up, sentinels there"}
        )

    def _restore_and_prove(self) -> dict[str, str]:
        context, stage = self.context, self.steps.stage
        with context.diary.step("restore known-good"):
            report = self.store.restore(stopped=stage.require_stopped, tell=context.tell)
        record = self._good("")
        stage.secrets.clear()
        stage.secrets.update(self.store.secrets())
        self.steps.memory = sentinel_memory(self.store)
        context.tell(f"proving the restored known-good {record.release}")
        self.store.mark_drifted(context.run_id, "proof of the restore")
        self.steps.come_up(context.mirror.resolve(record.commit), doing="prove")
        self.steps.check(after="after the restore of the known-good")
        stage.undeploy()
        context.give_back(stage.lease)
        return {
            "restored": f"{report.files} files, {report.size} bytes in {report.seconds:.2f} s by {report.backend}",
            "verified": "against the manifest" if report.verified else "no",
            "proved": f"{record.release} came up on the restored data, sentinels there",
        }

    def _unchanged(self) -> tuple[dict[str, str], KnownGoodChange]:
        """Prove that record and snapshot are what they were."""
        after = self.store.fingerprint()
        if after != self.before:
            raise DataLost("the known-good changed during a quick run", seen=f"{self.before[:12]} → {after[:12]}")
        facts = {"known-good": f"byte-identical ({after[:12]})"}
        if self.earlier:
            changed = self.store.verify(read_data=False, release=self.release)
            if changed:
                raise DataLost(f"the kept known-good of {self.release} changed during the run", seen=str(changed[0]))
            facts["base"] = f"the kept known-good of {self.release} matches its manifest"
        return facts, known_good_now(
            self.context, reason="a quick run never promotes; record and snapshot are byte-identical"
        )

    def _good(self, release: str) -> KnownGood:
        good = chosen(self.store.record(), release)
        if good is None:
            raise StoreDamaged("the known-good is gone", where=str(self.store.layout.root))
        return good

    def _quarantine(self, error: CcciError) -> None:
        context = self.context
        self.store.quarantine(f"the restore could not be proved: {error}")
        alert = Alert(
            AlertKind.QUARANTINED,
            context.spec.name,
            attempted=context.head.version,
            recovered=False,
            notes=str(error),
            run_id=context.run_id,
        )
        try:
            write_alert(context.state, alert)
        except OSError as unwritten:
            context.warnings.append(f"the alert of the quarantine could not be written: {unwritten}")
        context.warnings.append("the canonical is quarantined: its restore could not be proved")
