"""One run of one recipe, as the plugin drives it, and the result it ends with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import CcciError, Refused, Verdict
from pytest_ccci.recipe.lint import Finding
from pytest_ccci.recipe.repository import Head, Mirror, address_of
from pytest_ccci.recipe.spec import KeycloakNeed, RecipeSpec
from pytest_ccci.redact import without_secrets
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
from pytest_ccci.results.publish import publish
from pytest_ccci.results.verdict import ORDER, custom_tier, run_verdict
from pytest_ccci.results.write import write_result
from pytest_ccci.run.app import App
from pytest_ccci.run.attached import NO_TESTS, AuthorsTests
from pytest_ccci.run.context import RunContext, head_fact
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.host import blamed, outage
from pytest_ccci.run.known_good import (
    CanonicalView,
    SnapshotView,
    kept_goods,
    load_canonical,
    load_snapshot,
    require_base,
    require_reseedable,
)
from pytest_ccci.run.plan import Attempt, missing_for_promotion
from pytest_ccci.run.prepare import open_context, open_mode, require_release_base
from pytest_ccci.run.run_dir import now_text
from pytest_ccci.run.tiers import Record, Run, UnopenedRun, interrupted_by
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.fs import os_errors, os_fault
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.health import APPS
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["Fixtures", "RecipeRun", "open_run", "result_of"]


def result_of(run: RecipeRun) -> RunResult:
    """The result of ``run``, from what its book and its author's tests say."""
    context = run.context
    tiers = _with_custom(run)
    verdict, _ = run_verdict(tiers, run.record.custom)
    machine = context.machine_or_none
    used = tuple(
        ImageUse(ref=fact.ref, image_id=fact.image_id, digest=fact.digest, origin=fact.origin, size=fact.size)
        for fact in (machine.used.values() if machine else ())
    )
    return RunResult(
        run_id=run.run_id,
        recipe=run.recipe,
        stand_in=context.spec.stand_in,
        requested_mode=run.requested_mode,
        mode=run.mode,
        mode_reason=run.mode_reason,
        asked=run.asked,
        verdict=verdict,
        base=run.base,
        head=run.head,
        domain=run.domain,
        started=run.started,
        seconds=round(context.diary.watch.seconds, 3),
        tiers=tiers,
        custom=tuple(run.record.custom),
        known_good=run.known_good,
        coverage=run.coverage,
        disposable=tuple(DisposablePlace(place=each.names, reason=each.reason) for each in context.spec.disposable),
        images=used,
        engine=_engine(run),
        infra=_infra(run),
        leftovers=context.leftovers,
        findings=tuple(_finding(each) for each in run.findings),
        next_tag=run.next_tag,
        environment=run.environment,
        evidence=tuple(_journal(run)),
        warnings=tuple(context.warnings),
        kept_work=run.kept_work,
        reproduce=_reproduce(run),
        folder=str(context.spec.folder),
        source=address_of(context.spec.source),
        settings={name: f"{value} ({source})" for name, value, source in context.settings.shown()},
    )


def _finding(found: Finding) -> LintFinding:
    return LintFinding(
        level=found.level,
        code=found.code,
        where=found.where,
        text=found.text,
        file=found.file,
        line=found.line,
        why=found.why,
        mend=found.mend,
    )


def _with_custom(run: RecipeRun) -> tuple[TierResult, ...]:
    before = [tier for tier in run.record.in_order() if tier.tier != "settle"]
    after = [tier for tier in run.record.in_order() if tier.tier == "settle"]
    custom = [custom_tier(run.record.custom)] if run.record.custom or run.whole else []
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


def _infra(run: RecipeRun) -> dict[str, str]:
    """The release of each live-warm app of ours; none where it is somebody else's."""
    found: dict[str, str] = {}
    if run.context.machine_or_none is not None:
        for app in APPS:
            with suppress(CcciError):
                release = last_good(run.context.state, app).release
                found |= {app: release} if release else {}
    return found


def _journal(run: RecipeRun) -> list[Evidence]:
    if all(tier.verdict in {"pass", "skip"} for tier in run.record.tiers.values()):
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
    spec: RecipeSpec,
    settings: Settings,
    *,
    tiers_selected: frozenset[str],
    whole: bool,
    tests: AuthorsTests = NO_TESTS,
    make_room: Callable[[str], int] = lambda _: 0,
) -> RecipeRun:
    """Open a run of ``spec``: find what head means. Nothing is locked, started or deployed yet.

    ``whole`` says that every tier and every author's test of the recipe is selected; ``tests`` are those that are.
    ``make_room`` is called with the run's id where there is no room for it, and returns how many bytes it freed.

    Raises:
        UsageError: the state directory, the zone, the ref or recipe.toml cannot be used.
        InfrastructureFault: the state directory cannot take what a run keeps there; on a full disk DiskFull.
    """

    def require_possible(state: StateDir, head: Head, mirror: Mirror) -> None:
        unusual = ""
        if settings.base and settings.mode == "cold":
            unusual = require_release_base(spec, settings, head, mirror).unusual
        if settings.reseed:
            require_reseedable(spec, settings, head, mirror, whole=whole, unusual=unusual)
        if settings.base and settings.mode == "quick":
            require_base(spec.name, settings, head, mirror, kept_goods(state, spec.name) if spec.canonical else ())

    context = open_context(spec, settings, check=require_possible)
    context.tests, context.make_room = tests, make_room
    facts = {"head": context.head.commit, "mode": settings.mode, "selected": sorted(tiers_selected)}
    context.diary.note("open", recipe=spec.name, **facts)
    asked = tuple(tier for tier in ORDER if tier in tiers_selected or (tier == "custom" and whole))
    return RecipeRun(context, whole=whole, asked=asked)


