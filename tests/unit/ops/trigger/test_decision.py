"""The head of a comment that was polled: bound from two reads, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pytest_ccci.ops.trigger.decision import CommentFacts, Decision, Known, PullRead, Push, answer, bind_head, decide

WHEN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
HEAD, OTHER = "a" * 40, "c" * 40
COMMENT = CommentFacts("coop/notes", 3, 100, "!testme", "ada", "ada", source="poll")
FIRST = PullRead(timedelta(seconds=60), COMMENT, WHEN, HEAD, ())
SECOND = replace(FIRST, at=timedelta(seconds=65))
ADA = Known("ccci", member=True)


def push(number: int, seconds: float) -> Push:
    return Push(number, WHEN + timedelta(seconds=seconds))


def test_a_head_that_stays_and_no_push_is_the_comments_head() -> None:
    pushes = (push(50, -3600), push(99, -6))
    facts = bind_head(replace(FIRST, pushes=pushes), replace(SECOND, pushes=pushes))
    assert (facts.head, facts.doubt) == (HEAD, "")
    assert decide(facts, ADA) == Decision("run", "asked", commit=HEAD)


@pytest.mark.parametrize(
    ("first", "second", "doubt"),
    [
        (FIRST, replace(SECOND, at=timedelta(seconds=64.9)), "not read twice"),
        (FIRST, FIRST, "not read twice"),
        (SECOND, FIRST, "not read twice"),
        (replace(FIRST, comment=replace(COMMENT, comment_id=99)), SECOND, "not read twice"),
        (replace(FIRST, complete=False), SECOND, "did not show all"),
        (FIRST, replace(SECOND, complete=False), "did not show all"),
        (FIRST, replace(SECOND, head=OTHER), "moved while it was read"),
        (FIRST, replace(SECOND, pushes=(push(101, -0.9),)), "within five seconds"),
        (replace(FIRST, pushes=(push(101, 4),)), SECOND, "within five seconds"),
        (FIRST, replace(SECOND, pushes=(push(99, -4),)), "within five seconds"),
        (FIRST, replace(SECOND, pushes=(push(101, 30),)), "a push after the comment"),
        (FIRST, replace(SECOND, pushes=(push(101, -3600),)), "a push after the comment"),
    ],
    ids=str,
)
def test_a_doubt_is_told_and_nothing_runs(first: PullRead, second: PullRead, doubt: str) -> None:
    facts = bind_head(first, second)
    assert facts.head == ""
    assert doubt in facts.doubt
    decision = decide(facts, replace(ADA, head_now=HEAD))
    assert (decision.what, decision.reason, decision.commit) == ("refuse", "head-unknown", "")
    assert doubt in answer(decision)
    assert f"`!testme {HEAD}`" in answer(decision)


def test_the_sure_form_runs_in_spite_of_a_push_nearby() -> None:
    comment = replace(COMMENT, text=f"!testme {HEAD}")
    near = (push(101, -1),)
    facts = bind_head(replace(FIRST, comment=comment), replace(SECOND, comment=comment, pushes=near))
    assert decide(facts, replace(ADA, head_now=HEAD)).what == "run"
    assert decide(facts, replace(ADA, head_now=OTHER)).reason == "not-the-head"


@pytest.mark.parametrize("comment", [replace(COMMENT, edited=True), replace(COMMENT, text="looks good")])
def test_a_comment_that_was_edited_before_the_second_read_is_no_command(comment: CommentFacts) -> None:
    decision = decide(bind_head(replace(FIRST, comment=comment), SECOND), ADA)
    assert (decision.what, decision.reason) == ("refuse", "edited")


def test_a_pull_request_that_closed_before_the_second_read_is_closed() -> None:
    facts = bind_head(FIRST, replace(SECOND, comment=replace(COMMENT, is_open=False)))
    assert decide(facts, ADA).reason == "closed"


def test_what_is_ignored_has_no_answer_and_help_shows_the_three_forms() -> None:
    assert answer(decide(replace(COMMENT, text="fine"), ADA)) == ""
    text = answer(decide(replace(COMMENT, text="!testme `rm -rf /`"), ADA))
    assert "rm -rf" not in text
    assert text.count("`!testme") == 3
