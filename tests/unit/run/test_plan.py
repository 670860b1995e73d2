from __future__ import annotations

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.recipe.releases import Release, parse
from pytest_ccci.recipe.tree import Head
from pytest_ccci.results.model import TierResult
from pytest_ccci.run.plan import (
    Attempt,
    KnownGoodState,
    decide,
    missing_for_promotion,
    promotion_kind,
    promotion_of,
    release_problem,
)


def release(tag: str) -> Release:
    found = parse(tag)
    assert found is not None
    return found


R1, R2, R3 = (release(tag) for tag in ("1.0.0+0.0.20", "1.1.0+0.0.20", "2.0.0+0.1.0"))
ALL = (R1, R2, R3)
TAGS = frozenset(each.tag for each in ALL)


def commit(name: str) -> str:
    return name * 40


AT_1 = Head("1.0.0+0.0.20", commit("1"), release=R1, version=R1.tag)
AT_2 = Head("1.1.0+0.0.20", commit("2"), release=R2, version=R2.tag)
LATEST = Head("latest", commit("3"), release=R3, version=R3.tag)
TIP = Head("tip", commit("4"), version="44444444", branch="main")
DIRTY_LATEST = Head("tip", commit("3"), release=R3, version="33333333+U", dirty=True)
GOOD_2 = KnownGoodState(release=R2.tag, commit=commit("2"), snapshot_id="s2")
GOOD_3 = KnownGoodState(release=R3.tag, commit=commit("3"), snapshot_id="s3")


def cold(head: Head, releases: tuple[Release, ...] = ALL, ancestors: frozenset[str] = TAGS) -> str | None:
    plan = decide("cold", head, releases=releases, ancestors=ancestors, known_good=GOOD_3, enrolled=True)
    assert plan.mode == plan.requested_mode == "cold"
    assert plan.mode_reason == ""
    assert (plan.base is None) == bool(plan.no_upgrade)
    return plan.base


@pytest.mark.parametrize(
    ("head", "base"),
    [
        (LATEST, R2.tag),  # never the known-good, which is the same release: it would prove nothing
        (AT_2, R1.tag),
        (TIP, R3.tag),
        (DIRTY_LATEST, R3.tag),
    ],
    ids=["latest release", "older release", "tip ahead of the latest release", "changed tree on the latest release"],
)
def test_a_cold_run_upgrades_from_the_newest_release_that_is_strictly_older(head: Head, base: str) -> None:
    assert cold(head) == base


def test_a_cold_run_of_the_first_release_has_nothing_to_upgrade_from_and_says_so() -> None:
    plan = decide("cold", AT_1, releases=ALL, ancestors=TAGS, known_good=None, enrolled=True)
    assert plan.base is None
    assert plan.no_upgrade == "there is no release older than head: it is installed fresh"


def test_a_cold_run_of_a_recipe_without_releases_installs_head_fresh() -> None:
    assert cold(TIP, releases=(), ancestors=frozenset()) is None


def test_a_branch_off_an_old_release_is_upgraded_from_that_one_and_not_from_a_newer() -> None:
    assert cold(TIP, ancestors=frozenset({R1.tag})) == R1.tag


def test_a_head_without_history_in_common_is_upgraded_from_the_newest_release() -> None:
    assert cold(TIP, ancestors=frozenset()) == R3.tag


def test_two_spellings_of_one_version_are_not_older_than_each_other() -> None:
    twin = release("v2.0.0+0.1.0")
    assert cold(LATEST, releases=(R3, twin), ancestors=frozenset()) is None


def test_a_cold_run_that_is_told_its_base_upgrades_from_it_and_says_instead_of_which() -> None:
    plan = decide("cold", TIP, releases=ALL, ancestors=TAGS, known_good=None, enrolled=True, asked=R1.tag)
    assert (plan.mode, plan.base, plan.no_upgrade) == ("cold", R1.tag, "")
    assert plan.unusual == "it upgraded from 1.0.0+0.0.20, as was asked for, and not from 2.0.0+0.1.0"


def test_a_cold_run_that_is_told_its_usual_base_is_the_usual_run() -> None:
    plan = decide("cold", TIP, releases=ALL, ancestors=TAGS, known_good=None, enrolled=True, asked=R3.tag)
    assert plan == decide("cold", TIP, releases=ALL, ancestors=TAGS, known_good=None, enrolled=True)
    assert plan.unusual == ""


def test_a_run_that_was_to_be_quick_and_is_cold_takes_the_usual_base() -> None:
    plan = decide("quick", TIP, releases=ALL, ancestors=TAGS, known_good=None, enrolled=True, asked=R1.tag)
    assert plan.base == R3.tag


