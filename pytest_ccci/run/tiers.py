"""The tiers of a run: methods of its class, each performed once; whatever happens becomes a verdict with its reason."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from pytest_ccci.engine.containers import collect_evidence
from pytest_ccci.errors import CcciError, Refused, UsageError, Verdict
from pytest_ccci.progress import StepLine
from pytest_ccci.results.model import CoveredPath, CustomTest, Evidence, KnownGoodChange, TierResult
from pytest_ccci.results.verdict import run_verdict
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.host import blamed, outage
from pytest_ccci.run.known_good import known_good_now
from pytest_ccci.run.promotion import coverage_of, covered_paths
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import os_fault
from pytest_ccci.waiting import Stopwatch

__all__ = ["Record", "Run", "Tier", "UnopenedRun", "interrupted_by", "tier"]

_LOG = logging.getLogger(__name__)

Act = Callable[[Any], dict[str, str]]
ActT = TypeVar("ActT", bound=Act)

_CAME_TO = {
    Verdict.FAIL: "failed",
    Verdict.ERROR: "ended with an error",
    Verdict.UNVERIFIED: "is unverified",
}


@dataclass(frozen=True)
class Tier:
    """A tier of a run: its name, the tier that must not have failed before it, and the method that performs it.

    ``always``: it is performed whatever happened before.
    """

    name: str
    needs: str
    always: bool
    act: Act


def tier(name: str, *, needs: str = "", always: bool = False) -> Callable[[ActT], ActT]:
    """Mark a method of a `Run` as the tier ``name``. It returns the tier's facts as text.

    Example:
        >>> class TwoTiers(Run):
        ...     @tier("install")
        ...     def install(self): ...
        ...
        ...     @tier("upgrade", needs="install")
        ...     def upgrade(self): ...
    """

    def mark(act: ActT) -> ActT:
        act.__dict__["tier"] = Tier(name, needs, always, act)
        return act

    return mark


@dataclass
class Record:
    """What was performed in a run so far: its tiers by name, and the author's tests in their order.

    ``blocked``: of tiers that could not be performed, what blocked them.
    """

    tiers: dict[str, TierResult] = field(default_factory=dict)
    custom: list[CustomTest] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)

    def in_order(self) -> tuple[TierResult, ...]:
        """All tiers that were performed, settle last."""
        return tuple(sorted(self.tiers.values(), key=lambda result: result.tier == "settle"))

    def blocker(self, name: str) -> str:
        """Why nothing can build on the tier ``name``, in three words; empty when it passed or did not apply.

        A tier that was itself blocked hands on what blocked it: the first cause is named, and only once.
        """
        result = self.tiers.get(name)
        if result is None or result.verdict in {Verdict.PASS, Verdict.SKIP}:
            return ""
        return self.blocked.get(name) or f"{name} {_CAME_TO[result.verdict]}"

    def unreached(self, name: str, why: str) -> None:
        """Record that the tier ``name`` was asked for and never reached."""
        self.tiers[name] = TierResult(tier=name, verdict=Verdict.UNVERIFIED, reason=f"not reached: {why}")

    def interrupted(self, name: str, why: str) -> None:
        """Record that the tier ``name`` was interrupted before it began."""
        self.tiers[name] = TierResult(tier=name, verdict=Verdict.ERROR, reason=f"interrupted: {why}")

    def so_far(self) -> tuple[Verdict, str]:
        """The verdict as it would be if settle passed, and why it is not green."""
        before = tuple(result for result in self.in_order() if result.tier != "settle")
        return run_verdict((*before, TierResult(tier="settle", verdict=Verdict.PASS)), self.custom)


class Run:
    """One test of one recipe in one mode. Its methods marked with `tier` are its tiers, in the order they stand in.

    ``context`` is what the run holds of the host, ``app`` the app it deploys, ``kept`` the canonical's store where the
    mode has one. Nothing that `perform` does raises for a fault of the recipe or of the machine. ``missing`` is what
    the run has not shown of all that the recipe's folder holds: unless it is empty, nothing is promoted. ``opening`` is
    the time since the run began to be opened and the number of steps before that: they belong to its first tier.
    """

    app: Deployment
    kept: CanonicalStore | None = None

    def __init__(self, context: RunContext, record: Record) -> None:
        self.context = context
        self.record = record
        self.missing: tuple[str, ...] = ("nobody said what the recipe's folder holds",)
        self.cut_off = ""
        self.opening: tuple[Stopwatch, int] | None = None
        self.known_good = KnownGoodChange()
        self.coverage: tuple[CoveredPath, ...] = ()

    @classmethod
    def tiers(cls) -> dict[str, Tier]:
        """The tiers of this kind of run by name, in order."""
        marked = (vars(member).get("tier") for member in vars(cls).values() if callable(member))
        return {one.name: one for one in marked if isinstance(one, Tier)}

    def perform(self, name: str) -> TierResult:
        """Perform what the tier ``name`` needs, then the tier, each once; its result, whatever happened.

        Raises:
            KeyboardInterrupt: somebody asked to stop meanwhile (SystemExit likewise); the tier is recorded as that.
        """
        if name not in self.record.tiers:
            wanted = self.tiers()[name]
            blocked = self._blocked(wanted)
            self.cut_off = name
            self._perform(wanted, blocked=blocked)
            self.cut_off = ""
            if wanted.always:
                self._after_all(self.record.tiers[name])
        return self.record.tiers[name]

    def so_far(self) -> tuple[bool, str]:
        """Whether the run is green if settle passes, and why it is not."""
        verdict, why = self.record.so_far()
        stopped = self.context.interrupted
        return verdict == Verdict.PASS and not stopped, why or f"interrupted: {stopped}"

    def over(self) -> str:
        """Why no tier may begin any more; empty while one may. After settle, nobody would put back what it deploys."""
        if "settle" in self.record.tiers:
            return "the run has settled already"
        return f"interrupted: {self.context.interrupted}" if self.context.interrupted else ""

    # -- inside

    def _blocked(self, wanted: Tier) -> str:
        """What blocks ``wanted``, after what it needs was performed; empty when nothing does."""
        if wanted.always or self.over():
            return "" if wanted.always else self.over()
        if not wanted.needs:
            return ""
        self.perform(wanted.needs)
        return self.record.blocker(wanted.needs)

    def _perform(self, wanted: Tier, *, blocked: str) -> None:
        watch, first = self.opening or (Stopwatch(), len(self.context.diary.steps))
        self.opening = None

        def keep(
            verdict: Verdict, reason: str, facts: Mapping[str, str] | None = None, evidence: tuple[Evidence, ...] = ()
        ) -> None:
            self.record.tiers[wanted.name] = TierResult(
                tier=wanted.name,
                verdict=verdict,
                seconds=round(watch.seconds, 3),
                reason=reason,
                facts=dict(facts or {}),
                steps=tuple(self.context.diary.steps[first:]),
                evidence=evidence,
            )
            self.context.diary.note(f"tier {wanted.name}", verdict=str(verdict), reason=reason, facts=facts or {})

        if blocked:
            self.record.blocked[wanted.name] = blocked
            keep(Verdict.UNVERIFIED, f"blocked: {blocked}")
            return
        try:
            keep(*self._judge(wanted))
        except BaseException as error:
            self.context.interrupted = self.context.interrupted or interrupted_by(error)
            if wanted.name not in self.record.tiers:
                keep(Verdict.ERROR, f"interrupted: {self.context.interrupted}")
            raise

    def _judge(self, wanted: Tier) -> tuple[Verdict, str, dict[str, str], tuple[Evidence, ...]]:
        """Perform ``wanted``: its verdict, reason, facts and evidence.

        Raises:
            KeyboardInterrupt: somebody asked to stop meanwhile. SystemExit likewise.
        """
        facts: dict[str, str] = {}
        evidence: tuple[Evidence, ...] = ()
        _LOG.info(StepLine(f"{wanted.name} …"))
        try:
            facts = self._act(wanted)
            verdict, reason = Verdict.PASS, ""
        except CcciError as error:
            verdict, reason = self._judged(error)
        except OSError as error:
            verdict, reason = Verdict.ERROR, os_fault(error, wanted.name, self.context.diary.path).reason()
            evidence = (Evidence(title="traceback", text=traceback.format_exc()),)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it is ours and must not pass for the recipe's fault
            verdict, reason = Verdict.ERROR, f"internal error: {type(error).__name__}: {error}"
            evidence = (Evidence(title="traceback", text=traceback.format_exc()),)
        if self.context.interrupted and not wanted.always:
            # The request to stop was swallowed somewhere below, or what failed failed because of it.
            verdict, reason = Verdict.ERROR, f"interrupted: {self.context.interrupted}"
        elif verdict in {Verdict.FAIL, Verdict.ERROR}:
            evidence = (*evidence, *self._evidence())
        return verdict, reason, facts, evidence

    def _act(self, wanted: Tier) -> dict[str, str]:
        if wanted.always:
            return wanted.act(self)
        self.check_applicable(wanted.name)
        facts = wanted.act(self)
        deployed = self.app.last
        if deployed is not None:
            self.coverage = covered_paths(coverage_of(self.context, deployed.compose, stack=deployed.stack))
        return facts

    def check_applicable(self, name: str) -> None:
        """Raise when the tier ``name`` does not apply to this run, with the reason.

        Raises:
            Refused: it does not apply.
        """
        plan = self.context.plan
        waived = self.context.spec.waived(name)
        if waived:
            raise Refused(f"not applicable: {waived}")
        if plan is not None and name == "upgrade" and plan.base is None:
            raise Refused(plan.no_upgrade)

    def _judged(self, error: CcciError) -> tuple[Verdict, str]:
        """The verdict of a fault. What goes wrong while the machine itself is down is not the recipe's."""
        verdict, machine = _verdict_of(error), self.context.machine_or_none
        down = outage(machine, keycloak=bool(self.context.leases)) if verdict == Verdict.FAIL and machine else None
        return (Verdict.ERROR, blamed(down, error.reason())) if down else (verdict, error.reason())

    def _evidence(self) -> tuple[Evidence, ...]:
        machine = self.context.machine_or_none
        if machine is None:
            return ()
        sections = [row for owned in self.context.owned for row in collect_evidence(machine.engine, owned.stack)]
        return tuple(Evidence(title=title, text=text) for title, text in sections)

    def _after_all(self, settled: TierResult) -> None:
        """Remove what is still deployed where settle did not end well; let the record tell an interruption."""
        if settled.verdict != Verdict.PASS:
            self.context.take_down()
            if self.known_good.action == "none":
                self.known_good = self._known_good_after_failure()
        self._tell_interruption(settled)

    def _tell_interruption(self, settled: TierResult) -> None:
        """Let settle carry the interruption where no other tier does: the record neither passes nor blames the recipe.

        A request that came after the known-good was replaced changes nothing: all was performed by then.
        """
        stopped = self.context.interrupted
        if not stopped or self.known_good.action in {"promoted", "seeded"}:
            return
        reason = f"interrupted: {stopped}; {settled.reason or 'everything was put back'}"
        told = self.record.so_far()[0] in {Verdict.FAIL, Verdict.ERROR}
        if settled.verdict == Verdict.FAIL or (settled.verdict == Verdict.PASS and not told):
            told_as = settled.model_copy(update={"verdict": Verdict.ERROR, "reason": reason})
            self.record.tiers[settled.tier] = told_as

    def _known_good_after_failure(self) -> KnownGoodChange:
        """What became of the known-good when settle failed, in one line: its reason is told as the tier's."""
        recipe = self.context.spec.name
        action, reason = "failed" if self.context.promoting else "unchanged", "settle did not end well"
        try:
            folder = self.context.state.canonical(recipe)
            state = CanonicalStore(folder, recipe).state() if folder.is_dir() else None
            if state and state.quarantined:
                action, reason = "quarantined", state.quarantined.partition("\n")[0]
            elif state and state.drift:
                reason = f"{reason}; the kept volumes are restored from it before their next use"
            return known_good_now(self.context, action=action, reason=reason)
        except (CcciError, OSError) as error:
            return KnownGoodChange(action=action if action == "quarantined" else "failed", reason=str(error))


