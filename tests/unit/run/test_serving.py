from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from pytest_ccci.errors import CrashLoop, NotServing, TraefikUnavailable
from pytest_ccci.run.serving import Answer, is_traefiks_own, wait_route_gone, wait_serving
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


def serving(http: Http, *, seconds: float = 30, still: Callable[[], None] = healthy) -> Answer:
    return wait_serving(http, URL, accept=(200, 302), deadline=Deadline(seconds), healthy=still)


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
    assert serving(Http(response(302))) == Answer(302)


def test_redirects_are_not_followed_away_from_the_app() -> None:
    http = Http(response(302))
    serving(http)
    assert http.asked == [{"url": URL, "allow_redirects": False, "timeout": 10}]


def test_it_waits_through_no_route_bad_gateway_and_refused_connections() -> None:
    assert serving(Http(requests.ConnectionError("refused"), TRAEFIK, response(502), response(200))) == Answer(200)


def test_traefiks_404_is_not_serving_even_where_404_is_accepted() -> None:
    with pytest.raises(NotServing) as caught:
        wait_serving(Http(TRAEFIK), URL, accept=(404,), deadline=Deadline(0), healthy=healthy)
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
