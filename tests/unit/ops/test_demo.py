from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.demo import ACTS, Expectation, Kept, judge_act
from pytest_ccci.results.model import KnownGoodChange, RefFact, RunResult, TierResult

COLD, QUICK, BROKEN = ACTS
OLD = RefFact(ref="1.0.0+1", commit="a" * 40, version="1.0.0+1", release="1.0.0+1")
NEW = RefFact(ref="latest", commit="b" * 40, version="1.1.0+1", release="1.1.0+1")
TIP = RefFact(ref="tip", commit="c" * 40, version="cccccccc")
KEPT = Kept("1.1.0+1", "snap", "f" * 64, whole=True)


def result(asked: str, verdict_: Verdict, **more: Any) -> RunResult:
    facts: dict[str, Any] = {
        "run_id": "r1",
        "recipe": "docs",
        "requested_mode": asked,
        "mode": asked,
        "verdict": verdict_,
        "started": "2026-01-01T00:00:00+00:00",
    }
    return RunResult(**{**facts, **more})


def change(action: str) -> KnownGoodChange:
    return KnownGoodChange(
        before="1.1.0+1", after="1.1.0+1", action=action, snapshot_before="snap", snapshot_after="snap"
    )


def cold(**more: Any) -> RunResult:
    return result("cold", Verdict.PASS, **{"base": OLD, "head": NEW, "known_good": change("seeded"), **more})


def quick(**more: Any) -> RunResult:
    return result("quick", Verdict.PASS, **{"base": NEW, "head": TIP, "known_good": change("unchanged"), **more})


def broken(**more: Any) -> RunResult:
    tiers = (
        TierResult(tier="install", verdict=Verdict.PASS),
        TierResult(tier="upgrade", verdict=Verdict.FAIL, reason="it does not come up"),
        TierResult(tier="settle", verdict=Verdict.PASS, facts={"proved": "came up, sentinels there"}),
    )
    facts: dict[str, Any] = {"base": NEW, "head": TIP, "known_good": change("restored-and-proved"), "tiers": tiers}
    return result("quick", Verdict.FAIL, **{**facts, **more})


def missed(expectations: tuple[Expectation, ...]) -> list[str]:
    return [one.text for one in expectations if not one.held]


def test_the_story_as_it_should_go_holds() -> None:
    assert missed(judge_act(COLD, result=cold(), rc=0, before=Kept(), after=KEPT)) == []
    assert missed(judge_act(QUICK, result=quick(), rc=0, before=KEPT, after=KEPT)) == []
    assert missed(judge_act(BROKEN, result=broken(), rc=1, before=KEPT, after=KEPT)) == []


def test_a_second_cold_run_of_the_same_latest_release_holds_as_well() -> None:
    again = cold(known_good=change("unchanged"))
    assert missed(judge_act(COLD, result=again, rc=0, before=KEPT, after=KEPT)) == []


@pytest.mark.parametrize(
    ("told", "after", "text"),
    [
        (cold(verdict=Verdict.ERROR), KEPT, "the verdict is pass"),
        (cold(), Kept(), "the known-good is the latest release 1.1.0+1"),
        (cold(known_good=change("failed")), KEPT, "the record on disk is the one of the result"),
        (cold(), Kept("1.1.0+1", "other", "f", whole=True), "the record on disk is the one of the result"),
        (cold(), Kept("1.1.0+1", "snap", "f"), "every content of the known-good matches its manifest"),
    ],
)
def test_a_cold_run_without_a_known_good_that_reads_back_does_not_hold(told: RunResult, after: Kept, text: str) -> None:
    assert text in missed(judge_act(COLD, result=told, rc=0, before=Kept(), after=after))


@pytest.mark.parametrize(
    ("told", "before", "after", "text"),
    [
        (quick(mode="cold", mode_reason="no known-good"), KEPT, KEPT, "it ran as quick"),
        (quick(head=NEW), KEPT, KEPT, "base and head differ"),
        (quick(base=None), KEPT, KEPT, "base and head differ"),
        (quick(), KEPT, Kept("1.1.0+1", "snap", "e" * 64, whole=True), "record and snapshot are byte-identical"),
        (quick(), Kept(), Kept(), "record and snapshot are byte-identical"),
    ],
)
def test_a_green_quick_run_that_shows_nothing_does_not_hold(
    told: RunResult, before: Kept, after: Kept, text: str
) -> None:
    assert text in missed(judge_act(QUICK, result=told, rc=0, before=before, after=after))


@pytest.mark.parametrize(
    ("told", "rc", "text"),
    [
        (broken(verdict=Verdict.PASS), 0, "the verdict is fail"),
        (broken(), 2, "pytest ended with 1"),
        (broken(known_good=change("quarantined")), 1, "the known-good was restored-and-proved"),
        (broken(tiers=broken().tiers[:2]), 1, "what was written before is there again"),
        (broken(tiers=broken().tiers[2:]), 1, "the blame is on the tier upgrade fail"),
    ],
)
def test_a_bad_pull_request_must_fail_where_it_should_and_be_undone_with_proof(
    told: RunResult, rc: int, text: str
) -> None:
    assert text in missed(judge_act(BROKEN, result=told, rc=rc, before=KEPT, after=KEPT))
