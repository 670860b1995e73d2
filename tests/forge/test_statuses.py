"""Commit statuses of a real Gitea: what is stored, what is read back, and what lets a pull request merge."""

from __future__ import annotations

from typing import Any

import pytest
from realforge import BOT

from pytest_ccci.waiting import Deadline, until

Story = Any  # of conftest, which a test module cannot import

COLD = "ccci/cold"


def post(story: Story, state: str, context: str = COLD, *, by: Any = None, sha: str = "", **more: str) -> int:
    told = {"state": state, "context": context, **more}
    number: int = (by or story.bot).status("POST", f"repos/{story.repository}/statuses/{sha or story.pull.head}", told)
    return number


def protect(story: Story, *contexts: str) -> None:
    rule = {"rule_name": "main", "enable_push": False, "enable_status_check": True, "status_check_contexts": contexts}
    story.boss.post(f"repos/{story.repository}/branch_protections", {**rule, "status_check_contexts": list(contexts)})


def statuses(story: Story, **query: Any) -> list[dict[str, Any]]:
    return story.bot.get(f"repos/{story.repository}/commits/{story.pull.head}/statuses", **query) or []


def test_12_any_word_is_taken_for_a_state(story: Story) -> None:
    for state in ("neutral", "cancelled", "skipped", "warning"):
        assert post(story, state) == 201
    assert {each["status"] for each in statuses(story)} == {"neutral", "cancelled", "skipped", "warning"}


def test_13_the_combined_status_is_told_for_each_page_and_is_of_no_use(story: Story) -> None:
    for number in range(8):
        assert post(story, "failure" if number == 0 else "success", f"other/{number}") == 201
    path = f"repos/{story.repository}/commits/{story.pull.head}/status"
    pages = [story.bot.get(path, page=page, limit=3) for page in (1, 2, 3)]
    assert {page["state"] for page in pages} == {"success", "failure"}
    assert [page["total_count"] for page in pages] == [3, 3, 2]


def test_13_statuses_come_in_pages_of_fifty_at_most_and_only_their_numbers_tell_the_newest(story: Story) -> None:
    assert post(story, "pending", by=story.wim) == 201
    for number in range(51):
        assert post(story, "success", f"other/{number}") == 201
    page = statuses(story, limit=500)
    assert len(page) == 50
    assert len(statuses(story)) == 30
    last = statuses(story, limit=50, page=2)
    whole = page + last
    assert len(whole) == 52
    assert [each["created_at"] for each in whole] == sorted((each["created_at"] for each in whole), reverse=True)
    assert max(whole, key=lambda each: each["id"])["context"] == "other/50"
    assert min(whole, key=lambda each: each["id"])["creator"]["login"] == "wim"


def test_14_anybody_who_may_write_overwrites_a_status_and_only_its_creator_tells(story: Story) -> None:
    assert (post(story, "failure"), post(story, "success", by=story.wim)) == (201, 201)
    assert post(story, "success", by=story.mallory) == 403
    older, newest = sorted(statuses(story), key=lambda each: each["id"])
    assert (newest["creator"]["login"], newest["status"]) == ("wim", "success")
    assert (older["creator"]["login"], older["status"]) == (BOT, "failure")
    fork = f"repos/{story.pull.source}/statuses/{story.pull.head}"
    assert story.mallory.status("POST", fork, {"state": "success", "context": COLD}) == 201
    assert len(statuses(story)) == 2


@pytest.mark.parametrize("state", ["pending", "failure", "error", "warning", "neutral"])
def test_15_a_required_check_blocks_with_every_other_state(story: Story, state: str) -> None:
    protect(story, COLD)
    assert post(story, state) == 201
    assert story.pull.merged(story.wim) == 405


@pytest.mark.parametrize("state", ["success", "skipped"])
def test_15_a_required_check_lets_a_pull_request_merge(story: Story, state: str) -> None:
    """So nothing of ours is ever *skipped*."""
    protect(story, COLD)
    assert story.pull.merged(story.wim) == 405
    assert post(story, state) == 201
    assert story.pull.merged(story.wim) == 200


@pytest.mark.parametrize("quick", ["failure", "warning", "error"])
def test_16_without_a_list_of_checks_every_status_gates_so_a_quick_run_has_none(story: Story, quick: str) -> None:
    protect(story)
    assert post(story, "success") == 201
    assert post(story, quick, "ccci/quick") == 201
    assert story.pull.merged(story.wim) == 405


def test_17_a_short_commit_id_is_taken_and_an_unknown_one_is_a_fault_of_the_forge(story: Story) -> None:
    assert post(story, "error", sha=story.pull.head[:8]) == 201
    assert post(story, "error", sha="0" * 40) == 500
    assert post(story, "error", description="x" * 5000) == 201


def test_18_after_a_change_of_protection_a_merge_is_to_be_asked_again(story: Story) -> None:
    protect(story, COLD)
    assert post(story, "success") == 201
    answers: list[tuple[int, str]] = []

    def merged() -> bool:
        answer = story.wim.ask("POST", f"{story.pull.path}/merge", {"Do": "merge"})
        answers.append((answer.status_code, answer.text))
        return bool(answer.ok)

    until(merged, deadline=Deadline(60), what="the merge check to have run", every=0.1, seen=lambda: answers[-1][1])
    assert all(status == 405 and "try again later" in text.lower() for status, text in answers[:-1])
