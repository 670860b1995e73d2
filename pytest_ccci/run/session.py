"""One run of one recipe, as the plugin drives it, and the result it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import CcciError, Verdict
from pytest_ccci.locks import Tell
from pytest_ccci.recipe.lint import Finding
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.spec import KeycloakNeed, RecipeSpec
from pytest_ccci.results.model import (
    CoveredPath,
    CustomTest,
    DisposablePlace,
    Evidence,
    ImageUse,
    KnownGoodChange,
    LintFinding,
    RefFact,
    RunResult,
    TierResult,
)
from pytest_ccci.results.verdict import custom_tier, run_verdict
from pytest_ccci.results.write import write_result
from pytest_ccci.run.app import App
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.host import blamed, outage
from pytest_ccci.run.known_good import (
    CanonicalView,
    SnapshotView,
    kept_goods,
    require_base,
    require_reseedable,
    view_canonical,
    view_snapshot,
)
from pytest_ccci.run.prepare import Flow, open_context, open_flow
from pytest_ccci.run.promotion import coverage_of, covered_paths, known_good_now
from pytest_ccci.run.run_dir import now_text
from pytest_ccci.run.tiers import NEEDS, TierBook
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import os_errors, os_fault
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["Fixtures", "RecipeRun", "head_fact", "open_run", "result_of"]


def head_fact(head: Head) -> RefFact:
    """A version as results tell it."""
    release = head.release.tag if head.release else None
    return RefFact(ref=head.ref, commit=head.commit, version=head.version, release=release, dirty=head.dirty)


def result_of(run: RecipeRun) -> RunResult:
    """The result of ``run``, from what its book and its author's tests say."""
    context = run.context
    tiers = _with_custom(run)
    verdict, _ = run_verdict(tiers, run.custom_tests)
    machine = context.machine_or_none
    used = tuple(
        ImageUse(ref=fact.ref, image_id=fact.image_id, digest=fact.digest, origin=fact.origin)
        for fact in (machine.used.values() if machine else ())
    )
    return RunResult(
        run_id=run.run_id,
        recipe=run.recipe,
        stand_in=context.spec.stand_in,
        requested_mode=run.requested_mode,
        mode=run.mode,
        mode_reason=run.mode_reason,
        verdict=verdict,
        base=run.base,
        head=run.head,
        domain=run.domain,
        started=run.started,
        seconds=round(context.diary.watch.seconds, 3),
        tiers=tiers,
        custom=tuple(run.custom_tests),
        known_good=run.known_good,
        coverage=run.coverage,
        disposable=tuple(DisposablePlace(place=each.names, reason=each.reason) for each in context.spec.disposable),
        images=used,
        engine=_engine(run),
        leftovers=(),
        findings=tuple(LintFinding(level=f.level, code=f.code, where=f.where, text=f.text) for f in run.findings),
        evidence=tuple(_journal(run)),
        warnings=tuple(context.warnings),
        reproduce=_reproduce(run),
        settings={name: f"{value} ({source})" for name, value, source in context.settings.shown()},
    )


def _with_custom(run: RecipeRun) -> tuple[TierResult, ...]:
    before = [tier for tier in run.book.in_order() if tier.tier != "settle"]
    after = [tier for tier in run.book.in_order() if tier.tier == "settle"]
    custom = [custom_tier(run.custom_tests)] if run.custom_tests or run.whole else []
    return (*before, *custom, *after)


def _engine(run: RecipeRun) -> dict[str, str]:
    machine = run.context.machine_or_none
    if machine is None:
        return {}
    facts = machine.engine.facts
    return {
        "version": facts.version,
        "api": facts.api_version,
        "cli": facts.cli_version,
        "storage": facts.storage,
        "private": str(facts.private).lower(),
        "vip": str(facts.vip).lower(),
    }


def _journal(run: RecipeRun) -> list[Evidence]:
    if all(tier.verdict in {"pass", "skip"} for tier in run.book.results.values()):
        return []
    path = run.context.diary.path / "journal.jsonl"
    return [Evidence(title="journal", text=f"every step of this run: {path}")]


def _reproduce(run: RecipeRun) -> str:
    """The command that does the same again: by full commit, since a ref may have moved on."""
    head = run.context.head
    ref = "tip" if head.dirty or head.ref == "tip" else head.commit
    base = run.context.settings.base
    more = f" --ccci-base {base}" if base else ""
    return f"pytest --{run.requested_mode} --ccci-ref {ref}{more} {run.context.spec.folder}"


