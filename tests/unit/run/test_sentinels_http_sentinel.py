from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pytest_ccci import web
from pytest_ccci.errors import DataLost, NotServing, RecipeFault, RecipeTomlError
from pytest_ccci.recipe.spec import HttpSentinel
from pytest_ccci.run.sentinels import Sentinels

NOTE = HttpSentinel(
    kind="http",
    path="/api/notes/1",
    body='{"text": "{{ value }}"}',
    headers={"Content-Type": "application/json", "X-Host": "{{ domain }}"},
)
LIST = HttpSentinel(kind="http", path="/feed", write_path="/feed/new", method="POST")


class Notes:
    """A small app that keeps what it is sent."""

    def __init__(self, server: HTTPServer) -> None:
        self.kept: dict[str, str] = {}
        self.feed: list[str] = []
        self.asked: list[tuple[str, str, str]] = []
        server.expect_request("/api/notes/1").respond_with_handler(self.note)
        server.expect_request("/feed").respond_with_handler(lambda _: Response(", ".join(self.feed)))
        server.expect_request("/feed/new", method="POST").respond_with_handler(self.add)

    def note(self, request: Request) -> Response:
        self.asked.append((request.method, request.headers.get("X-Host", ""), request.content_type or ""))
        if request.method == "PUT":
            self.kept["1"] = request.get_data(as_text=True)
            return Response(status=204)
        return Response(self.kept["1"]) if "1" in self.kept else Response("no such note", status=404)

    def add(self, request: Request) -> Response:
        self.feed.append(request.get_data(as_text=True))
        return Response(status=201)


@pytest.fixture
def notes(httpserver: HTTPServer) -> Notes:
    return Notes(httpserver)


@pytest.fixture
def app(httpserver: HTTPServer) -> Any:
    return SimpleNamespace(url=httpserver.url_for("").rstrip("/"), domain="notes.ci.test", new_http=web.session)


def each(spec: HttpSentinel) -> Sentinels:
    return Sentinels((spec,))


def test_a_random_value_is_sent_by_the_template_and_must_be_held(app: Any, notes: Notes) -> None:
    ours = each(NOTE)
    memory = ours.seed(app, None, {})
    value = memory["http /api/notes/1"]["value"]
    assert notes.kept["1"] == f'{{"text": "{value}"}}'
    ours.check(app, None, memory, after="after the upgrade")
    assert notes.asked == [(method, "notes.ci.test", "application/json") for method in ("PUT", "GET")]
    assert ours.seed(app, None, {}) != memory


@pytest.mark.parametrize("lost", [{}, {"1": '{"text": "another"}'}], ids=["gone", "changed"])
def test_what_is_gone_or_changed_is_data_lost(app: Any, notes: Notes, lost: dict[str, str]) -> None:
    ours = each(NOTE)
    memory = ours.seed(app, None, {})
    notes.kept = lost
    with pytest.raises(DataLost, match="/api/notes/1 does not hold what was written after the upgrade"):
        ours.check(app, None, memory, after="after the upgrade")


def test_what_was_spoilt_is_found_until_it_is_restored(app: Any, notes: Notes) -> None:
    ours = each(NOTE)
    memory = ours.seed(app, None, {})
    before = dict(notes.kept)
    assert ours.spoil(app, None, memory) == 1
    with pytest.raises(DataLost):
        ours.check(app, None, memory, after="after the restore")
    notes.kept = before
    ours.check(app, None, memory, after="after the restore")


def test_a_value_that_is_only_added_to_is_not_counted_as_spoilt(app: Any, notes: Notes) -> None:
    ours = each(LIST)
    memory = ours.seed(app, None, {})
    ours.check(app, None, memory, after="right after it was written")
    assert ours.spoil(app, None, memory) == 0
    assert len(notes.feed) == 2


def test_a_refused_value_is_the_recipes_fault_with_what_was_answered(app: Any, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/notes/1", method="PUT").respond_with_data("who are you?", status=403)
    with pytest.raises(RecipeFault, match="PUT /api/notes/1 is answered with 403") as caught:
        each(NOTE).seed(app, None, {})
    assert not isinstance(caught.value, DataLost)
    assert "who are you?" in caught.value.seen


def test_a_login_page_in_the_resources_place_does_not_hold_the_value(app: Any, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/api/notes/1", method="PUT").respond_with_data("", 302, {"Location": "/login"})
    httpserver.expect_request("/api/notes/1", method="GET").respond_with_data("", 302, {"Location": "/login"})
    ours = each(NOTE)
    memory = ours.seed(app, None, {})
    with pytest.raises(DataLost, match="right after it was written"):
        ours.check(app, None, memory, after="right after it was written")


def test_an_app_that_does_not_answer_is_not_called_lost_data(app: Any) -> None:
    ours, memory = each(NOTE), {NOTE.identity: {"value": "written"}}
    nowhere: Any = SimpleNamespace(**{**vars(app), "url": "http://127.0.0.1:9"})
    with pytest.raises(NotServing, match="GET /api/notes/1 is not answered"):
        ours.check(nowhere, None, memory, after="after the upgrade")


def test_an_unknown_name_in_a_template_names_the_sentinel(app: Any) -> None:
    spec = HttpSentinel(kind="http", path="/x", headers={"Authorization": "Bearer {{ token }}"})
    with pytest.raises(RecipeTomlError, match="http sentinel, headers, key Authorization"):
        each(spec).seed(app, None, {})


def test_kept_data_that_remember_an_answer_must_be_answered_the_same(app: Any, httpserver: HTTPServer) -> None:
    ours, old = each(NOTE), {"0": {"status": "200", "body": "welcome"}}
    httpserver.expect_ordered_request("/api/notes/1").respond_with_data("welcome")
    ours.check(app, None, old, after="on the kept data")
    httpserver.expect_ordered_request("/api/notes/1").respond_with_data("welcome to 2.0")
    with pytest.raises(DataLost, match="does not answer as before"):
        ours.check(app, None, old, after="on the kept data")
    assert ours.spoil(app, None, old) == 0
