"""The book of a run's tiers: each is performed once; whatever happens becomes a verdict with reason and evidence."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from pytest_ccci.engine.containers import collect_evidence
from pytest_ccci.errors import CcciError, Refused, UsageError, Verdict
from pytest_ccci.results.model import Evidence, TierResult
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.host import blamed, outage
from pytest_ccci.store.fs import os_fault
from pytest_ccci.waiting import Stopwatch

__all__ = ["NEEDS", "ORDER", "TierBook"]

ORDER = ("install", "upgrade", "backup", "restore", "settle")
NEEDS = {"upgrade": "install", "backup": "upgrade", "restore": "backup"}
"""What must have been done, and not have failed, before a tier."""


class TierBook:
    """Results by tier, in the order they came about."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.results: dict[str, TierResult] = {}

    def in_order(self) -> tuple[TierResult, ...]:
        """All results, in the order of the tiers."""
        return tuple(self.results[tier] for tier in ORDER if tier in self.results)

    def require_applicable(self, tier: str) -> None:
        """Raise when the tier does not apply to this run, with the reason.

        Raises:
            Refused: it does not apply.
        """
        plan = self.context.plan
        waived = self.context.spec.waived(tier)
        if waived:
            raise Refused(f"not applicable: {waived}")
        if plan is not None and tier == "upgrade" and plan.base is None:
            raise Refused(plan.no_upgrade)

    def perform(self, tier: str, act: Callable[[], dict[str, str]], *, blocked: str) -> TierResult:
        """Perform ``act`` as ``tier``, unless it is ``blocked``, and keep what came of it."""
        watch, first = Stopwatch(), len(self.context.diary.steps)
        facts: dict[str, str] = {}
        evidence: tuple[Evidence, ...] = ()
        if blocked:
            verdict, reason = Verdict.UNVERIFIED, blocked if blocked.startswith("blocked") else f"blocked by {blocked}"
        else:
            self.context.tell(f"{tier} …")
            try:
                facts = act()
                verdict, reason = Verdict.PASS, ""
            except CcciError as error:
                verdict, reason = self._judged(error)
            except OSError as error:
                verdict, reason = Verdict.ERROR, str(os_fault(error, tier, self.context.diary.path))
                evidence = (Evidence(title="traceback", text=traceback.format_exc()),)
            except Exception as error:  # noqa: BLE001  whatever it is, it is ours and must not pass for the recipe's fault
                verdict, reason = Verdict.ERROR, f"internal error: {type(error).__name__}: {error}"
                evidence = (Evidence(title="traceback", text=traceback.format_exc()),)
            if verdict in {Verdict.FAIL, Verdict.ERROR}:
                evidence = (*evidence, *self._evidence())
        result = TierResult(
            tier=tier,
            verdict=verdict,
            seconds=round(watch.seconds, 3),
            reason=reason,
            facts=facts,
            steps=tuple(self.context.diary.steps[first:]),
            evidence=evidence,
        )
        self.results[tier] = result
        self.context.diary.note(f"tier {tier}", verdict=str(verdict), reason=reason, facts=facts)
        return result

    def _judged(self, error: CcciError) -> tuple[Verdict, str]:
        """The verdict of a fault. What goes wrong while the machine itself is down is not the recipe's."""
        verdict, machine = _verdict_of(error), self.context.machine_or_none
        down = outage(machine, keycloak=bool(self.context.leases)) if verdict == Verdict.FAIL and machine else None
        return (Verdict.ERROR, blamed(down, str(error))) if down else (verdict, str(error))

    def _evidence(self) -> tuple[Evidence, ...]:
        machine = self.context.machine_or_none
        if machine is None:
            return ()
        sections = [row for owned in self.context.owned for row in collect_evidence(machine.engine, owned.stack)]
        return tuple(Evidence(title=title, text=text) for title, text in sections)


def _verdict_of(error: CcciError) -> Verdict:
    if isinstance(error, Refused):
        return Verdict.SKIP
    # What the author wrote (a template, a secret's name) can turn out wrong only now: theirs, not the machine's.
    return Verdict.FAIL if isinstance(error, UsageError) else error.verdict
