"""The main job as three acts, and what must be true of each: pure, from results and records that were read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RunResult, TierResult

__all__ = ["ACTS", "Act", "Expectation", "Kept", "judge_act"]


@dataclass(frozen=True)
class Act:
    """One run of the story: how it is asked for, what it tells, and how pytest must end."""

    name: str
    mode: str
    ref: str
    about: str
    rc: int


ACTS = (
    Act("cold", "cold", "latest", "The latest release from scratch. Green makes it the known-good that is kept.", 0),
    Act("quick", "quick", "tip", "What comes next, on the kept data. It passes, and the known-good stays as it is.", 0),
    Act(
        "broken",
        "quick",
        "pr/broken-migration",
        "A pull request whose migration stops half-way. It fails, and the data is put back and proved.",
        1,
    ),
)


@dataclass(frozen=True)
class Kept:
    """The known-good as it is on disk. ``fingerprint`` is over record and snapshot; all empty: there is none."""

    release: str = ""
    snapshot_id: str = ""
    fingerprint: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Expectation:
    """One thing that must be so, whether it is, and what was seen."""

    text: str
    held: bool
    seen: str


def judge_act(act: Act, *, result: RunResult, rc: int, before: Kept, after: Kept) -> tuple[Expectation, ...]:
    """What must be true after ``act``, and whether it is."""
    special = {"cold": _cold, "quick": _quick, "broken": _broken}[act.name]
    return (
        _is("pytest ended with", act.rc, rc),
        _is("it ran as", act.mode, result.mode),
        *special(result, before, after),
        Expectation("every content of the known-good matches its manifest", after.whole, "read anew"),
    )


def _cold(result: RunResult, before: Kept, after: Kept) -> Iterator[Expectation]:
    del before
    yield _is("the verdict is", Verdict.PASS, result.verdict)
    release = (result.head.release if result.head else "") or "no release"
    yield _is("the known-good is the latest release", release, after.release)
    action = result.known_good.action
    held = action in {"seeded", "promoted", "unchanged"} and result.known_good.snapshot_after == after.snapshot_id
    yield Expectation("the record on disk is the one of the result", held, f"{action}, {after.snapshot_id or 'none'}")


def _quick(result: RunResult, before: Kept, after: Kept) -> Iterator[Expectation]:
    yield _is("the verdict is", Verdict.PASS, result.verdict)
    yield _really_upgraded(result)
    yield _identical(before, after)


def _broken(result: RunResult, before: Kept, after: Kept) -> Iterator[Expectation]:
    yield _is("the verdict is", Verdict.FAIL, result.verdict)
    upgrade = _tier(result, "upgrade")
    yield _is("the blame is on the tier upgrade", Verdict.FAIL, upgrade.verdict if upgrade else "not reached")
    yield _is("the known-good was", "restored-and-proved", result.known_good.action)
    settle = _tier(result, "settle")
    proved = settle.facts.get("proved", "") if settle else ""
    yield Expectation("what was written before is there again", bool(proved), proved or "no proof in the result")
    yield _identical(before, after)


def _really_upgraded(result: RunResult) -> Expectation:
    base, head = result.base, result.head
    held = bool(base and head and base.commit != head.commit)
    seen = f"{base.version if base else 'none'} → {head.version if head else 'none'}"
    return Expectation("base and head differ", held, seen)


def _identical(before: Kept, after: Kept) -> Expectation:
    held = bool(before.fingerprint) and before == after
    seen = f"{before.fingerprint[:12] or 'none'} → {after.fingerprint[:12] or 'none'}"
    return Expectation("record and snapshot are byte-identical", held, seen)


def _is(text: str, wanted: object, found: object) -> Expectation:
    return Expectation(f"{text} {wanted}", wanted == found, str(found))


def _tier(result: RunResult, name: str) -> TierResult | None:
    return next((tier for tier in result.tiers if tier.tier == name), None)
