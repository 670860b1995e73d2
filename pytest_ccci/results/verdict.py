"""The verdict of a run: a pure function of what its tiers and the author's tests came to."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import CustomTest, TierResult

__all__ = ["custom_tier", "deciding", "in_order", "run_verdict"]

_BAD = (Verdict.FAIL, Verdict.ERROR)


def run_verdict(
    tiers: Sequence[TierResult], custom: Sequence[CustomTest] = (), *, leftovers: Sequence[str] = ()
) -> tuple[Verdict, str]:
    """The verdict of a run and, when it is not pass, the one line that says why.

    ``tiers`` in the order they were performed. Of several that went wrong the *first* decides: what came later may only
    follow from it (an engine that dies leaves things behind; a broken upgrade makes the next request an error). It is
    green only if settle passed, nothing is unverified, nothing was left, every skip has its reason, and at least one
    tier other than settle, or one of the author's tests, really passed.
    """
    steps, decides = in_order(tiers, custom), deciding(tiers, custom, leftovers=leftovers)
    if decides:
        return decides.verdict if decides.verdict in _BAD else Verdict.UNVERIFIED, _line(decides)
    if leftovers:
        return Verdict.FAIL, f"left behind: {', '.join(leftovers)}"
    if not any(step.tier == "settle" and step.verdict == Verdict.PASS for step in steps):
        return Verdict.UNVERIFIED, "settle: was not shown"
    if not any(step.verdict == Verdict.PASS and step.tier != "settle" for step in steps):
        return Verdict.UNVERIFIED, "nothing was shown: no tier passed"
    return Verdict.PASS, ""


def deciding(
    tiers: Sequence[TierResult], custom: Sequence[CustomTest] = (), *, leftovers: Sequence[str] = ()
) -> TierResult | None:
    """The tier that makes the run what it is: the first that went wrong, else the first that showed nothing."""
    steps = in_order(tiers, custom)
    bad = next((step for step in steps if step.verdict in _BAD), None)
    return bad or (None if leftovers else next((step for step in steps if _unshown(step)), None))


def custom_tier(tests: Sequence[CustomTest]) -> TierResult:
    """The author's tests as one tier. Without any it is skipped with that reason; a skipped test does not spoil it.

    Where one thing blocks them all, that is the tier's reason as it is each test's.
    """
    seconds = sum(test.seconds for test in tests)
    if not tests:
        return TierResult(tier="custom", verdict=Verdict.SKIP, reason="no custom tests ran")
    for verdict in (*_BAD, Verdict.UNVERIFIED):
        hit = [test for test in tests if test.verdict == verdict]
        if hit:
            blocked = verdict == Verdict.UNVERIFIED and len({test.reason for test in tests}) == 1
            reason = hit[0].reason if blocked else f"{len(hit)} of {len(tests)} tests: {_short(hit[0])}"
            return TierResult(tier="custom", verdict=verdict, seconds=seconds, reason=reason)
    passed = sum(test.verdict == Verdict.PASS for test in tests)
    if not passed:
        return TierResult(tier="custom", verdict=Verdict.SKIP, seconds=seconds, reason="all custom tests were skipped")
    reason = f"{passed} of {len(tests)} tests; the rest were skipped" if passed < len(tests) else ""
    return TierResult(tier="custom", verdict=Verdict.PASS, seconds=seconds, reason=reason)


def in_order(tiers: Sequence[TierResult], custom: Sequence[CustomTest]) -> list[TierResult]:
    """The tiers with the author's tests as one of them, before settle, unless they are there already."""
    if not custom or any(tier.tier == "custom" for tier in tiers):
        return list(tiers)
    before = [tier for tier in tiers if tier.tier != "settle"]
    return [*before, custom_tier(custom), *(tier for tier in tiers if tier.tier == "settle")]


def _unshown(step: TierResult) -> bool:
    return step.verdict == Verdict.UNVERIFIED or (step.verdict == Verdict.SKIP and not step.reason.strip())


def _line(step: TierResult) -> str:
    reason = step.reason.strip().partition("\n")[0]
    if reason:
        return f"{step.tier}: {reason}"
    return f"{step.tier}: skipped without a reason" if step.verdict == Verdict.SKIP else f"{step.tier}: {step.verdict}"


def _short(test: CustomTest) -> str:
    name = test.nodeid.rpartition("/")[2]
    reason = test.reason.strip().partition("\n")[0]
    return f"{name}: {reason}" if reason else name