@pytest.mark.parametrize(
    ("base", "head", "ancestors", "holds_head", "why"),
    [
        (R1, LATEST, TAGS, False, ""),
        (R1, TIP, TAGS, False, ""),
        (R3, DIRTY_LATEST, TAGS, False, ""),
        (R3, TIP, frozenset[str](), False, ""),
        (R3, LATEST, TAGS, True, "it is not older than head (2.0.0+0.1.0)"),
        (R3, AT_2, frozenset({R1.tag}), True, "it is not older than head (1.1.0+0.0.20)"),
        (R3, TIP, frozenset({R1.tag, R2.tag}), True, "head is in it already: nothing goes back to an older version"),
        (
            R3,
            TIP,
            frozenset({R1.tag}),
            False,
            "head does not build on it; the newest release that it builds on is 1.0.0+0.0.20",
        ),
        (R2, TIP, frozenset({R1.tag, R3.tag}), False, ""),
    ],
    ids=[
        "release",
        "tip",
        "changed tree",
        "no history",
        "itself",
        "newer",
        "holds head",
        "another line",
        "maintenance",
    ],
)
def test_a_release_that_head_cannot_be_upgraded_to_from(
    base: Release, head: Head, ancestors: frozenset[str], *, holds_head: bool, why: str
) -> None:
    assert release_problem(base, head, releases=ALL, ancestors=ancestors, holds_head=holds_head) == why


@pytest.mark.parametrize("requested", ["cold", "quick"])
@pytest.mark.parametrize("head", [AT_1, AT_2, LATEST, TIP, DIRTY_LATEST], ids=lambda head: head.version)
@pytest.mark.parametrize("good", [None, GOOD_2, GOOD_3], ids=["none", "1.1.0", "2.0.0"])
def test_base_and_head_always_differ(requested: str, head: Head, good: KnownGoodState | None) -> None:
    plan = decide(requested, head, releases=ALL, ancestors=TAGS, known_good=good, enrolled=True)
    if not head.dirty:  # a changed tree differs from its own commit
        assert plan.base != head.commit
        assert head.release is None or plan.base != head.release.tag
    assert (plan.base is None) == bool(plan.no_upgrade), "an upgrade that is left out has its reason"


def test_a_quick_run_upgrades_from_the_known_good() -> None:
    plan = decide("quick", TIP, releases=ALL, ancestors=TAGS, known_good=GOOD_2, enrolled=True)
    assert (plan.mode, plan.base, plan.no_upgrade, plan.reset_drift) == ("quick", GOOD_2.commit, "", False)


def test_a_quick_run_of_the_known_good_itself_skips_the_upgrade_with_that_reason() -> None:
    plan = decide("quick", LATEST, releases=ALL, ancestors=TAGS, known_good=GOOD_3, enrolled=True)
    assert (plan.mode, plan.base) == ("quick", None)
    assert plan.no_upgrade == "head is the known-good (2.0.0+0.1.0)"


def test_a_changed_tree_on_the_known_goods_commit_is_another_version() -> None:
    plan = decide("quick", DIRTY_LATEST, releases=ALL, ancestors=TAGS, known_good=GOOD_3, enrolled=True)
    assert (plan.mode, plan.base, plan.no_upgrade) == ("quick", GOOD_3.commit, "")


def test_drift_is_reset_before_a_quick_run() -> None:
    drifted = KnownGoodState(release=R3.tag, commit=commit("3"), snapshot_id="s3", drifted=True)
    plan = decide("quick", TIP, releases=ALL, ancestors=TAGS, known_good=drifted, enrolled=True)
    assert plan.reset_drift


@pytest.mark.parametrize(
    ("known_good", "enrolled", "older", "reason"),
    [
        (None, True, False, "there is no known-good (a green cold run of the latest release makes one)"),
        (None, False, False, "there is no canonical: the recipe is not enrolled"),
        (
            KnownGoodState(problem="quarantined: the restore could not be proved"),
            True,
            False,
            "the known-good cannot be used: quarantined: the restore could not be proved",
        ),
        (GOOD_3, True, True, "head is older than the known-good (2.0.0+0.1.0): data does not go back"),
    ],
    ids=["none yet", "not enrolled", "quarantined", "older head"],
)
def test_a_quick_run_that_cannot_be_quick_is_cold_and_says_why(
    known_good: KnownGoodState | None, *, enrolled: bool, older: bool, reason: str
) -> None:
    plan = decide(
        "quick",
        AT_2,
        releases=ALL,
        ancestors=TAGS,
        known_good=known_good,
        enrolled=enrolled,
        older_than_known_good=older,
    )
    assert (plan.mode, plan.requested_mode, plan.mode_reason) == ("cold", "quick", reason)
    assert plan.base == R1.tag, "the fallback has the base of a cold run"
    assert not plan.reset_drift


def test_a_cold_run_never_touches_drift() -> None:
    drifted = KnownGoodState(release=R3.tag, commit=commit("3"), drifted=True)
    assert not decide("cold", TIP, releases=ALL, ancestors=TAGS, known_good=drifted, enrolled=True).reset_drift


def promotion(  # the one that is eligible, but for what a test changes
    *,
    mode: str = "cold",
    enrolled: bool = True,
    head: Head = LATEST,
    unusual: str = "",
    asked: bool = True,
    missing: tuple[str, ...] = (),
    green: bool = True,
) -> str:
    found = promotion_of(
        mode=mode,
        enrolled=enrolled,
        head=head,
        releases=ALL,
        unusual=unusual,
        asked=asked,
        missing=missing,
        green=green,
        why_red="custom: login failed",
    )
    assert found.eligible == (not found.reason)
    return found.reason


