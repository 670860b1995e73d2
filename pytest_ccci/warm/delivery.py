"""Sends open alerts on through Apprise. Anything but success is undelivered: the alert stays open, and it is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_ccci.locks import Tell, hold
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import Alert, AlertKind, acknowledge, open_alerts, write_alert

__all__ = ["Delivery", "Send", "deliver", "through_apprise"]

Send = Callable[[str, str], str]
"""Takes title and text; empty when it was delivered, else why it was not."""
_APP = "alerts"
_LOCK_WAIT = 60.0
_LONGEST = 4000


@dataclass(frozen=True)
class Delivery:
    """How many alerts reached somebody, and how many did not and why."""

    delivered: int = 0
    undelivered: int = 0
    problem: str = ""


def deliver(state: StateDir, send: Send, *, tell: Tell) -> Delivery:
    """Send every open alert; one that was delivered is put away as seen.

    That some were not is an alert in itself, once, until all are. It is for ``ccci status`` and ``ccci alerts``: what
    cannot be delivered cannot say so by the same way.
    """
    with hold(state.alerts / ".delivery.lock", wait=_LOCK_WAIT, owner={"doing": "deliver alerts"}):
        found = open_alerts(state)
        told = [(path, alert) for path, alert in found if alert.kind is not AlertKind.UNDELIVERED]
        marks = [path for path, alert in found if alert.kind is AlertKind.UNDELIVERED and alert.app == _APP]
        problems = []
        for path, alert in told:
            problem = _attempt(send, alert)
            if problem:
                problems.append(problem)
            else:
                acknowledge(state, path)
        if problems and not marks:
            notes = f"{len(problems)} alerts could not be delivered: {problems[0]}"
            write_alert(state, Alert(AlertKind.UNDELIVERED, _APP, notes=notes))
        if not problems:
            for path in marks:
                acknowledge(state, path)
    if problems:
        tell(f"alerts: {len(problems)} could not be delivered: {problems[0]}")
    return Delivery(len(told) - len(problems), len(problems), problems[0] if problems else "")


def through_apprise(urls: str) -> Send:
    """Send to all of ``urls`` (separated by blanks); delivered means that each of them took it."""

    def send(title: str, text: str) -> str:
        with warnings.catch_warnings():
            # What the library warns of at its import must keep no alert back where warnings are errors.
            warnings.simplefilter("ignore")
            return _send(urls.split(), title, text)

    return send


def _send(urls: Sequence[str], title: str, text: str) -> str:
    try:
        import apprise  # noqa: PLC0415  an extra: only who sets addresses needs it
    except ImportError:
        return "the package apprise is not installed: pip install 'pytest-ccci[alerts]'"
    service = apprise.Apprise()
    for number, url in enumerate(urls, 1):
        if not service.add(url):
            return f"address {number} in ccci_alert_urls is none that Apprise knows"
    if not len(service):
        return "ccci_alert_urls names no address"
    # True, None or False, in newer versions an object: true only where every address took it.
    return "" if service.notify(title=title, body=text) else "not every address took it"


def _attempt(send: Send, alert: Alert) -> str:
    try:
        return send(f"{alert.kind}: {alert.app} {alert.attempted}".rstrip(), _text(alert))
    except Exception as error:  # noqa: BLE001  whatever a notifier raises, the alert was not delivered
        return f"{type(error).__name__} while sending"


def _text(alert: Alert) -> str:
    rows: Sequence[tuple[str, object]] = (
        ("attempted", alert.attempted),
        ("last good", alert.last_good),
        ("serves again", {True: "yes", False: "NO", None: ""}[alert.recovered]),
        ("held for", f"{alert.held_for / 86400:.1f} days" if alert.held_for else ""),
        ("run", alert.run_id),
        ("time", alert.time),
    )
    lines = [f"{name}: {value}" for name, value in rows if value]
    return "\n".join([*lines, "", alert.notes])[:_LONGEST]