def open_run(
    spec: RecipeSpec, settings: Settings, *, tiers_selected: frozenset[str], whole: bool, tell: Tell
) -> RecipeRun:
    """Open a run of ``spec``: find what head means. Nothing is locked, started or deployed yet.

    ``whole`` says that every tier and every author's test of the recipe is selected.

    Raises:
        UsageError: the state directory, the zone, the ref or recipe.toml cannot be used.
        InfrastructureFault: the state directory cannot take what a run keeps there; on a full disk DiskFull.
    """

    def require_possible(state: StateDir, head: Head, mirror: Mirror) -> None:
        if settings.reseed:
            require_reseedable(spec, settings, head, mirror, whole=whole)
        if settings.base:
            require_base(spec.name, settings, head, mirror, kept_goods(state, spec.name) if spec.canonical else ())

    context = open_context(spec, settings, tell=tell, check=require_possible)
    facts = {"head": context.head.commit, "mode": settings.mode, "selected": sorted(tiers_selected)}
    context.diary.note("open", recipe=spec.name, **facts)
    return RecipeRun(context, whole=whole)


@dataclass(frozen=True)
class Fixtures:
    """What the author's tests are given."""

    app: App
    realm: RealmLease | None
    canonical: CanonicalView
    snapshot: SnapshotView | None


