"""For how long something did not answer, seen from outside by asking all the time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from pytest_ccci import web
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.infra_recipe import open_infra
from pytest_ccci.warm.zone import Site

__all__ = ["Silence", "listen_to"]

_EVERY = 0.1
_TIMEOUT = 2.0
_OK = 200


@dataclass
class Silence:
    """Seconds without an answer: from the last one before to the first one after, all times together."""

    total: float = 0.0
    longest: float = 0.0
    asked: int = 0
    _last: float = 0.0
    _failing: bool = False

    def note(self, at: float, *, answered: bool) -> None:
        """Count one question, asked at second ``at``."""
        self.asked += 1
        if answered:
            if self._failing:
                gap = at - self._last
                self.total += gap
                self.longest = max(self.longest, gap)
            self._last, self._failing = at, False
        else:
            self._failing = True

    def end(self, at: float) -> None:
        """What does not answer at the end was silent until then."""
        if self._failing:
            self.note(at, answered=True)


@dataclass
class Listening:
    """Both measures of one app."""

    route: Silence = field(default_factory=Silence)
    ports: Silence = field(default_factory=Silence)

    def __str__(self) -> str:
        """In words; complete when the block is left."""
        ports = f", ports closed {self.ports.total:.2f} s" if self.ports.asked else ""
        return f"route silent {self.route.total:.2f} s{ports}"


@contextmanager
def listen_to(site: Site, app: str) -> Iterator[Listening]:
    """Ask the live-warm ``app``'s route, and for Traefik both ports, for as long as the block runs."""
    recipe = open_infra(site, app, refresh=False)
    url = f"{site.zone.url(recipe.domain)}{recipe.spec.health.path}"
    heard, over = Listening(), threading.Event()
    asks = [(heard.route, lambda: _answers(site, url))]
    if app == "traefik":
        asks.append((heard.ports, lambda: _open(site)))
    threads = [threading.Thread(target=_ask, args=(*each, over), daemon=True) for each in asks]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ask(silence: Silence, answers: Callable[[], bool], over: threading.Event) -> None:
    watch = Stopwatch()
    while not over.wait(_EVERY):
        silence.note(watch.seconds, answered=answers())
    silence.end(watch.seconds)


def _answers(site: Site, url: str) -> bool:
    try:
        with web.session(site.zone.route, timeout=_TIMEOUT) as client:
            return client.get(url).status_code == _OK
    except (requests.RequestException, OSError):
        return False


def _open(site: Site) -> bool:
    """Whether both ports answer: the one takes connections, the other shows a certificate."""
    zone = site.zone
    if not web.is_open(zone.address, zone.http_port, timeout=_TIMEOUT):
        return False
    try:
        return bool(web.certificate(zone.name, route=zone.route, port=zone.https_port, timeout=_TIMEOUT))
    except OSError:
        return False
