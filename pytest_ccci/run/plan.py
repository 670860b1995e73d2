"""What a run will do, decided before anything is touched: a pure function over what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ccci.errors import Verdict
from pytest_ccci.recipe.releases import Release, newest_older_than
from pytest_ccci.recipe.repository import Head
from pytest_ccci.results.model import TierResult

__all__ = [
    "Attempt",
    "KnownGoodState",
    "Plan",
    "Promotion",
    "PromotionKind",
    "base_problem",
    "decide",
    "missing_for_promotion",
    "promotion_kind",
    "promotion_of",
    "release_problem",
]

_TOLD = 3

PromotionKind = Literal["keep", "advance", "seed", "refuse"]
"""How a promotion brings the canonical to head: it is there, in place from the known-good, from nothing, not at all."""


@dataclass(frozen=True)
class KnownGoodState:
    """What is known of a canonical before a run. ``problem`` says why it cannot be used; empty when it can."""

    release: str = ""
    commit: str = ""
    snapshot_id: str = ""
    problem: str = ""
    drifted: bool = False


@dataclass(frozen=True)
class Plan:
    """The mode that is really run and why it is not the requested one; what is upgraded from, and why not.

    ``base`` is a ref (a release tag, or the known-good's commit); ``None`` means that head is installed fresh.
    ``unusual`` says that another base was asked for than the run would take by itself; empty when not.
    """

    mode: str
    requested_mode: str
    mode_reason: str
    base: str | None
    no_upgrade: str
    reset_drift: bool = False
    unusual: str = ""


@dataclass(frozen=True)
class Attempt:
    """One recorded attempt at a test of the author's.

    ``called``: its function was really entered. ``marked``: its author skips it or expects it to fail, with a reason.
    """

    nodeid: str
    verdict: Verdict
    called: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Promotion:
    """Whether a green run may replace the known-good, and why not."""

    eligible: bool
    reason: str


def decide(
    requested: str,
    head: Head,
    *,
    releases: tuple[Release, ...],
    ancestors: frozenset[str],
    known_good: KnownGoodState | None,
    enrolled: bool,
    older_than_known_good: bool = False,
    asked: str = "",
) -> Plan:
    """Decide mode and base.

    ``releases`` ascending; ``ancestors`` are the tags of those that head's history contains; ``known_good`` is ``None``
    where there is none. ``asked`` is the release from which a cold run was told to upgrade; empty for none.
    """
    reason = _why_not_quick(known_good, enrolled=enrolled, older=older_than_known_good) if requested == "quick" else ""
    if requested == "quick" and not reason and known_good is not None:
        same = known_good.commit == head.commit and not head.dirty
        return Plan(
            "quick",
            "quick",
            "",
            None if same else known_good.commit,
            f"head is the known-good ({known_good.release})" if same else "",
            reset_drift=known_good.drifted,
        )
    base = _cold_base(head, releases, ancestors)
    missing = "" if base else "there is no release older than head: it is installed fresh"
    if requested == "cold" and asked and asked != base:
        unusual = f"it upgraded from {asked}, as was asked for, and not from {base or 'any release'}"
        return Plan("cold", requested, reason, asked, "", unusual=unusual)
    return Plan("cold", requested, reason, base, missing)


def base_problem(release: str, commit: str, head: Head, *, older: bool) -> str:
    """Why head cannot be upgraded to from the kept known-good of ``release``; empty when it can.

    ``older`` says that the known-good's commit builds on head's.
    """
    if commit == head.commit and not head.dirty:
        return f"head is the known-good of {release} itself: there is nothing to upgrade"
    return f"head is older than the known-good of {release}: data does not go back" if older else ""


def release_problem(
    release: Release, head: Head, *, releases: tuple[Release, ...], ancestors: frozenset[str], holds_head: bool
) -> str:
    """Why a cold run cannot upgrade to head from ``release``; empty when it can.

    ``releases`` and ``ancestors`` as in :func:`decide`; ``holds_head`` says that the release's commit builds on head's.
    """
    if head.release is not None and not head.dirty:
        return "" if release < head.release else f"it is not older than head ({head.release})"
    if holds_head:
        return "head is in it already: nothing goes back to an older version"
    newest = max((each for each in releases if each.tag in ancestors), default=None)
    if newest is not None and release > newest:
        return f"head does not build on it; the newest release that it builds on is {newest}"
    return ""


def promotion_of(
    *,
    mode: str,
    enrolled: bool,
    head: Head,
    releases: tuple[Release, ...],
    missing: Sequence[str],
    green: bool,
    why_red: str = "",
    own_keycloak: bool = False,
    unusual: str = "",
    asked: bool = True,
) -> Promotion:
    """May this run replace the known-good? Only a whole, green cold run of an enrolled recipe's latest release.

    ``missing`` is what it did not show; empty when it was whole. ``unusual``: that its base was another than usual.
    ``asked`` is off where it was told not to.
    """
    latest = releases[-1].tag if releases else ""
    reasons = (
        (mode == "cold", "a quick run never promotes"),
        (enrolled, "the recipe is not enrolled (canonical = true in recipe.toml)"),
        (bool(latest), "the recipe has no release"),
        (not head.dirty, "the working tree has changes that are not committed"),
        (head.release is not None and head.release.tag == latest, f"head is not the latest release ({latest})"),
        (not unusual, unusual),
        (asked, "it was told not to (--ccci-promote=false)"),
        (not own_keycloak, "it ran against a Keycloak of its own: kept data would know its issuer"),
        (green, f"the run is not green: {why_red}"),
        (not missing, f"the run was not whole: {_some(missing)}"),
    )
    problem = next((text for holds, text in reasons if not holds), "")
    return Promotion(not problem, problem)


def missing_for_promotion(
    *,
    tiers: Mapping[str, TierResult],
    needed: Sequence[str],
    holds: Sequence[str] | None,
    attempts: Sequence[Attempt],
    unlisted: Sequence[str] = (),
) -> tuple[str, ...]:
    """What a run did not show of all that its recipe's folder holds; empty when it was whole.

    Compares what was performed and recorded with what is there, never with what was selected.

    Args:
        tiers: the results recorded in this run, by tier.
        needed: the tiers that must be among them: each passed, or does not apply, with the reason.
        holds: node ids of all the author's tests in the folder; ``None`` when nobody listed them.
        attempts: every recorded attempt at a test. All attempts at a test must have passed, with its function called;
            or its author skips it (or expects it to fail) by a marker with a reason.
        unlisted: what is known to be missing besides, such as a module that could not be collected.
    """
    problems = [*unlisted]
    for tier in needed:
        result = tiers.get(tier)
        if result is None:
            problems.append(f"{tier} was not performed")
        elif result.verdict != Verdict.PASS and not (result.verdict == Verdict.SKIP and result.reason.strip()):
            problems.append(f"{tier}: {result.verdict}")
    if holds is None:
        return (*problems, "the tests of the folder were not listed")
    by_test: dict[str, list[Attempt]] = {nodeid: [] for nodeid in holds}
    for attempt in attempts:
        by_test.setdefault(attempt.nodeid, []).append(attempt)
    problems.extend(
        f"{nodeid.rpartition('/')[2]} {why}" for nodeid, made in by_test.items() if (why := _not_shown(made))
    )
    return tuple(problems)


def _not_shown(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return "was not run"
    for number, attempt in enumerate(attempts, 1):
        if attempt.verdict == Verdict.PASS and not attempt.called:
            return "passed without its function being called"
        if attempt.verdict == Verdict.SKIP and not attempt.marked:
            return "was skipped by something other than a marker of its author with a reason"
        if attempt.verdict not in {Verdict.PASS, Verdict.SKIP}:
            return f"came to {attempt.verdict}" + (f" at attempt {number}" if len(attempts) > 1 else "")
    return ""


def promotion_kind(*, head: str, known_good: str, quarantined: bool, reseed: bool) -> PromotionKind:
    """How a promotion brings the canonical to the commit ``head``; ``known_good`` is its commit, empty without one.

    A reseed is asked for by a person: it is the way out of a quarantine, and of a known-good that cannot be used.
    """
    if reseed:
        return "seed"
    if quarantined:
        return "refuse"
    if not known_good:
        return "seed"
    return "keep" if known_good == head else "advance"


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
    return "; ".join(problems[:_TOLD]) + more


def _why_not_quick(known_good: KnownGoodState | None, *, enrolled: bool, older: bool) -> str:
    if known_good is None:
        hint = "a green cold run of the latest release makes one"
        return f"there is no known-good ({hint})" if enrolled else "there is no canonical: the recipe is not enrolled"
    if known_good.problem:
        return f"the known-good cannot be used: {known_good.problem}"
    if older:
        return f"head is older than the known-good ({known_good.release}): data does not go back"
    return ""


def _cold_base(head: Head, releases: tuple[Release, ...], ancestors: frozenset[str]) -> str | None:
    """The newest release strictly older than head: never head itself, of which an upgrade would prove nothing."""
    if head.release is not None and not head.dirty:
        older = newest_older_than(head.release, releases)
        return older.tag if older else None
    reachable = [release for release in releases if release.tag in ancestors] or list(releases)
    return reachable[-1].tag if reachable else None