def test_a_whole_green_cold_run_of_the_latest_release_promotes() -> None:
    assert promotion() == ""


def test_whatever_is_missing_is_the_reason_why_nothing_is_promoted() -> None:
    assert "quick run never promotes" in promotion(mode="quick")
    assert "not enrolled" in promotion(enrolled=False)
    assert "not the latest release (2.0.0+0.1.0)" in promotion(head=TIP)
    assert "not the latest release" in promotion(head=AT_2)
    assert "not committed" in promotion(head=DIRTY_LATEST)
    assert promotion(unusual="it upgraded from 1.0.0+1") == "it upgraded from 1.0.0+1"
    assert promotion(asked=False) == "it was told not to (--ccci-promote=false)"
    assert promotion(missing=("backup was not performed",)) == "the run was not whole: backup was not performed"
    assert promotion(missing=tuple("abcde")) == "the run was not whole: a; b; c; and 2 more"
    assert promotion(green=False) == "the run is not green: custom: login failed"


def test_a_recipe_without_releases_is_never_promoted() -> None:
    found = promotion_of(mode="cold", enrolled=True, head=TIP, releases=(), missing=(), green=True)
    assert (found.eligible, found.reason) == (False, "the recipe has no release")


@pytest.mark.parametrize(
    ("known_good", "quarantined", "reseed", "way"),
    [
        ("", False, False, "seed"),
        ("2", False, False, "advance"),
        ("3", False, False, "keep"),
        ("2", True, False, "refuse"),
        ("3", True, False, "refuse"),
        ("", True, False, "refuse"),
        ("", False, True, "seed"),
        ("2", False, True, "seed"),
        ("3", False, True, "seed"),
        ("2", True, True, "seed"),
        ("", True, True, "seed"),
    ],
)
def test_how_a_promotion_brings_the_canonical_to_head(
    known_good: str, *, quarantined: bool, reseed: bool, way: str
) -> None:
    assert promotion_kind(head="3", known_good=known_good, quarantined=quarantined, reseed=reseed) == way


TIERS = ("install", "upgrade", "backup", "restore")


def tier(name: str, verdict: str = "pass", reason: str = "") -> TierResult:
    return TierResult(tier=name, verdict=Verdict(verdict), reason=reason)


def made(name: str, verdict: str = "pass", *, called: bool = True, marked: bool = False) -> Attempt:
    return Attempt(f"r/test_app.py::{name}", Verdict(verdict), called=called, marked=marked)


@pytest.mark.parametrize(
    ("tiers", "holds", "attempts", "missing"),
    [
        ([], [], [], ()),
        ([], ["a"], [made("a")], ()),
        ([], ["a"], [made("a", "skip", called=False, marked=True)], ()),
        ([tier("upgrade", "skip", "there is no release older than head")], [], [], ()),
        ([tier("upgrade", "skip", " ")], [], [], ("upgrade: skip",)),
        ([tier("backup", "unverified", "no labels")], [], [], ("backup: unverified",)),
        ([tier("restore", "error", "interrupted")], [], [], ("restore: error",)),
        ([], None, [made("a")], ("the tests of the folder were not listed",)),
        ([], ["a", "b"], [made("a")], ("test_app.py::b was not run",)),
        ([], ["a"], [made("a", called=False)], ("test_app.py::a passed without its function being called",)),
        ([], ["a"], [made("a", "unverified")], ("test_app.py::a came to unverified",)),
        ([], ["a"], [made("a", "fail"), made("a")], ("test_app.py::a came to fail at attempt 1",)),
        ([], ["a"], [made("a"), made("a", "error")], ("test_app.py::a came to error at attempt 2",)),
        ([], [], [made("gone", "fail")], ("test_app.py::gone came to fail",)),
        (
            [],
            ["a"],
            [made("a", "skip")],
            ("test_app.py::a was skipped by something other than a marker of its author with a reason",),
        ),
    ],
)
def test_what_a_run_did_not_show_of_all_that_the_folder_holds(
    tiers: list[TierResult], holds: list[str] | None, attempts: list[Attempt], missing: tuple[str, ...]
) -> None:
    results = {name: tier(name) for name in TIERS} | {one.tier: one for one in tiers}
    names = None if holds is None else [f"r/test_app.py::{name}" for name in holds]
    assert missing_for_promotion(tiers=results, needed=TIERS, holds=names, attempts=attempts) == missing


@pytest.mark.parametrize("left_out", TIERS)
def test_a_tier_that_was_not_performed_is_missing(left_out: str) -> None:
    results = {name: tier(name) for name in TIERS if name != left_out}
    found = missing_for_promotion(tiers=results, needed=TIERS, holds=(), attempts=(), unlisted=("x was not collected",))
    assert found == ("x was not collected", f"{left_out} was not performed")