@dataclass(frozen=True)
class Fixtures:
    """What the author's tests are given."""

    app: App
    realm: RealmLease | None
    canonical: CanonicalView
    snapshot: SnapshotView | None


class RecipeRun:
    """A run from the first tier to settle. Nothing it does raises for a fault of recipe or machine."""

    def __init__(self, context: RunContext, *, whole: bool, asked: tuple[str, ...] = ()) -> None:
        self.context = context
        self.whole = whole
        self.asked = asked
        self.started = now_text()
        self.record = Record()
        self.attempts: list[Attempt] = []
        self.kept_work = ""
        self._holds: tuple[str, ...] | None = None
        self._unlisted: tuple[str, ...] = ()
        self._run: Run | None = None
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
        app = self._app
        return app.domain if app else ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found wrong or risky in head, as far as it was looked at."""
        app = self._app
        return app.findings if app else ()

    @property
    def next_tag(self) -> str:
        """The tag that head could get as it is."""
        app = self._app
        return app.next_tag if app else ""

    @property
    def environment(self) -> dict[str, str]:
        """What head was interpolated with, as far as that was looked at, without secrets."""
        app = self._app
        return without_secrets(app.environment) if app else {}

    @property
    def known_good(self) -> KnownGoodChange:
        """What became of the known-good."""
        return self._run.known_good if self._run else KnownGoodChange()

    @property
    def coverage(self) -> tuple[CoveredPath, ...]:
        """What of the app a snapshot reaches, as far as it was deployed."""
        return self._run.coverage if self._run else ()

    @property
    def fixtures(self) -> Fixtures:
        """App, realm, canonical and snapshot of this run."""
        app = self._deployed()
        spec, state = self.context.spec, self.context.state
        return Fixtures(app.handle, app.lease, load_canonical(state, spec.name), load_snapshot(state, spec.name))

    # -- what it does

    def perform(self, tier: str) -> TierResult:
        """Do what ``tier`` needs, then the tier, each once; its result, whatever happened."""
        if tier == "settle":
            return self.settle()
        try:
            run = self._opened()
        except (KeyboardInterrupt, SystemExit):
            if tier not in self.record.tiers:
                self.record.interrupted(tier, self.context.interrupted)
            raise
        return run.perform(tier)

    def bring_up_head(self) -> str | None:
        """Bring head up for the author's tests; what blocks them in a few words, or ``None``.

        Raises:
            Refused: recipe.toml says that they do not apply.
        """
        if "settle" in self.record.tiers:
            return "the run has settled already"
        waived = self.context.spec.waived("custom")
        if waived:
            raise Refused(f"not applicable: {waived}")
        self.perform("upgrade")
        restored = self.record.tiers.get("restore")
        broken = restored is not None and restored.verdict in {Verdict.FAIL, Verdict.ERROR}
        return self.record.blocker("upgrade") or (self.record.blocker("restore") if broken else "") or None

    def account(self, *, holds: Sequence[str], unlisted: Sequence[str]) -> None:
        """Take in what the recipe's folder holds, before settle: it promotes only a run that showed all of it.

        Args:
            holds: node ids of all the author's tests, whatever was selected of them.
            unlisted: what the plugin knows to be missing, such as a module that could not be collected.
        """
        self._holds, self._unlisted = tuple(holds), tuple(unlisted)

    def interrupt(self, why: str) -> None:
        """Note that somebody asked to stop. May be called from a signal handler: it only sets a word."""
        self.context.interrupted = self.context.interrupted or why

    def unreached(self, names: Sequence[str], why: str) -> None:
        """Record what was asked for and never reached: tiers by name, the author's tests by node id."""
        for name in names:
            if name not in UnopenedRun.tiers():
                self.custom(name, Verdict.UNVERIFIED, 0.0, f"not reached: {why}")
            elif name not in self.record.tiers and name != "settle":
                self.record.unreached(name, why)

    def custom(
        self,
        nodeid: str,
        verdict: Verdict,
        seconds: float,
        reason: str,
        *,
        called: bool = False,
        marked: bool = False,
        earlier: Sequence[tuple[Verdict, bool]] = (),
    ) -> None:
        """Record one of the author's tests, by its last attempt.

        One that failed while the machine was down says nothing of the recipe. ``called`` and ``marked`` as in
        `Attempt`; ``earlier`` has the verdict of each attempt before the last, and whether it was called.
        """
        self.attempts.extend(Attempt(nodeid, came_to, called=entered, marked=marked) for came_to, entered in earlier)
        self.attempts.append(Attempt(nodeid, verdict, called=called, marked=marked))
        machine, stopped = self.context.machine_or_none, self.context.interrupted
        if verdict == Verdict.FAIL and stopped:
            verdict, reason = Verdict.ERROR, f"interrupted: {stopped}; {reason}"
        if verdict == Verdict.FAIL and machine is not None:
            down = outage(machine, keycloak=bool(self.context.leases))
            verdict, reason = (Verdict.ERROR, blamed(down, reason)) if down else (verdict, reason)
        if verdict == Verdict.FAIL and self.context.on_base:
            compared = self.context.on_base.compared(nodeid)
            reason = f"{reason}; {compared}" if compared else reason
        took, made = round(seconds, 3), len(earlier) + 1
        test = CustomTest(nodeid=nodeid, verdict=verdict, seconds=took, reason=reason, attempts=made)
        self.record.custom.append(test)
        self.context.diary.note("custom", nodeid=nodeid, verdict=str(verdict), took=took, attempts=made)

    def lease_realm(self) -> RealmLease:
        """A realm for a test that asks for one although recipe.toml does not."""
        app = self._deployed()
        if app.lease is None:
            anywhere = KeycloakNeed(redirect_paths=("/*",))
            app.lease = self.context.lease(app.domain, anywhere, kept=app.store is not None)
        return app.lease

    def settle(self) -> TierResult:
        """Put everything back, as the last tier; promote if this run may."""
        return self._settle(self._missing)

    def close(self) -> RunResult:
        """Settle if that has not been done (then nothing is promoted), write the result, release everything.

        Raises:
            InfrastructureFault: the result cannot be written; all else is done.
        """
        if self._result is None:
            if self._run is not None and self._run.cut_off == "settle":
                self.record.tiers.pop("settle", None)  # it was cut off in the middle: once more, from the start
            self._settle(lambda: ("it was stopped before settle, or settle was not selected",))
            self._put_work_away()
            for problem in self.context.close():
                self.context.warnings.append(problem)
            if self.context.diary.unwritten is not None:
                lost = os_fault(self.context.diary.unwritten, "writing the journal", self.context.diary.path)
                self.context.warnings.append(str(lost))
            self._result = result_of(self)
            with os_errors("writing the result", where=self.results_path):
                write_result(self._result, self.results_path)
            publish(self.context.state, self.results_path)
            self.context.diary.note("closed", verdict=str(self._result.verdict))
        return self._result

    # -- inside

    @property
    def _app(self) -> Deployment | None:
        """The app, once the run is open."""
        return None if self._run is None or isinstance(self._run, UnopenedRun) else self._run.app

    def _settle(self, missing: Callable[[], tuple[str, ...]]) -> TierResult:
        """Settle. Where nothing was opened, nothing is opened for it."""
        if self._run is None:
            self._run = UnopenedRun(self.context, self.record)
        if "settle" not in self.record.tiers:
            self._run.missing = missing()
        return self._run.perform("settle")

    def _put_work_away(self) -> None:
        verdict, _ = run_verdict(self.record.in_order(), self.record.custom)
        self.kept_work, warning = self.context.diary.put_work_away(keep=verdict != Verdict.PASS)
        if warning:
            self.context.warnings.append(warning)

    def _missing(self) -> tuple[str, ...]:
        """What this run has not shown of all that the folder holds."""
        return missing_for_promotion(
            tiers=self.record.tiers,
            needed=[name for name, tier in UnopenedRun.tiers().items() if not tier.always],
            holds=self._holds,
            attempts=self.attempts,
            unlisted=self._unlisted,
        )

    def _opened(self) -> Run:
        """The run in its mode, opened once: slot, locks, machine, lease. One that cannot be opened says why."""
        if self._run is None and self.context.interrupted:
            return UnopenedRun(self.context, self.record)
        if self._run is None:
            opening = Stopwatch(), len(self.context.diary.steps)
            try:
                self._run = open_mode(self.context, self.record)
            except CcciError as error:
                self._run = UnopenedRun(self.context, self.record, error)
            except (KeyboardInterrupt, SystemExit) as error:
                self.interrupt(interrupted_by(error))
                self._run = UnopenedRun(self.context, self.record)
                raise
            self._run.opening = opening
        return self._run

    def _deployed(self) -> Deployment:
        """The app of the opened run.

        Raises:
            CcciError: why it could not be opened.
        """
        run = self._opened()
        if isinstance(run, UnopenedRun):
            run.refuse()
        return run.app
