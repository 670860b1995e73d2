from __future__ import annotations

import html
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.errors import Verdict
from pytest_ccci.results.forge import comment_of, status_of
from pytest_ccci.results.model import CustomTest, ImageUse, RefFact, RunResult, TierResult
from pytest_ccci.results.report import markdown, plain, summary
from pytest_ccci.results.verdict import ready_tag

HEAD = RefFact(ref="pull/7/head", commit="b" * 40, version="bbbbbbbb")
BASE = RefFact(ref="1.0.0+1", commit="a" * 40, version="1.0.0+1", release="1.0.0+1")
ORDER = ("install", "upgrade", "backup", "restore", "custom", "settle")
FACTS = {"install": {"commit": "a" * 40}, "upgrade": {"commit": "b" * 40}, "settle": {"left": "nothing"}}


def result(verdict: Verdict = Verdict.PASS, reason: str = "", **changes: Any) -> RunResult:
    """A whole cold run that is green, or in which *upgrade* came to ``verdict``."""
    tiers = [
        TierResult(tier=name, verdict=Verdict.PASS, seconds=1.0, facts=FACTS.get(name, {"seen": "it"}))
        for name in ORDER
    ]
    if verdict != Verdict.PASS:
        tiers[1] = TierResult(tier="upgrade", verdict=verdict, seconds=2.5, reason=reason)
    given: dict[str, Any] = {
        "run_id": "20261101-120000-abcdef",
        "recipe": "notes",
        "requested_mode": "cold",
        "mode": "cold",
        "asked": ORDER,
        "verdict": verdict,
        "base": BASE,
        "head": HEAD,
        "started": "2026-11-01T12:00:00Z",
        "seconds": 83.4,
        "tiers": tuple(tiers),
        "custom": (CustomTest(nodeid="test_a.py::test_y", verdict=Verdict.PASS),),
        "images": (ImageUse(ref="notes:1", image_id="sha256:ab"),),
        "engine": {"version": "28.5.0"},
        "reproduce": "pytest recipes/notes --cold",
    }
    return RunResult.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("verdict", "state", "description"),
    [
        (Verdict.PASS, "success", "1.0.0+1 to bbbbbbbb, 83 s"),
        (Verdict.FAIL, "failure", "upgrade: it broke"),
        (Verdict.ERROR, "error", "error: upgrade: it broke"),
        (Verdict.UNVERIFIED, "error", "unverified: upgrade: it broke"),
    ],
)
def test_a_cold_run_has_a_status_and_it_is_never_skipped(verdict: Verdict, state: str, description: str) -> None:
    status = status_of(result(verdict, "it broke\nand more"))
    assert status is not None
    assert (status.context, status.commit, status.state) == ("ccci/cold", "b" * 40, state)
    assert status.description == description


def test_a_skip_is_no_success_and_never_a_skip() -> None:
    status = status_of(result(verdict=Verdict.SKIP))
    assert status is not None
    assert status.state == "error"


def test_a_green_result_whose_facts_do_not_bear_it_is_an_error() -> None:
    status = status_of(result(images=()))
    assert status is not None
    assert (status.state, status.description) == ("error", "unverified: it does not tell the images that ran")


@pytest.mark.parametrize(
    "changes",
    [
        {"requested_mode": "quick", "mode": "quick"},
        {"requested_mode": "quick", "mode": "cold"},
        {"head": None},
        {"head": HEAD.model_copy(update={"dirty": True})},
        {"head": HEAD.model_copy(update={"commit": "b" * 8})},
    ],
)
def test_a_quick_run_and_what_is_no_commit_have_no_status(changes: dict[str, Any]) -> None:
    assert status_of(result(**changes)) is None


def test_a_part_of_a_run_is_no_success() -> None:
    status = status_of(result(asked=("install", "upgrade", "restore", "settle")))
    assert status is not None
    assert (status.state, status.description) == ("error", "not the whole run: without backup, custom")


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        ({}, True),
        ({"next_tag": ""}, False),
        ({"mode": "quick", "requested_mode": "quick"}, False),
        ({"asked": ("install", "upgrade")}, False),
        ({"images": ()}, False),
        ({"verdict": Verdict.FAIL}, False),
    ],
    ids=["whole and green", "no version label for it", "quick", "a part", "facts that do not bear it", "red"],
)
def test_only_a_whole_green_cold_run_says_that_its_head_can_be_tagged(changes: dict[str, Any], ready: bool) -> None:
    found = result(**{"next_tag": "1.1.0+2", **changes})
    assert ready_tag(found) == ("1.1.0+2" if ready else "")
    told = (comment_of(found), html.unescape(markdown([found])), plain(summary(found)))
    assert [("1.1.0+2" in text) == ready for text in told] == [True] * 3


def test_a_comment_has_a_table_what_failed_and_how_to_do_it_again() -> None:
    tests = (
        CustomTest(nodeid="test_a.py::test_x", verdict=Verdict.FAIL, reason="assert 1 == 2"),
        CustomTest(nodeid="test_a.py::test_y", verdict=Verdict.PASS),
    )
    text = comment_of(
        result(Verdict.FAIL, "it broke", custom=tests), link="https://git.example.org/coop/x/actions/runs/7"
    )
    linked = "[log](https://git.example.org/coop/x/actions/runs/7)"
    assert text.splitlines()[:2] == [
        "<!-- ccci run 20261101-120000-abcdef -->",
        f"**fail**: cold run of `notes`, `1.0.0+1 to bbbbbbbb`, 83.4 s, {linked}",
    ]
    assert "| upgrade | fail | 2.5 | `it broke` |" in text
    assert "The author's tests: 1 of 2 well.\n- fail: `test_a.py::test_x`: `assert 1 == 2`" in text
    assert text.endswith("To do it again: `pytest recipes/notes --cold`\n")


@pytest.mark.parametrize("link", ["javascript:alert(1)", "http://x/", "https://x/)[y](https://z", "https://x/ y"])
def test_what_is_no_plain_address_is_no_link(link: str) -> None:
    assert "log" not in comment_of(result(), link=link)


@given(st.text(max_size=400))
def test_whatever_an_app_logged_is_code_in_the_comment_and_short_in_the_status(reason: str) -> None:
    made = result(Verdict.FAIL, f"x{reason}", mode_reason=reason, reproduce=reason, recipe=f"n{reason}")
    status = status_of(made)
    assert status is not None
    assert len(status.description) <= 140
    assert status.description.isprintable()
    text = comment_of(made)
    assert text.replace("\n", "").isprintable()
    rows = [row for row in text.splitlines() if row.startswith("| upgrade")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 5
    for row in text.splitlines():
        assert row.count("`") % 2 == 0
