"""The API of a Forgejo or Gitea as it answers, well and badly; what a poll makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pytest_ccci.errors import InfrastructureFault, UsageError
from pytest_ccci.ops.trigger.decision import Known, decide
from pytest_ccci.ops.trigger.gitea import CommentPlace, Gitea, comment_place, poll_comment

SENT = json.loads((Path(__file__).parent / "gitea_comment.json").read_text(encoding="utf-8"))
HEAD, OTHER = "a" * 40, "c" * 40
API = "/api/v1"
PULL, TIMELINE = f"{API}/repos/coop/notes/pulls/3", f"{API}/repos/coop/notes/issues/3/timeline"
COMMENT = f"{API}/repos/coop/notes/issues/comments/1001"


class Forge:
    """What a small forge answers: a pull request with a comment, in pages of two entries; an empty page is null."""

    def __init__(self, server: HTTPServer) -> None:
        self.pull: dict[str, Any] = json.loads(json.dumps(SENT["pull_request"]))
        self.comment: dict[str, Any] = json.loads(json.dumps(SENT["comment"]))
        self.timeline: list[dict[str, Any]] = [self.entry(id=900 + n, type="label") for n in range(3)]
        self.teams: list[dict[str, Any]] = [{"id": n, "name": name} for n, name in ((1, "Owners"), (7, "Testers"))]
        self.member_status = 200
        self.asked: list[Request] = []
        self.waited: list[float] = []
        self.url = server.url_for("").rstrip("/")
        self.meanwhile: Callable[[], None] = lambda: None
        server.expect_request(PULL).respond_with_handler(self.one(lambda: self.pull))
        server.expect_request(COMMENT).respond_with_handler(self.one(lambda: self.comment))
        server.expect_request(TIMELINE).respond_with_handler(self.paged(lambda: self.timeline))
        server.expect_request(f"{API}/orgs/coop/teams").respond_with_handler(self.paged(lambda: self.teams))
        server.expect_request(f"{API}/teams/7/members/ada").respond_with_handler(self.member)

    @staticmethod
    def entry(**values: Any) -> dict[str, Any]:
        return {"created_at": "2026-11-01T10:00:00Z", "body": "", "user": {"login": "ada"}, **values}

    def one(self, what: Callable[[], object]) -> Callable[[Request], Response]:
        return lambda request: self.said(request, what())

    def paged(self, what: Callable[[], list[dict[str, Any]]]) -> Callable[[Request], Response]:
        def told(request: Request) -> Response:
            at = (int(request.args.get("page", "1")) - 1) * 2
            return self.said(request, what()[at : at + 2] or None)

        return told

    def member(self, request: Request) -> Response:
        self.asked.append(request)
        return Response("{}", status=self.member_status, content_type="application/json")

    def said(self, request: Request, value: object) -> Response:
        self.asked.append(request)
        return Response(json.dumps(value), content_type="application/json")

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.meanwhile()


@pytest.fixture
def forge(httpserver: HTTPServer) -> Forge:
    return Forge(httpserver)


def place(forge: Forge) -> CommentPlace:
    return CommentPlace(forge.url, "coop/notes", 3, 1001)


def client(forge: Forge) -> Gitea:
    return Gitea(forge.url, "a-token-of-the-bot", wait=forge.waited.append)


def test_one_read_has_head_comment_and_all_pages_of_the_timeline(forge: Forge) -> None:
    forge.timeline += [forge.entry(id=950, type="pull_push"), forge.entry(id=951, type=29)]
    read = client(forge).read_pull(place(forge))
    assert (read.head, read.complete, [push.number for push in read.pushes]) == (HEAD, True, [950, 951])
    facts = read.comment
    assert (facts.author, facts.text, facts.is_open, facts.edited, facts.fork) == ("ada", "!testme", True, False, True)
    assert {request.headers["Authorization"] for request in forge.asked} == {"token a-token-of-the-bot"}


def test_a_list_that_knows_no_pages_is_read_once(forge: Forge, httpserver: HTTPServer) -> None:
    httpserver.clear()
    whole = Forge(httpserver)
    httpserver.clear()
    for path, value in ((PULL, whole.pull), (COMMENT, whole.comment), (TIMELINE, whole.timeline)):
        httpserver.expect_request(path).respond_with_json(value)
    assert client(forge).read_pull(place(forge)).complete


def test_a_list_without_end_is_not_complete(forge: Forge, httpserver: HTTPServer) -> None:
    count = iter(range(1, 10**6))
    httpserver.clear()
    for path, value in ((PULL, forge.pull), (COMMENT, forge.comment)):
        httpserver.expect_request(path).respond_with_json(value)
    httpserver.expect_request(TIMELINE).respond_with_handler(
        lambda request: forge.said(request, [forge.entry(id=next(count), type="label")])
    )
    assert not client(forge).read_pull(place(forge)).complete
    assert len(forge.asked) == 100


def polled(forge: Forge, meanwhile: Callable[[], None] = lambda: None) -> tuple[str, str]:
    """What two reads come to, with the clock set on by the wait between them."""
    forge.meanwhile = meanwhile
    asked = client(forge)
    asked._watch = type("Watch", (), {"seconds": property(lambda _: sum(forge.waited))})()
    facts, head = poll_comment(asked, place(forge), wait=forge.wait)
    decision = decide(facts, Known("ccci", member=True, head_now=head))
    return f"{decision.what} {decision.reason}", decision.commit or decision.detail


def test_a_quiet_pull_request_binds_its_head(forge: Forge) -> None:
    assert polled(forge) == ("run asked", HEAD)
    assert forge.waited == [5.2]


def test_20_no_entries_at_all_come_as_null(forge: Forge) -> None:
    forge.timeline = []
    assert polled(forge) == ("run asked", HEAD)


def test_21_a_push_that_is_noted_late_is_seen_by_the_second_read(forge: Forge) -> None:
    late = forge.entry(id=1002, type="pull_push", created_at="2026-11-01T12:04:59Z")
    told = polled(forge, lambda: forge.timeline.append(late))
    assert told == ("refuse head-unknown", "there was a push within five seconds of the comment; write it again")


def test_21_a_head_that_moves_between_the_reads(forge: Forge) -> None:
    told = polled(forge, lambda: forge.pull["head"].update(sha=OTHER))
    assert told == ("refuse head-unknown", "the head moved while it was read")


def test_09_a_comment_that_was_edited(forge: Forge) -> None:
    forge.comment["updated_at"] = "2026-11-01T12:05:01Z"
    assert polled(forge)[0] == "refuse edited"


def test_09_a_comment_that_is_edited_between_the_reads(forge: Forge) -> None:
    assert polled(forge, lambda: forge.comment.update(body="!testme --quick"))[0] == "refuse edited"


def test_08_a_pull_request_that_closes_between_the_reads(forge: Forge) -> None:
    assert polled(forge, lambda: forge.pull.update(state="closed"))[0] == "refuse closed"


def test_10_membership_of_a_team_is_asked_by_its_name(forge: Forge) -> None:
    asked = client(forge)
    for status, member in ((200, True), (404, False), (403, None), (401, None)):
        forge.member_status = status
        assert asked.is_member("coop", "testers", "ada") is member
    with pytest.raises(UsageError, match="no team 'nobody'"):
        asked.is_member("coop", "nobody", "ada")


def test_a_comment_of_another_pull_request_is_none_of_this_one(forge: Forge) -> None:
    forge.comment["pull_request_url"] = f"{forge.url}/coop/notes/pulls/33"
    with pytest.raises(UsageError, match="on another pull request"):
        client(forge).read_pull(place(forge))


def test_what_is_not_there_is_told(forge: Forge, httpserver: HTTPServer) -> None:
    httpserver.clear()
    httpserver.expect_request(PULL).respond_with_json({}, status=404)
    httpserver.expect_request(TIMELINE).respond_with_json(None)
    httpserver.expect_request(COMMENT).respond_with_json({}, status=404)
    with pytest.raises(UsageError, match="no such pull request"):
        client(forge).read_pull(place(forge))


@pytest.mark.parametrize(
    ("status", "headers", "waited"),
    [
        (429, {"Retry-After": "7"}, [7.0, 7.0]),
        (429, {"Retry-After": "99999"}, [60.0, 60.0]),
        (429, {"Retry-After": "tomorrow"}, [5.0, 5.0]),
        (429, {}, [5.0, 5.0]),
        (503, {}, [1.0, 1.0]),
    ],
)
def test_a_forge_that_is_busy_is_asked_again_and_given_up(
    status: int, headers: dict[str, str], waited: list[float], forge: Forge, httpserver: HTTPServer
) -> None:
    httpserver.clear()
    httpserver.expect_request(PULL).respond_with_data("<b>no\x1b[2J", status=status, headers=headers)
    with pytest.raises(InfrastructureFault) as caught:
        client(forge).read_pull(place(forge))
    assert f"status {status}, 3 times" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert forge.waited == waited


def test_a_forge_that_is_busy_once_is_asked_again(forge: Forge, httpserver: HTTPServer) -> None:
    httpserver.clear()
    httpserver.expect_oneshot_request(PULL).respond_with_data("", status=429, headers={"Retry-After": "1"})
    Forge(httpserver)
    assert client(forge).read_pull(place(forge)).head == HEAD
    assert forge.waited == [1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("[" * 5000, "no JSON"),
        ('{"number": 3, "state": "open", "head": {"sha": "aaaaaaa"}}', "head.sha"),
        ('{"number": 3, "state": "open", "head"', "no JSON"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told(text: str, words: str, forge: Forge, httpserver: HTTPServer) -> None:
    httpserver.clear()
    httpserver.expect_request(PULL).respond_with_data(text, content_type="application/json")
    with pytest.raises(InfrastructureFault) as caught:
        client(forge).read_pull(place(forge))
    assert words in caught.value.seen


def test_a_redirect_is_not_followed_with_the_token(forge: Forge, httpserver: HTTPServer) -> None:
    httpserver.clear()
    httpserver.expect_request(PULL).respond_with_data("", status=302, headers={"Location": f"{forge.url}/elsewhere"})
    httpserver.expect_request("/elsewhere").respond_with_handler(lambda request: forge.said(request, {}))
    with pytest.raises(InfrastructureFault, match="could not be asked"):
        client(forge).read_pull(place(forge))
    assert forge.asked == []


def test_nobody_there_is_told(forge: Forge) -> None:
    forge.url = "http://127.0.0.1:1"
    with pytest.raises(InfrastructureFault) as caught:
        client(forge).read_pull(place(forge))
    assert "ConnectionError, 3 times" in caught.value.seen


@pytest.mark.parametrize(
    ("url", "forge", "repository"),
    [
        ("https://git.example.org/coop/notes/pulls/3#issuecomment-1001", "https://git.example.org", "coop/notes"),
        ("https://example.org:3000/git/coop/.profile/pulls/3#issuecomment-1001", "https://example.org:3000/git", None),
        ("http://localhost:3000/coop/notes/pulls/3#issuecomment-1001", "http://localhost:3000", "coop/notes"),
    ],
)
def test_the_address_of_a_comment_is_a_place(url: str, forge: str, repository: str | None) -> None:
    assert comment_place(url) == CommentPlace(forge, repository or "coop/.profile", 3, 1001)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://git.example.org/coop/notes/pulls/3#issuecomment-1", "https only"),
        ("http://localhost.example.org/coop/notes/pulls/3#issuecomment-1", "https only"),
        ("https://me:secret@git.example.org/coop/notes/pulls/3#issuecomment-1", "no address"),
        ("https://git.example.org/coop/../pulls/3#issuecomment-1", "no address"),
        ("https://git.example.org/../coop/notes/pulls/3#issuecomment-1", "no address"),
        ("https://git.example.org/coop/notes/issues/3#issuecomment-1", "no address"),
        ("https://git.example.org/coop/notes/pulls/3", "no address"),
        ("https://git.example.org/coop/notes/pulls/3#issuecomment-1\n", "no address"),
        ("\x1b[2J", "no address"),
    ],
)
def test_what_is_no_such_address_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        comment_place(url)
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)
