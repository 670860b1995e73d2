"""What a real Gitea delivers to a webhook, and what our code makes of it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from realforge import BOT, EVENTS, SECRET

from pytest_ccci.errors import Refused
from pytest_ccci.ops.trigger.decision import Known, decide
from pytest_ccci.ops.trigger.delivery import Delivery, read_delivery

Story = Any  # of conftest, which a test module cannot import


def event(delivery: Delivery) -> tuple[str | None, str | None]:
    return delivery.header("x-gitea-event"), delivery.header("x-gitea-event-type")


def test_01_a_hook_of_issue_comments_alone_hears_nothing_of_pull_requests(story: Story) -> None:
    alone = f"{story.path}/alone"
    story.forge.hook(story.repository, story.receiver.address + alone, ("issue_comment",))
    story.delivered(story.pull.comment("!testme", story.ada))
    issue = story.boss.post(f"repos/{story.repository}/issues", {"title": "an issue"})["number"]
    story.boss.post(f"repos/{story.repository}/issues/{issue}/comments", {"body": "!testme"})
    (came,) = story.receiver.wait(alone)
    assert event(came) == ("issue_comment", "issue_comment")
    facts = read_delivery(came, SECRET.encode())
    assert facts is not None
    assert story.decided(facts).reason == "no-pull-request"


def test_02_a_comment_on_a_pull_request_is_an_issue_comment_that_says_so(story: Story) -> None:
    number = story.pull.comment("!testme", story.ada)
    assert event(story.delivered(number)) == ("issue_comment", "pull_request_comment")
    facts = story.facts(number)
    assert (facts.is_pull, facts.author, facts.sender, facts.fork) == (True, "ada", "ada", True)
    decision = story.decided(facts)
    assert (decision.what, decision.mode, decision.commit) == ("run", "cold", story.pull.head)


def reviews(story: Story) -> str:
    """A hook that also tells of reviews: where it delivers to."""
    path = f"{story.path}/reviews"
    story.forge.hook(story.repository, story.receiver.address + path, (*EVENTS, "pull_request_review"))
    return path


def test_02_a_review_that_says_a_command_comes_twice_and_runs_nothing(story: Story) -> None:
    path = reviews(story)
    story.ada.post(f"{story.pull.path}/reviews", {"body": "!testme", "event": "COMMENT", "comments": []})
    came = story.receiver.wait(path)
    story.delivered(story.pull.comment("afterwards", story.ada))
    story.receiver.wait(path, lambda each: b"afterwards" in each.body)
    came = [each for each in story.receiver.at(path) if b"afterwards" not in each.body]
    assert ("pull_request_comment", "pull_request_review_comment") in map(event, came)
    decisions = [story.decided(facts) for each in came if (facts := read_delivery(each, SECRET.encode()))]
    assert {decision.what for decision in decisions} == {"ignore"}, [(event(each), each.body) for each in came]


def test_02_a_line_comment_of_a_review_runs_nothing(story: Story) -> None:
    path = reviews(story)
    files = story.boss.get(f"{story.pull.path}/files")
    line = {"path": files[0]["filename"], "body": "!testme", "new_position": 1}
    story.ada.post(f"{story.pull.path}/reviews", {"body": "", "event": "COMMENT", "comments": [line]})
    story.receiver.wait(path)
    story.pull.comment("afterwards", story.ada)
    story.receiver.wait(path, lambda each: b"afterwards" in each.body)
    came = [each for each in story.receiver.at(path) if b"afterwards" not in each.body]
    decisions = [story.decided(facts) for each in came if (facts := read_delivery(each, SECRET.encode()))]
    assert {decision.what for decision in decisions} == {"ignore"}, [(event(each), each.body) for each in came]


def test_03_every_signature_that_is_sent_is_checked(story: Story) -> None:
    came = story.delivered(story.pull.comment("!testme", story.ada))
    names = {name for name, _ in came.headers}
    signatures = {"x-gitea-signature", "x-gogs-signature", "x-hub-signature-256"}
    assert signatures | {"x-hub-signature", "x-gitea-delivery", "x-github-event", "x-gogs-event"} <= names
    for name in signatures:
        wrong = tuple((each, "0" * len(value) if each == name else value) for each, value in came.headers)
        with pytest.raises(Refused, match=name):
            read_delivery(Delivery(wrong, came.body), SECRET.encode())
    with pytest.raises(Refused, match="x-forgejo-signature"):
        read_delivery(Delivery((*came.headers, ("x-forgejo-signature", "0" * 64)), came.body), SECRET.encode())
    with pytest.raises(Refused, match="signature is wrong"):
        read_delivery(replace(came, body=came.body + b" "), SECRET.encode())


def test_03_a_hook_without_a_secret_is_refused(story: Story) -> None:
    path = f"{story.path}/open"
    story.forge.hook(story.repository, story.receiver.address + path, secret="")
    story.pull.comment("!testme", story.ada)
    (came,) = story.receiver.wait(path)
    assert (came.header("x-gitea-signature"), came.header("x-hub-signature-256")) == ("", "sha256=")
    for secret, words in ((SECRET, "not signed"), ("", "no secret is configured")):
        with pytest.raises(Refused, match=words):
            read_delivery(came, secret.encode())


def test_04_the_delivery_has_the_head_of_the_time_of_the_comment(story: Story, tmp_path: Path) -> None:
    clone = story.forge.clone(story.pull.source, tmp_path / "clone", story.mallory)
    for turn in range(3):
        head = clone.commit(story.pull.branch, f"turn-{turn}")
        assert clone.push("--force", story.pull.branch)
        facts = story.facts(story.pull.comment("!testme", story.ada))
        assert facts.head == head
        assert story.decided(facts).commit == head


def test_05_a_delivery_is_far_smaller_than_our_limit(story: Story) -> None:
    came = story.delivered(story.pull.comment("!testme", story.ada))
    assert 5_000 < len(came.body) < 50_000


def test_06_a_delivery_that_fails_is_not_tried_again(story: Story) -> None:
    story.receiver.answers[story.path] = 503
    lost = story.pull.comment("!testme", story.ada)
    story.delivered(lost)
    story.receiver.answers[story.path] = late = threading.Event()
    slow = story.pull.comment("!testme", story.ada)
    story.delivered(slow)
    story.receiver.answers[story.path] = 204
    story.delivered(story.pull.comment("afterwards", story.ada))
    late.set()
    ids = [json.loads(each.body)["comment"]["id"] for each in story.receiver.at(story.path)]
    assert (ids.count(lost), ids.count(slow)) == (1, 1)


def test_07_a_replay_has_a_new_delivery_id_and_is_run_once(story: Story) -> None:
    number = story.pull.comment("!testme", story.ada)
    first = story.delivered(number)
    hook = story.boss.get(f"repos/{story.repository}/hooks")[0]["id"]
    uuid = first.header("x-gitea-delivery")
    with story.forge.login("boss") as browser:
        answer = browser.post(f"{story.forge.url}/{story.repository}/settings/hooks/{hook}/replay/{uuid}")
    assert answer.ok, answer.status_code
    again = story.receiver.wait(story.path, lambda each: each.body == first.body, count=2)[1]
    assert again.header("x-gitea-delivery") != uuid
    assert again.header("x-gitea-signature") == first.header("x-gitea-signature")
    facts = read_delivery(again, SECRET.encode())
    assert facts is not None
    assert facts.comment_id == number
    assert decide(facts, Known(BOT, handled=True, member=True, head_now=facts.head)).reason == "handled"


def test_08_an_edit_tells_who_edited_and_runs_nothing(story: Story) -> None:
    number = story.pull.comment("looks fine", story.ada)
    assert story.pull.edit(number, "!testme", story.wim) == 200
    facts = story.facts(number, "edited")
    assert (facts.author, facts.sender, facts.text) == ("ada", "wim", "!testme")
    assert story.decided(facts).reason == "edited"


def test_08_a_deleted_command_is_ignored(story: Story) -> None:
    number = story.pull.comment("!testme", story.ada)
    assert story.ada.status("DELETE", f"repos/{story.repository}/issues/comments/{number}") == 204
    decision = story.decided(story.facts(number, "deleted"))
    assert (decision.what, decision.reason) == ("ignore", "not-created")


def test_08_a_comment_on_a_closed_pull_request_is_delivered_and_refused(story: Story) -> None:
    story.pull.close()
    facts = story.facts(story.pull.comment("!testme", story.ada))
    assert not facts.is_open
    assert story.decided(facts).reason == "closed"


def test_08_a_locked_pull_request_takes_the_bots_comment(story: Story) -> None:
    assert story.boss.status("PUT", f"{story.pull.issue}/lock", {"reason": "spam"}) == 204
    assert story.bot.status("POST", f"{story.pull.issue}/comments", {"body": "told"}) == 201
    assert story.mallory.status("POST", f"{story.pull.issue}/comments", {"body": "no"}) == 403


def test_a_hook_of_the_organisation_delivers_for_all_its_repositories(story: Story) -> None:
    hook = story.forge.hook("coop", f"{story.receiver.address}/organisation", EVENTS)
    number = story.pull.comment("!testme", story.ada)
    story.receiver.wait("/organisation", lambda each: json.loads(each.body)["comment"]["id"] == number)
    assert story.boss.status("DELETE", f"orgs/coop/hooks/{hook}") == 204


def test_a_push_is_delivered_with_its_new_head(story: Story) -> None:
    head = story.pull.push()
    came = story.receiver.wait(story.path, lambda each: event(each)[1] == "pull_request_sync")[0]
    sent = json.loads(came.body)
    assert (sent["action"], sent["pull_request"]["head"]["sha"]) == ("synchronized", head)
    assert read_delivery(came, SECRET.encode()) is None
