"""Alerts: one JSON file each for what an operator must see; gone from the list only when delivered or acknowledged."""

from __future__ import annotations

import enum
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.statedir import StateDir, write_atomic

__all__ = ["Alert", "AlertKind", "acknowledge", "open_alerts", "write_alert"]


class AlertKind(enum.StrEnum):
    """Why an operator is called."""

    HELD_MAJOR = "held-major"
    HELD_MANUAL_MIGRATION = "held-manual-migration"
    HELD_UNPARSABLE = "held-unparsable"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_FAILED = "rollback-failed"
    PROMOTION_FAILED = "promotion-failed"
    QUARANTINED = "quarantined"
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
    write_atomic(path, json.dumps(asdict(alert), indent=1).encode())
    return path


def open_alerts(state: StateDir) -> tuple[tuple[Path, Alert], ...]:
    """The alerts nobody has seen yet, oldest first. A file that cannot be read is an alert in itself."""
    return tuple((path, _read(path)) for path in sorted(state.alerts.glob("*.json")))


def acknowledge(state: StateDir, path: Path) -> Path:
    """Put an alert away as seen; return where it is now."""
    seen = state.alerts / "seen"
    seen.mkdir(exist_ok=True, mode=0o700)
    return path.rename(seen / path.name)


def _read(path: Path) -> Alert:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, Mapping):
            return Alert(**{**content, "kind": AlertKind(content["kind"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        return Alert(AlertKind.UNDELIVERED, path.stem, notes=f"{path.name} cannot be read: {error}", time="")
    return Alert(AlertKind.UNDELIVERED, path.stem, notes=f"{path.name} is no alert", time="")
