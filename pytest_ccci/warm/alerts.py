"""Alerts and holds: what an operator must see, and how it is delivered on."""

from __future__ import annotations

import enum
import json
import logging
import re
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.errors import StateDamaged
from pytest_ccci.locks import hold
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.fs import os_fault

__all__ = [
    "Alert",
    "AlertKind",
    "Delivery",
    "Hold",
    "Send",
    "acknowledge",
    "deliver",
    "keep_hold",
    "lift_hold",
    "load_alert",
    "load_hold",
    "open_alerts",
    "raise_alert",
    "renewed",
    "through_apprise",
    "write_alert",
]

_LOG = logging.getLogger(__name__)


class AlertKind(enum.StrEnum):
    """Why an operator is called."""

    HELD_MAJOR = "held-major"
    HELD_MANUAL_MIGRATION = "held-manual-migration"
    HELD_UNPARSABLE = "held-unparsable"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_FAILED = "rollback-failed"
    PROMOTION_FAILED = "promotion-failed"
    QUARANTINED = "quarantined"
    LEFT_BEHIND = "left-behind"
    DISK = "disk"
    UNAVAILABLE = "unavailable"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True)
class Alert:
    """What happened to ``app``. ``recovered`` says whether it serves again; ``held_for`` is in seconds."""

    kind: AlertKind
    app: str
    attempted: str = ""
    last_good: str = ""
    recovered: bool | None = None
    held_for: float | None = None
    notes: str = ""
    run_id: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def write_alert(state: StateDir, alert: Alert) -> Path:
    """Write the alert, whole or not at all; return its file."""
    name = f"{alert.time.replace(':', '').replace('+0000', 'Z')}-{alert.kind}-{alert.app}-{uuid.uuid4().hex[:6]}.json"
    path = state.alerts / name
    write_atomic(path, json.dumps(SECRETS.scrub_all(asdict(alert)), indent=1).encode())
    return path


def raise_alert(state: StateDir, alert: Alert) -> str:
    """Write the alert; where it cannot be written, tell it. Never stops what it tells of.

    Returns:
        Empty when it was written, else why it was not.
    """
    try:
        write_alert(state, alert)
    except OSError as error:
        problem = str(os_fault(error, f"alerting that {alert.app} is {alert.kind}", state.alerts))
        _LOG.warning(f"ALERT {alert.kind}: {alert.app} {alert.attempted}: {alert.notes}\n{problem}")
        return problem
    return ""


def open_alerts(state: StateDir) -> tuple[tuple[Path, Alert], ...]:
    """The alerts nobody has seen yet, oldest first. A file that cannot be read is an alert in itself."""
    return tuple((path, _read(path)) for path in sorted(state.alerts.glob("*.json")))


def acknowledge(state: StateDir, path: Path) -> Path:
    """Put an alert away as seen; return where it is now."""
    seen = state.alerts / "seen"
    seen.mkdir(exist_ok=True, mode=0o700)
    return path.rename(seen / path.name)


def load_alert(path: Path) -> Alert | None:
    """The alert in ``path``; ``None`` where there is none.

    Raises:
        StateDamaged: it is none.
    """
    return load_state(path, Alert, advice="see what is in it, then remove it", check=_check)


def _read(path: Path) -> Alert:
    try:
        found = load_alert(path)
    except StateDamaged as error:
        return Alert(AlertKind.UNDELIVERED, path.stem, notes=f"{path.name} cannot be read: {error.seen}", time="")
    return found or Alert(AlertKind.UNDELIVERED, path.stem, notes=f"{path.name} is gone", time="")


def _check(alert: Alert) -> None:
    if alert.time and datetime.fromisoformat(alert.time).tzinfo is None:
        raise ValueError(f"{alert.time} names no zone")


@dataclass(frozen=True)
class Hold:
    """``app`` stays at ``current`` although ``release`` is there. ``since`` it is held; ``alerted`` last."""

    app: str
    current: str
    release: str
    kind: AlertKind
    reasons: tuple[str, ...]
    since: str
    alerted: str = ""

    def age(self, now: datetime) -> float:
        """For how many seconds the app is held."""
        return (now - datetime.fromisoformat(self.since)).total_seconds()


