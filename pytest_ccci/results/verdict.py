"""The verdict of a run: a pure function of what its tiers and the author's tests came to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import CustomTest, RunResult, TierResult

__all__ = ["ORDER", "custom_tier", "deciding", "in_order", "ready_tag", "recompute", "run_verdict"]

_BAD = (Verdict.FAIL, Verdict.ERROR)
ORDER = ("install", "upgrade", "backup", "restore", "custom", "settle")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_KEPT = {"cold": {"none", "unchanged", "promoted", "seeded"}, "quick": {"unchanged"}}
"""What a green run may have done with the known-good, by its mode: only a cold one makes or moves it."""


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


def ready_tag(result: RunResult) -> str:
    """The tag that a whole, green, cold run has shown its head to be ready for; empty where it has not."""
    whole = set(ORDER) <= set(result.asked) and (result.requested_mode, result.mode) == ("cold", "cold")
    return result.next_tag if whole and recompute(result)[0] == Verdict.PASS else ""


def recompute(result: RunResult) -> tuple[Verdict, str]:
    """The verdict that the facts in a result come to, and why where it is not the one that stands there, or not pass.

    A result whose facts do not bear the verdict that it tells is unverified.
    """
    told = [tier for tier in result.tiers if tier.tier != "custom"]
    verdict, why = run_verdict(told, result.custom, leftovers=result.leftovers)
    if verdict != result.verdict:
        return Verdict.UNVERIFIED, f"it says {result.verdict}, and its tiers come to {verdict}: {why}".removesuffix(
            ": "
        )
    if verdict == Verdict.PASS:
        missing = next(_unborne(result), "")
        if missing:
            return Verdict.UNVERIFIED, missing
    return verdict, why


def _unborne(result: RunResult) -> Iterator[str]:
    """What a result that says pass does not tell, or tells otherwise elsewhere."""
    names = tuple(tier.tier for tier in result.tiers)
    if names != tuple(tier for tier in ORDER if tier in names):
        yield f"its tiers are {', '.join(names)}: in another order, or one of them twice"
    if not (result.asked or result.custom) or not set(result.asked) <= set(names):
        yield f"its tiers are {', '.join(names)}; asked for were {', '.join(result.asked) or 'none'}"
    if result.mode not in _KEPT or (result.requested_mode != result.mode and not result.mode_reason):
        yield f"it was asked for {result.requested_mode}, was {result.mode}, and does not say why"
    if not result.images or not all(image.image_id for image in result.images):
        yield "it does not tell the images that ran"
    if not result.engine.get("version"):
        yield "it does not tell the engine"
    yield from _unborne_known_good(result)
    for tier in result.tiers:
        yield from _unborne_tier(result, tier)


def _unborne_known_good(result: RunResult) -> Iterator[str]:
    if result.known_good.action not in _KEPT.get(result.mode, set()):
        yield f"a green {result.mode} run does not leave the known-good {result.known_good.action}"
    if result.known_good.action in {"promoted", "seeded"}:
        if not (result.head and result.head.release):
            yield "only a release becomes the known-good"
        if tuple(tier.tier for tier in result.tiers) != ORDER or result.asked != ORDER:
            yield "only a run of all tiers makes a known-good"
    if result.known_good.action == "unchanged" and result.known_good.before != result.known_good.after:
        yield "the known-good is not the one it was"


def _unborne_tier(result: RunResult, tier: TierResult) -> Iterator[str]:
    commits = {"install": result.base or result.head, "upgrade": result.head}
    if tier.tier == "custom":
        if tier.verdict != custom_tier(result.custom).verdict:
            yield f"custom: it says {tier.verdict}, and its tests come to {custom_tier(result.custom).verdict}"
    elif tier.verdict == Verdict.PASS and not tier.facts:
        yield f"{tier.tier}: it does not tell what was seen"
    if tier.tier in commits and tier.verdict == Verdict.PASS:
        version, seen = commits[tier.tier], tier.facts.get("commit", "")
        if version is None or not _COMMIT.fullmatch(seen) or version.commit != seen:
            yield f"{tier.tier}: {seen or 'no commit'} was deployed, and not {version.commit if version else 'any'}"
    if tier.tier == "settle" and result.mode == "cold" and tier.facts.get("left") != "nothing":
        yield "settle: it does not tell that nothing was left"


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