class RecipeRun:
    """A run from the first tier to settle. Nothing it does raises for a fault of recipe or machine."""

    def __init__(self, context: RunContext, *, whole: bool) -> None:
        self.context = context
        self.whole = whole
        self.started = now_text()
        self.book = TierBook(context)
        self.custom_tests: list[CustomTest] = []
        self.known_good = KnownGoodChange()
        self.coverage: tuple[CoveredPath, ...] = ()
        self._flow: Flow | None = None
        self._begun: CcciError | None = None
        self._result: RunResult | None = None

    # -- what the plugin shows

    @property
    def run_id(self) -> str:
        """This run's id."""
        return self.context.run_id

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.context.spec.name

    @property
    def requested_mode(self) -> str:
        """The mode that was asked for."""
        return self.context.settings.mode

    @property
    def mode(self) -> str:
        """The mode that is really run, as far as it is decided."""
        return self.context.plan.mode if self.context.plan else self.context.settings.mode

    @property
    def mode_reason(self) -> str:
        """Why it is not the requested one; empty when it is."""
        return self.context.plan.mode_reason if self.context.plan else ""

    @property
    def head(self) -> RefFact:
        """What is tested."""
        return head_fact(self.context.head)

    @property
    def base(self) -> RefFact | None:
        """What is upgraded from."""
        plan = self.context.plan
        return head_fact(self.context.mirror.resolve(plan.base)) if plan and plan.base else None

    @property
    def results_path(self) -> Path:
        """Where results.json is written."""
        return self.context.diary.path / "results.json"

    @property
    def domain(self) -> str:
        """Where the app is deployed, once that is decided."""
        return self._flow.steps.stage.domain if self._flow else ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found wrong or risky in head, as far as it was looked at."""
        return self._flow.steps.stage.findings if self._flow else ()

    @property
    def secrets(self) -> frozenset[str]:
        """Values that must never be shown."""
        return frozenset(self.context.secrets)

    @property
    def fixtures(self) -> Fixtures:
        """App, realm, canonical and snapshot of this run."""
        stage = self._open().steps.stage
        spec, state = self.context.spec, self.context.state
        return Fixtures(stage.app, stage.lease, view_canonical(state, spec.name), view_snapshot(state, spec.name))

    # -- what it does

    def perform(self, tier: str) -> TierResult:
        """Do what ``tier`` needs, then the tier, each once; its result, whatever happened."""
        if tier == "settle":
            return self._settle(whole=self.whole)
        if tier not in self.book.results:
            blocked = self._blocked(tier)
            self.book.perform(tier, lambda: self._act(tier), blocked=blocked)
        return self.book.results[tier]

    def ready(self) -> str | None:
        """Bring head up for the author's tests; why that is blocked, or ``None``."""
        waived = self.context.spec.waived("custom")
        if waived:
            return f"not applicable: {waived}"
        result = self.perform("upgrade")
        if result.verdict not in {Verdict.PASS, Verdict.SKIP}:
            return f"upgrade: {result.reason}".partition("\n")[0]
        restored = self.book.results.get("restore")
        if restored is not None and restored.verdict in {Verdict.FAIL, Verdict.ERROR}:
            return f"restore left the app in an unknown state: {restored.reason}".partition("\n")[0]
        return None

    def custom(self, nodeid: str, verdict: Verdict, seconds: float, reason: str) -> None:
        """Record one of the author's tests. One that failed while the machine was down says nothing of the recipe."""
        machine = self.context.machine_or_none
        if verdict == Verdict.FAIL and machine is not None:
            down = outage(machine, keycloak=bool(self.context.leases))
            verdict, reason = (Verdict.ERROR, blamed(down, reason)) if down else (verdict, reason)
        self.custom_tests.append(CustomTest(nodeid=nodeid, verdict=verdict, seconds=round(seconds, 3), reason=reason))
        self.context.diary.note("custom", nodeid=nodeid, verdict=str(verdict), took=round(seconds, 3))

    def lease_realm(self) -> RealmLease:
        """A realm for a test that asks for one although recipe.toml does not."""
        stage = self._open().steps.stage
        if stage.lease is None:
            anywhere = KeycloakNeed(redirect_paths=("/*",))
            stage.lease = self.context.lease(stage.domain, anywhere, kept=stage.store is not None)
        return stage.lease

    def settle(self) -> TierResult:
        """Put everything back, as the last tier."""
        return self._settle(whole=self.whole)

    def close(self) -> RunResult:
        """Settle if that has not been done (then nothing is promoted), write the result, release everything.

        Raises:
            InfrastructureFault: the result cannot be written; all else is done.
        """
        if self._result is None:
            self._settle(whole=False)
            for problem in self.context.close():
                self.context.warnings.append(problem)
            if self.context.diary.unwritten is not None:
                lost = os_fault(self.context.diary.unwritten, "writing the journal", self.context.diary.path)
                self.context.warnings.append(str(lost))
            self._result = result_of(self)
            with os_errors("writing the result", where=self.results_path):
                write_result(self._result, self.results_path)
            self.context.diary.note("closed", verdict=str(self._result.verdict))
        return self._result

    # -- inside

    def _open(self) -> Flow:
        """The flow, begun once: locks, machine, lease. A fault is remembered and raised for whoever needs it."""
        if self._begun is not None:
            raise self._begun
        if self._flow is None:
            try:
                self._flow = open_flow(self.context)
            except CcciError as error:
                self._begun = error
                raise
        return self._flow

    def _blocked(self, tier: str) -> str:
        needed = NEEDS.get(tier)
        if needed is None:
            return ""
        result = self.perform(needed)
        if result.verdict in {Verdict.PASS, Verdict.SKIP}:
            return ""
        first = result.reason.partition("\n")[0]
        return f"{needed}: {first}" if result.verdict != Verdict.UNVERIFIED else first

    def _act(self, tier: str) -> dict[str, str]:
        flow = self._open()
        self.book.require_applicable(tier)
        acts = {"install": flow.install, "upgrade": flow.upgrade, "backup": flow.backup, "restore": flow.restore}
        facts = acts[tier]()
        deployed = flow.steps.base
        if deployed is not None:
            self.coverage = covered_paths(coverage_of(self.context, deployed.compose, stack=deployed.stack))
        return facts

    def _settle(self, *, whole: bool) -> TierResult:
        if "settle" not in self.book.results:
            verdict, why = self._so_far()
            green = verdict == Verdict.PASS
            self.book.perform("settle", lambda: self._put_back(green=green, why=why, whole=whole), blocked="")
            if self.book.results["settle"].verdict != Verdict.PASS:
                self.context.take_down()
                if self.known_good.action == "none":
                    self.known_good = self._known_good_after_failure()
        return self.book.results["settle"]

    def _so_far(self) -> tuple[Verdict, str]:
        """The verdict as it would be if settle passed."""
        assumed = TierResult(tier="settle", verdict=Verdict.PASS)
        return run_verdict((*self.book.in_order(), assumed), self.custom_tests)

    def _put_back(self, *, green: bool, why: str, whole: bool) -> dict[str, str]:
        if self._flow is None:
            return {"left": "nothing was deployed"}
        facts, self.known_good = self._flow.settle(green=green, why_red=why, whole=whole)
        return facts

    def _known_good_after_failure(self) -> KnownGoodChange:
        """What became of the known-good when settle failed, in one line: its reason is told as the tier's."""
        action, reason = "failed" if self.context.promoting else "unchanged", "settle did not end well"
        try:
            folder = self.context.state.canonical(self.recipe)
            state = CanonicalStore(folder, self.recipe).state() if folder.is_dir() else None
            if state and state.quarantined:
                action, reason = "quarantined", state.quarantined.partition("\n")[0]
            elif state and state.drift:
                reason = f"{reason}; the kept volumes are restored from it before their next use"
            return known_good_now(self.context, action=action, reason=reason)
        except (CcciError, OSError) as error:
            return KnownGoodChange(action=action if action == "quarantined" else "failed", reason=str(error))
