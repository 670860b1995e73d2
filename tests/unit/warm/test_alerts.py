from __future__ import annotations

import json
import stat

import pytest

from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import Alert, AlertKind, acknowledge, open_alerts, write_alert


def test_an_alert_is_read_back_as_it_was_written(state: StateDir) -> None:
    alert = Alert(AlertKind.ROLLED_BACK, "keycloak", attempted="2.0.0+27.0.0", last_good="1.0.1+26.7.3", recovered=True)

    path = write_alert(state, alert)

    assert open_alerts(state) == ((path, alert),)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["kind"] == "rolled-back"


def test_two_alerts_of_one_second_are_two_files(state: StateDir) -> None:
    alert = Alert(AlertKind.DISK, "engine", time="2026-01-01T00:00:00+00:00")

    assert write_alert(state, alert) != write_alert(state, alert)
    assert len(open_alerts(state)) == 2


def test_an_acknowledged_alert_is_kept_but_no_longer_open(state: StateDir) -> None:
    path = write_alert(state, Alert(AlertKind.QUARANTINED, "lasuite-docs"))

    seen = acknowledge(state, path)

    assert open_alerts(state) == ()
    assert seen.parent.name == "seen"
    assert seen.is_file()


ODD = (
    "",
    "[]",
    '{"kind": "unheard-of", "app": "x"}',
    '{"kind": "disk"}',
    '{"kind": "disk", "app": "x", "time": "2026-01-01T00:00:00"}',
    "\x00",
)


@pytest.mark.parametrize("content", ODD)
def test_an_alert_that_cannot_be_read_is_still_shown(state: StateDir, content: str) -> None:
    (state.alerts / "odd.json").write_text(content)

    ((_, alert),) = open_alerts(state)

    assert "odd.json" in alert.notes