class UnopenedRun(Run):
    """A run that could not be opened, or that nobody needed open: nothing is deployed, and each tier says why."""

    def __init__(self, context: RunContext, record: Record, problem: CcciError | None = None) -> None:
        super().__init__(context, record)
        self.problem = problem or Refused("the run was settled before anything of it was opened")

    def refuse(self) -> NoReturn:
        """Raise why the run is not open."""
        raise self.problem

    @tier("install")
    def install(self) -> dict[str, str]:
        """Nothing can be installed."""
        self.refuse()

    @tier("upgrade", needs="install")
    def upgrade(self) -> dict[str, str]:
        """Nothing can be upgraded."""
        self.refuse()

    @tier("backup", needs="upgrade")
    def backup(self) -> dict[str, str]:
        """Nothing can be backed up."""
        self.refuse()

    @tier("restore", needs="backup")
    def restore(self) -> dict[str, str]:
        """Nothing can be restored."""
        self.refuse()

    @tier("settle", always=True)
    def settle(self) -> dict[str, str]:
        """Nothing was deployed, so that nothing is left."""
        return {"left": "nothing was deployed"}


def interrupted_by(error: BaseException) -> str:
    """What a request to stop is called in a reason: the signal, where it was one of the signals that we take over."""
    signal = str(error).partition(":")[0].strip() if isinstance(error, KeyboardInterrupt) else ""
    return signal or type(error).__name__


def _verdict_of(error: CcciError) -> Verdict:
    if isinstance(error, Refused):
        return Verdict.SKIP
    # What the author wrote (a template, a secret's name) can turn out wrong only now: theirs, not the machine's.
    return Verdict.FAIL if isinstance(error, UsageError) else error.verdict
