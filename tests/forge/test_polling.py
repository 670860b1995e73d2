"""What a poll of a real Gitea finds: moved pull requests, their comments, and pushes that are noted late."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from realforge import BOT, ORG

from pytest_ccci.ops.trigger.decision import Known, decide
from pytest_ccci.ops.trigger.gitea import Gitea, comment_place, poll_comment
from pytest_ccci.waiting import Deadline, until

Story = Any  # of conftest, which a test module cannot import


def asked(story: Story) -> Gitea:
    return Gitea(story.forge.url, story.bot.with_scopes("read:issue", "read:repository", "read:organization").token)


def test_19_one_question_finds_the_pull_requests_of_the_organisation_that_moved(story: Story) -> None:
    quiet = story.forge.pull(story.repository)
    story.pull.comment("!testme", story.ada)
    since = story.boss.get(story.pull.issue)["updated_at"]
    query: dict[str, Any] = {"type": "pulls", "state": "open", "owner": ORG, "limit": 50}
    found = story.bot.get("repos/issues/search", since=since, **query)
    mine = {each["number"] for each in found if each["repository"]["full_name"] == story.repository}
    assert story.pull.number in mine
    before = story.bot.get("repos/issues/search", **query)
    both = {each["number"] for each in before if each["repository"]["full_name"] == story.repository}
    assert {story.pull.number, quiet.number} <= both


def test_19_comments_come_all_at_once_with_those_of_just_then(story: Story) -> None:
    first = story.pull.comment("first", story.ada)
    for number in range(34):
        story.pull.comment(f"comment {number}", story.ada)
    comments = story.bot.get(f"{story.pull.issue}/comments", limit=5)
    assert len(comments) == 35
    at = next(each["updated_at"] for each in comments if each["id"] == first)
    assert first in {each["id"] for each in story.bot.get(f"{story.pull.issue}/comments", since=at)}
    assert datetime.fromisoformat(at).tzinfo is not None


def test_20_an_empty_page_is_null_for_some_lists_and_none_ends_our_reading_wrongly(story: Story) -> None:
    answers = [
        story.bot.ask("GET", path, page=9, limit=50)
        for path in (f"{story.pull.issue}/timeline", f"orgs/{ORG}/teams", f"{story.pull.issue}/comments")
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert "null" in {answer.text.strip() for answer in answers}
    assert not any("ratelimit" in name.lower() for answer in answers for name in answer.headers)
    number = story.pull.comment("!testme", story.ada)
    assert asked(story).read_pull(comment_place(story.pull.link(number))).complete


def test_21_a_quiet_pull_request_is_bound_by_a_poll(story: Story) -> None:
    """A pull request that was opened right after its push has that push noted: so this one is some seconds old."""

    def is_quiet() -> bool:
        noted = story.boss.get(f"{story.pull.issue}/timeline") or []
        times = [each["created_at"] for each in (story.boss.get(story.pull.path), *noted)]
        return time.time() - max(datetime.fromisoformat(each).timestamp() for each in times) > 7

    until(is_quiet, deadline=Deadline(30), what="the pull request to be quiet for seven seconds", every=0.5)
    number = story.pull.comment("!testme", story.ada)
    facts, head = poll_comment(asked(story), comment_place(story.pull.link(number)))
    decision = decide(facts, Known(BOT, member=True, head_now=head))
    assert (decision.what, decision.commit) == ("run", story.pull.head), (decision.words, facts)


def test_21_a_force_push_just_before_the_comment_is_never_bound_by_a_poll(story: Story, tmp_path: Path) -> None:
    clone = story.forge.clone(story.pull.source, tmp_path / "clone", story.mallory)
    head = clone.commit(story.pull.branch, "swapped")
    assert clone.push("--force", story.pull.branch)
    number = story.pull.comment("!testme", story.ada)
    facts, now = poll_comment(asked(story), comment_place(story.pull.link(number)))
    assert now == head
    decision = decide(facts, Known(BOT, member=True, head_now=now))
    assert (decision.what, decision.reason) == ("refuse", "head-unknown")
    assert "within five seconds" in decision.detail
    assert decision.sure == head


def test_21_a_push_between_the_two_reads_is_never_bound(story: Story) -> None:
    number = story.pull.comment("!testme", story.ada)
    place = comment_place(story.pull.link(number))

    def moved(_: float) -> None:
        story.pull.push()

    facts, head = poll_comment(asked(story), place, wait=moved)
    decision = decide(facts, Known(BOT, member=True, head_now=head))
    assert (decision.what, decision.reason) == ("refuse", "head-unknown")


def test_21_the_timeline_notes_a_push_with_a_later_number_than_a_comment_made_after_it(
    story: Story, tmp_path: Path
) -> None:
    clone = story.forge.clone(story.pull.source, tmp_path / "clone", story.mallory)
    clone.commit(story.pull.branch, "swapped")
    assert clone.push("--force", story.pull.branch)
    number = story.pull.comment("!testme", story.ada)
    place = comment_place(story.pull.link(number))

    def noted() -> Any:
        return asked(story).read_pull(place).pushes

    push = until(noted, deadline=Deadline(30), what="the push to be noted")[-1]
    assert push.number != number


def test_22_a_commit_that_was_pushed_away_is_fetched_by_its_full_id_only(story: Story, tmp_path: Path) -> None:
    clone = story.forge.clone(story.pull.source, tmp_path / "fork", story.mallory)
    head = clone.commit(story.pull.branch, "swapped")
    assert clone.push("--force", story.pull.branch)
    base = story.forge.clone(story.repository, tmp_path / "base", story.bot)
    address = f"{story.forge.url}/{story.repository}.git"

    def moved() -> bool:
        listed: str = base.git("ls-remote", address, f"refs/pull/{story.pull.number}/head").stdout
        return listed.startswith(head)

    until(moved, deadline=Deadline(30), what="the pull request's ref to move")
    assert base.git("fetch", "-q", address, story.pull.head, check=False).rc == 0
    assert base.git("rev-parse", "FETCH_HEAD").stdout.strip() == story.pull.head
    assert base.git("fetch", "-q", address, story.pull.head[:10], check=False).rc != 0