def renewed(
    previous: Hold | None,
    *,
    app: str,
    current: str,
    release: str,
    kind: AlertKind,
    reasons: Sequence[str],
    now: datetime,
    again: float,
) -> tuple[Hold, bool]:
    """The hold as it stands now, and whether an operator is to be alerted (anew).

    A newer release that is held too is news, and the app's time goes on; the same one is news after ``again`` seconds.
    """
    moment = now.isoformat(timespec="seconds")
    hold = Hold(app, current, release, kind, tuple(reasons), since=previous.since if previous else moment)
    if previous is None or (previous.release, previous.kind) != (release, kind) or not previous.alerted:
        return replace(hold, alerted=moment), True
    due = (now - datetime.fromisoformat(previous.alerted)).total_seconds() >= again
    return replace(hold, alerted=moment if due else previous.alerted), due


def load_hold(state: StateDir, app: str) -> Hold | None:
    """The hold of ``app``, if it is held.

    Raises:
        StateDamaged: the file that says so cannot be used.
    """
    return _read_hold(_file(state, app))


def keep_hold(state: StateDir, hold: Hold) -> None:
    """Record the hold."""
    write_atomic(_file(state, hold.app), json.dumps(SECRETS.scrub_all(asdict(hold)), indent=1).encode())


def lift_hold(state: StateDir, app: str) -> None:
    """The app is held no longer."""
    _file(state, app).unlink(missing_ok=True)


def _file(state: StateDir, app: str) -> Path:
    return state.holds / f"{app}.json"


def _read_hold(path: Path) -> Hold | None:
    return load_state(
        path, Hold, advice="remove it: what is held is written anew by the next reconcile", check=_check_hold
    )


def _check_hold(hold: Hold) -> None:
    for moment in (hold.since, hold.alerted):
        if moment and datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(f"{moment} names no zone")
    if not hold.since:
        raise ValueError("it does not say since when")


Send = Callable[[str, str], str]
"""Takes title and text; empty when it was delivered, else why it was not."""
_APP = "alerts"
_LOCK_WAIT = 60.0
_LONGEST = 4000
# Part of an address that is as long as this is a key of the service, not a name.
_TOKEN = 16


@dataclass(frozen=True)
class Delivery:
    """How many alerts reached somebody, and how many did not and why."""

    delivered: int = 0
    undelivered: int = 0
    problem: str = ""


def deliver(state: StateDir, send: Send) -> Delivery:
    """Send every open alert; one that was delivered is put away as seen.

    That some were not is an alert in itself, once, until all are. It is for ``ccci status`` and ``ccci alerts``: what
    cannot be delivered cannot say so by the same way.
    """
    with hold(state.alerts / ".delivery.lock", wait=_LOCK_WAIT, owner={"doing": "deliver alerts"}, level=logging.DEBUG):
        found = open_alerts(state)
        told = [(path, alert) for path, alert in found if alert.kind is not AlertKind.UNDELIVERED]
        marks = [path for path, alert in found if alert.kind is AlertKind.UNDELIVERED and alert.app == _APP]
        problems = []
        for path, alert in told:
            problem = _attempt(send, alert)
            if problem:
                problems.append(problem)
            else:
                _put_away(state, path)
        if problems and not marks:
            notes = f"{len(problems)} alerts could not be delivered: {problems[0]}"
            raise_alert(state, Alert(AlertKind.UNDELIVERED, _APP, notes=notes))
        if not problems:
            for path in marks:
                _put_away(state, path)
    if problems:
        _LOG.warning(f"alerts: {len(problems)} could not be delivered: {problems[0]}")
    return Delivery(len(told) - len(problems), len(problems), problems[0] if problems else "")


def through_apprise(urls: str) -> Send:
    """Send to all of ``urls`` (separated by blanks); delivered means that each of them took it."""
    SECRETS.learn(*urls.split(), *(part for part in re.split(r"[/:@?&=\s]+", urls) if len(part) >= _TOKEN))

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


def _put_away(state: StateDir, path: Path) -> None:
    """An alert that cannot be put away now is sent once more: better twice than never."""
    try:
        acknowledge(state, path)
    except OSError as error:
        _LOG.warning(f"alerts: {os_fault(error, 'putting a delivered alert away', path)}")


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
