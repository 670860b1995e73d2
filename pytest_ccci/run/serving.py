"""What "serving" means: the app answers as recipe.toml says, by HTTP, by TCP, or by a program in its container."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import requests

from pytest_ccci.engine.containers import address_of
from pytest_ccci.errors import DeadlineExceeded, NotConverged, NotServing, TraefikUnavailable
from pytest_ccci.recipe.spec import Health
from pytest_ccci.run.app import App
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.web import connection_problem, nobody_answers, session

__all__ = ["Answer", "Question", "is_traefiks_own", "question_of", "wait_route_gone", "wait_serving"]

_TRAEFIK_404 = b"404 page not found\n"
_PATIENCE = 10.0


@dataclass(frozen=True)
class Answer:
    """What the app last answered: whether it serves, and in words; ``refused``: Traefik itself was not there."""

    serves: bool
    said: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Question:
    """One way to ask an app whether it serves; ``what`` ends the sentence "it does not …"."""

    what: str
    ask: Callable[[], Answer]
    advice: str


def question_of(app: App, health: Health, *, host: str = "") -> Question | None:
    """What to ask ``app`` by ``health`` of recipe.toml, at ``host`` where it is not the app's own domain.

    ``None`` where nothing is to be asked.
    """
    if health.kind == "none":
        return None
    host = host or app.domain
    at = f"port {health.port} of service {health.service}"
    match health.kind:
        case "exec":
            ask, what = (
                partial(_exec, app, health),
                f"{health.command[0]} in service {health.service} does not end well",
            )
            advice = "see command and service of [health] in recipe.toml, and what the app logged"
        case "tcp":
            ask, what = partial(_connect, app, health), f"{at} takes no connection"
            advice = "see port and service of [health] in recipe.toml, and what the app logged"
        case _:
            address = app.url.replace(app.domain, host, 1) + health.path
            url = address if health.port is None else f"{health.path} at {at}"
            what = f"{url} does not answer with {', '.join(map(str, health.accept))}"
            past = partial(_request_past_traefik, app, health, host)
            ask = partial(_request, app, health, address) if health.port is None else past
            advice = (
                f"see whether a router's rule names {host}, and what the app logged"
                if health.port is None
                else "see port, service and path of [health] in recipe.toml, and what the app logged"
            )
    return Question(what, ask, advice)


def wait_serving(question: Question, *, deadline: Deadline, healthy: Callable[[], None]) -> Answer:
    """Wait until the app answers ``question`` as it should.

    ``healthy`` is asked between tries and raises when waiting is in vain (the app died meanwhile).

    Raises:
        NotServing: it did not by the deadline; says what it answered last.
        TraefikUnavailable: nobody took the connection, so that the app cannot be judged.
    """
    last = Answer(serves=False, said="never asked")

    def ask() -> Answer | None:
        nonlocal last
        last = question.ask()
        if last.serves:
            return last
        healthy()
        return None

    try:
        return until(ask, deadline=deadline, what="the app to serve", every=0.2)
    except DeadlineExceeded as error:
        if last.refused:
            raise TraefikUnavailable("Traefik does not answer", seen=last.said) from error
        raise NotServing(question.what, seen=last.said, advice=question.advice) from error


def _request(app: App, health: Health, address: str) -> Answer:
    """Ask at one of the app's own addresses: through DNS, TLS and Traefik, as a person does."""
    try:
        response = app.http.get(address, allow_redirects=False, timeout=_PATIENCE)
    except requests.RequestException as error:
        return Answer(serves=False, said=str(error)[:300], refused=nobody_answers(error))
    if is_traefiks_own(response):
        return Answer(serves=False, said=f"status {response.status_code} (from Traefik itself: no route)")
    return Answer(response.status_code in health.accept, f"status {response.status_code}")


def _request_past_traefik(app: App, health: Health, host: str) -> Answer:
    try:
        url = f"http://{address_of(app.engine, app.stack, health.service)}:{health.port}{health.path}"
        with session(timeout=_PATIENCE) as http:
            response = http.get(url, headers={"Host": host}, allow_redirects=False)
    except (NotConverged, requests.RequestException) as error:
        return Answer(serves=False, said=str(error)[:300])
    return Answer(response.status_code in health.accept, f"status {response.status_code}")


def _connect(app: App, health: Health) -> Answer:
    try:
        address = address_of(app.engine, app.stack, health.service)
    except NotConverged as error:
        return Answer(serves=False, said=str(error)[:300])
    problem = connection_problem(address, health.port or 0, timeout=_PATIENCE)
    return Answer(serves=not problem, said=problem)


def _exec(app: App, health: Health) -> Answer:
    try:
        done = app.exec(health.service, health.command, timeout=_PATIENCE)
    except (NotConverged, DeadlineExceeded) as error:
        return Answer(serves=False, said=str(error)[:300])
    said = (done.stderr or done.stdout).strip()[-300:]
    return Answer(done.rc == 0, f"exit status {done.rc}" + (f": {said}" if said else ""))


def is_traefiks_own(response: requests.Response) -> bool:
    """Whether this is Traefik's own 404 and not an app's (measured: exactly this body, and no Server header)."""
    return response.status_code == requests.codes.not_found and (
        response.content.strip() == _TRAEFIK_404.strip() and "Server" not in response.headers
    )


def wait_route_gone(http: requests.Session, url: str, *, seconds: float = 15.0) -> bool:
    """Whether the app's address no longer leads anywhere: Traefik answers itself, or nothing does."""

    def gone() -> bool:
        try:
            return is_traefiks_own(http.get(url, allow_redirects=False, timeout=1))
        except requests.Timeout:
            return False  # Traefik still tries to reach the task that is gone
        except requests.RequestException:
            return True

    try:
        return until(gone, deadline=Deadline(seconds), what=f"the route of {url} to go", every=0.1)
    except DeadlineExceeded:
        return False
