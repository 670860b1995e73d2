from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from pytest_ccci.engine.containers import ExecResult
from pytest_ccci.errors import CrashLoop, DeadlineExceeded, NotConverged, NotServing, TraefikUnavailable
from pytest_ccci.recipe.spec import Health
from pytest_ccci.run import serving as run_serving
from pytest_ccci.run.serving import Answer, is_traefiks_own, question_of, wait_route_gone, wait_serving
from pytest_ccci.waiting import Deadline

URL = "https://docs.ci.test/"


def response(status: int, body: bytes = b"", **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made._content = body
    made.headers.update(headers)
    return made


TRAEFIK = response(404, b"404 page not found\n", **{"Content-Type": "text/plain; charset=utf-8"})


class Http(requests.Session):
    """Says what it is told to say, one thing after the other, the last for ever."""

    def __init__(self, *answers: requests.Response | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[dict[str, object]] = []

    def get(self, url: str | bytes, **options: object) -> requests.Response:
        self.asked.append({"url": url, **options})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def healthy() -> None:
    """Nothing died."""


def app_with(http: Http, **more: object) -> Any:
    return SimpleNamespace(http=http, url=URL.rstrip("/"), domain="docs.ci.test", stack="docs", engine=None, **more)


def serving(http: Http, *, seconds: float = 30, still: Callable[[], None] = healthy, accept: int = 302) -> Answer:
    question = question_of(app_with(http), Health(accept=(200, accept)))
    assert question is not None
    return wait_serving(question, deadline=Deadline(seconds), healthy=still)


@pytest.mark.parametrize(
    ("answer", "own"),
    [
        (TRAEFIK, True),
        (response(404, b"404 page not found"), True),
        (response(404, b"404 page not found\n", Server="nginx"), False),
        (response(404, b"no such document"), False),
        (response(404, b""), False),
        (response(200, b"404 page not found\n"), False),
        (response(502, b"Bad Gateway"), False),
    ],
)
def test_traefiks_own_404_is_told_from_an_apps(answer: requests.Response, *, own: bool) -> None:
    assert is_traefiks_own(answer) is own


def test_an_accepted_status_from_the_app_is_serving() -> None:
    assert serving(Http(response(302))) == Answer(serves=True, said="status 302")


def test_redirects_are_not_followed_away_from_the_app() -> None:
    http = Http(response(302))
    serving(http)
    assert http.asked == [{"url": URL, "allow_redirects": False, "timeout": 10}]


def test_it_waits_through_no_route_bad_gateway_and_refused_connections() -> None:
    assert serving(Http(requests.ConnectionError("refused"), TRAEFIK, response(502), response(200))).serves


def test_traefiks_404_is_not_serving_even_where_404_is_accepted() -> None:
    with pytest.raises(NotServing) as caught:
        serving(Http(TRAEFIK), seconds=0, accept=404)
    assert caught.value.seen == "status 404 (from Traefik itself: no route)"


def test_in_vain_it_says_what_was_answered_last_and_what_to_look_at() -> None:
    with pytest.raises(NotServing, match=r"docs\.ci\.test/ does not answer with 200, 302") as caught:
        serving(Http(response(500)), seconds=0)
    assert caught.value.seen == "status 500"
    assert "router" in caught.value.advice


def test_where_nobody_listens_it_is_the_machines_fault_and_not_the_recipes() -> None:
    with pytest.raises(TraefikUnavailable) as caught:
        serving(Http(requests.ConnectionError("connection refused")), seconds=0)
    assert caught.value.seen == "connection refused"


@pytest.mark.parametrize("problem", [requests.ReadTimeout("no answer"), requests.exceptions.SSLError("bad name")])
def test_in_vain_without_any_answer_it_says_why(problem: Exception) -> None:
    with pytest.raises(NotServing) as caught:
        serving(Http(problem), seconds=0)
    assert caught.value.seen == str(problem)


def test_an_app_that_died_meanwhile_ends_the_wait_at_once() -> None:
    def died() -> None:
        raise CrashLoop("service app keeps dying")

    with pytest.raises(CrashLoop):
        serving(Http(response(502)), seconds=600, still=died)


@pytest.mark.parametrize("last", [TRAEFIK, requests.ConnectionError("refused")])
def test_a_route_is_gone_when_traefik_itself_answers_or_nobody(last: requests.Response | Exception) -> None:
    assert wait_route_gone(Http(response(200), response(502), last), URL)


@pytest.mark.parametrize("last", [response(200), response(404, b"of the app"), requests.ReadTimeout("tries the task")])
def test_a_route_that_still_leads_somewhere_is_not_gone(last: requests.Response | Exception) -> None:
    assert not wait_route_gone(Http(last), URL, seconds=0)


def asked(health: Health, **more: Any) -> Answer:
    question = question_of(app_with(Http(), **more), health)
    assert question is not None
    return question.ask()


def test_where_nothing_is_to_be_asked_nothing_is() -> None:
    assert question_of(app_with(Http()), Health(kind="none", reason="a relay for outgoing mail")) is None


@pytest.mark.parametrize(
    ("done", "answer"),
    [
        (ExecResult(0, "alive", ""), Answer(serves=True, said="exit status 0: alive")),
        (ExecResult(1, "", "no quorum\n"), Answer(serves=False, said="exit status 1: no quorum")),
        (ExecResult(7, "", ""), Answer(serves=False, said="exit status 7")),
        (NotConverged("no running task of service db"), Answer(serves=False, said="no running task of service db")),
        (DeadlineExceeded("ctl said nothing"), Answer(serves=False, said="ctl said nothing")),
    ],
)
def test_a_program_in_the_container_says_by_its_status_whether_it_serves(
    done: ExecResult | Exception, answer: Answer
) -> None:
    ran: list[tuple[str, Sequence[str]]] = []

    def execute(service: str, argv: Sequence[str], **_: object) -> ExecResult:
        ran.append((service, argv))
        if isinstance(done, Exception):
            raise done
        return done

    health = Health(kind="exec", service="db", command=("ctl", "ping me"))
    assert asked(health, exec=execute) == answer
    assert ran == [("db", ("ctl", "ping me"))]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service runs on this machine."""
    monkeypatch.setattr(run_serving, "address_of", lambda _engine, _stack, service: "127.0.0.1" if service else "")


@pytest.mark.usefixtures("here")
def test_a_port_serves_when_it_takes_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        health = Health(kind="tcp", service="relay", port=server.getsockname()[1])
        assert asked(health) == Answer(serves=True)
    refused = asked(health)
    assert (refused.serves, refused.refused) == (False, False)
    assert "refused" in refused.said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("status", "serves"), [(204, True), (302, False), (500, False)])
def test_a_port_is_asked_by_http_past_traefik_and_past_proxies(
    monkeypatch: pytest.MonkeyPatch, *, status: int, serves: bool
) -> None:
    hosts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(f"{self.path} {self.headers['Host']}")
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        answer = asked(Health(path="/up", accept=(204,), port=server.server_port))
    assert answer == Answer(serves=serves, said=f"status {status}")
    assert hosts == ["/up docs.ci.test"]


@pytest.mark.parametrize("health", [Health(kind="tcp", port=1), Health(port=1)])
def test_a_service_that_does_not_run_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch, health: Health) -> None:
    def address_of(*_: object) -> str:
        raise NotConverged("no running task of service app")

    monkeypatch.setattr(run_serving, "address_of", address_of)
    assert asked(health) == Answer(serves=False, said="no running task of service app")


@pytest.mark.parametrize(
    ("health", "says"),
    [
        (Health(kind="tcp", service="relay", port=25), "port 25 of service relay takes no connection"),
        (Health(kind="exec", command=("ctl", "ping")), "ctl in service app does not end well"),
        (Health(path="/up", port=9000), "/up at port 9000 of service app does not answer with 200, 301, 302"),
    ],
)
def test_in_vain_it_says_what_was_asked_and_which_keys_to_look_at(health: Health, says: str) -> None:
    question = question_of(app_with(Http()), health)
    assert question is not None
    assert question.what == says
    assert "[health] in recipe.toml" in question.advice


@pytest.mark.parametrize(("host", "asked"), [("", "docs.ci.test"), ("files-docs.ci.test", "files-docs.ci.test")])
def test_another_host_of_the_app_is_asked_where_recipe_toml_names_one(host: str, asked: str) -> None:
    http = Http(TRAEFIK)
    question = question_of(app_with(http), Health(path="/up", host="files-{{ domain }}"), host=host)
    assert question is not None
    assert not question.ask().serves
    assert http.asked[0]["url"] == f"https://{asked}/up"
    assert question.what.startswith(f"https://{asked}/up does not answer with 200")
    assert question.advice.startswith(f"see whether a router's rule names {asked}")
