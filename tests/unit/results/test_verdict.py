from __future__ import annotations

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.plugin.backend import TIERS
from pytest_ccci.results.model import CustomTest, TierResult
from pytest_ccci.results.verdict import ORDER, custom_tier, run_verdict

SHORT = {"i": "install", "u": "upgrade", "b": "backup", "r": "restore", "s": "settle"}


def tiers(text: str) -> list[TierResult]:
    """``i:pass s:pass`` → tiers; a skip and everything bad has a reason, ``skip!`` has none."""
    made = []
    for word in text.split():
        name, _, verdict = word.partition(":")
        reason = "" if verdict in {"pass", "skip!"} else f"{verdict} reason"
        made.append(TierResult(tier=SHORT[name], verdict=Verdict(verdict.rstrip("!")), reason=reason))
    return made


def custom_test(verdict: str) -> CustomTest:
    return CustomTest(nodeid="recipes/x/test_app.py::test_it", verdict=Verdict(verdict), reason=f"{verdict} reason")


@pytest.mark.parametrize(
    ("given", "custom", "verdict", "why"),
    [
        ("i:pass u:pass b:pass r:pass s:pass", (), "pass", ""),
        ("i:pass u:skip b:skip r:skip s:pass", (), "pass", ""),
        ("u:pass s:pass", (), "pass", ""),
        ("s:pass", ("pass",), "pass", ""),
        ("i:pass s:pass", ("pass", "skip"), "pass", ""),
        # the first that went wrong decides
        ("i:pass u:fail s:pass", (), "fail", "upgrade: fail reason"),
        ("i:pass u:fail s:error", (), "fail", "upgrade: fail reason"),
        ("i:error u:unverified s:fail", (), "error", "install: error reason"),
        ("i:pass u:unverified s:fail", (), "fail", "settle: fail reason"),
        ("i:pass s:pass", ("fail",), "fail", "custom: 1 of 1 tests: test_app.py::test_it: fail reason"),
        ("i:pass s:error", ("fail",), "fail", "custom: 1 of 1 tests: test_app.py::test_it: fail reason"),
        # what was not shown is not green
        ("i:pass u:unverified s:pass", (), "unverified", "upgrade: unverified reason"),
        (
            "i:pass s:pass",
            ("unverified", "pass"),
            "unverified",
            "custom: 1 of 2 tests: test_app.py::test_it: unverified reason",
        ),
        ("i:pass b:skip! s:pass", (), "unverified", "backup: skipped without a reason"),
        ("i:skip u:skip s:pass", (), "unverified", "nothing was shown: no tier passed"),
        ("i:skip s:pass", ("skip",), "unverified", "nothing was shown: no tier passed"),
        ("s:pass", (), "unverified", "nothing was shown: no tier passed"),
        ("i:pass", (), "unverified", "settle: was not shown"),
        ("i:pass s:skip", (), "unverified", "settle: was not shown"),
        ("", (), "unverified", "settle: was not shown"),
    ],
)
def test_the_verdict_of_a_run(given: str, custom: tuple[str, ...], verdict: str, why: str) -> None:
    assert run_verdict(tiers(given), [custom_test(one) for one in custom]) == (Verdict(verdict), why)


def test_a_green_run_that_left_something_is_a_fail() -> None:
    assert run_verdict(tiers("i:pass s:pass"), leftovers=["volume x", "network y"]) == (
        Verdict.FAIL,
        "left behind: volume x, network y",
    )


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ([], "skip"),
        (["pass"], "pass"),
        (["pass", "skip"], "pass"),
        (["skip"], "skip"),
        (["unverified", "pass"], "unverified"),
        (["error", "fail"], "fail"),
        (["error", "unverified"], "error"),
    ],
)
def test_the_authors_tests_as_one_tier(given: list[str], verdict: str) -> None:
    tier = custom_tier([custom_test(one) for one in given])
    assert tier.verdict == verdict
    assert tier.reason or verdict == "pass"


def test_a_custom_tier_that_is_already_there_is_not_counted_twice() -> None:
    given = [*tiers("i:pass s:pass"), TierResult(tier="custom", verdict=Verdict.PASS)]
    assert run_verdict(given, [custom_test("fail")])[0] == Verdict.PASS


def test_the_order_of_a_verdict_is_that_of_the_tiers() -> None:
    """Another one would make every green result unverified, and say nothing of it."""
    assert tuple(tier for tier in ORDER if tier != "custom") == TIERS
