"""Turns a run that is over into its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_ccci.recipe.repository import Head
from pytest_ccci.results.model import DisposablePlace, Evidence, ImageUse, LintFinding, RefFact, RunResult, TierResult
from pytest_ccci.results.verdict import custom_tier, run_verdict

if TYPE_CHECKING:
    from pytest_ccci.run.session import RecipeRun

__all__ = ["head_fact", "result_of"]


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
