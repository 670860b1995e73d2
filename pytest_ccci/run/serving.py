"""Does the app itself answer at its own address, through Traefik and TLS, as the recipe promises?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import requests

from pytest_ccci.errors import DeadlineExceeded, NotServing, TraefikUnavailable
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.web import nobody_answers

__all__ = ["Answer", "is_traefiks_own", "wait_route_gone", "wait_serving"]

_TRAEFIK_404 = b"404 page not found\n"


@dataclass(frozen=True)
class Answer:
    """What the app's address last said: a status, or why there was none; ``refused``: nobody listens there at all."""

    status: int = 0
    problem: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return f"status {self.status}" + (f" ({self.problem})" if self.problem else "") if self.status else self.problem


def is_traefiks_own(response: requests.Response) -> bool:
    """Whether this is Traefik's own 404 and not an app's (measured: exactly this body, and no Server header)."""
    return response.status_code == requests.codes.not_found and (
        response.content.strip() == _TRAEFIK_404.strip() and "Server" not in response.headers
    )


def wait_serving(
    http: requests.Session, url: str, *, accept: tuple[int, ...], deadline: Deadline, healthy: Callable[[], None]
) -> Answer:
    """Wait until ``url`` answers with an accepted status, from the app and not from Traefik.

    ``healthy`` is asked between tries and raises when waiting is in vain (the app died meanwhile).

    Raises:
        NotServing: it did not by the deadline; says what it answered last.
        TraefikUnavailable: nobody took the connection, so that the app cannot be judged.
    """
    last = Answer(problem="never asked")

    def ask() -> Answer | None:
        nonlocal last
        last = _get(http, url)
        if last.status in accept and not last.problem:
            return last
        healthy()
        return None

    try:
        return until(ask, deadline=deadline, what=f"{url} to answer", every=0.2)
    except DeadlineExceeded as error:
        if last.refused:
            raise TraefikUnavailable("Traefik does not answer", where=url, seen=str(last)) from error
        raise NotServing(
            f"{url} does not answer with {', '.join(map(str, accept))}",
            seen=str(last),
            advice="see whether the router's rule names this domain, and what the app logged",
        ) from error


def _get(http: requests.Session, url: str) -> Answer:
    try:
        response = http.get(url, allow_redirects=False, timeout=10)
    except requests.RequestException as error:
        return Answer(problem=str(error)[:300], refused=nobody_answers(error))
    return Answer(response.status_code, "from Traefik itself: no route" if is_traefiks_own(response) else "")


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
