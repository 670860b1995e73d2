from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.alerts import Alert, AlertKind, deliver, open_alerts, through_apprise, write_alert


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = open_state(tmp_path / "state")
    write_alert(state, Alert(AlertKind.HELD_MAJOR, "keycloak", attempted="2.0.0+27.0.0", notes="read this"))
    write_alert(state, Alert(AlertKind.DISK, "engine"))
    return state


def kinds(state: StateDir) -> list[str]:
    return sorted(alert.kind for _, alert in open_alerts(state))


def nobody(_line: str) -> None:
    pass


def test_what_was_delivered_is_seen_and_says_what_an_operator_must_know(state: StateDir) -> None:
    sent: list[tuple[str, str]] = []

    done = deliver(state, lambda title, text: sent.append((title, text)) or "")  # type: ignore[func-returns-value]  # an empty answer is success

    assert (done.delivered, done.undelivered) == (2, 0)
    assert kinds(state) == []
    assert len(list((state.alerts / "seen").glob("*.json"))) == 2
    title, text = next(each for each in sent if "held-major" in each[0])
    assert title == "held-major: keycloak 2.0.0+27.0.0"
    assert "read this" in text


def test_what_was_not_delivered_stays_open_and_is_said_once(state: StateDir) -> None:
    for _ in range(3):
        done = deliver(state, lambda *_a: "nobody is there")
        assert (done.delivered, done.undelivered, done.problem) == (0, 2, "nobody is there")

    assert kinds(state) == ["disk", "held-major", "undelivered"]


def test_it_is_tried_again_and_then_nothing_is_left_to_say(state: StateDir) -> None:
    deliver(state, lambda *_a: "nobody is there")

    done = deliver(state, lambda *_a: "")

    assert done.delivered == 2
    assert kinds(state) == []


def test_one_that_fails_does_not_keep_the_others(state: StateDir) -> None:
    done = deliver(state, lambda title, _text: "refused" if "disk" in title else "")

    assert (done.delivered, done.undelivered) == (1, 1)
    assert kinds(state) == ["disk", "undelivered"]


def test_a_notifier_that_raises_has_not_delivered(state: StateDir) -> None:
    def broken(_title: str, _text: str) -> str:
        raise ValueError("token-in-the-address")

    done = deliver(state, broken)

    assert done.undelivered == 2
    assert "token-in-the-address" not in done.problem


def test_without_the_extra_it_is_undelivered_and_says_what_to_install(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    done = deliver(state, through_apprise("json://127.0.0.1:1"))

    assert done.undelivered == 2
    assert "pytest-ccci[alerts]" in done.problem


def test_apprise_takes_an_alert_to_its_address(state: StateDir, httpserver: HTTPServer) -> None:
    pytest.importorskip("apprise")
    httpserver.expect_request("/ccci").respond_with_data("")

    done = deliver(state, through_apprise(f"json://127.0.0.1:{httpserver.port}/ccci"))

    assert (done.delivered, done.undelivered) == (2, 0)
    bodies = [request.get_json()["message"] for request, _ in httpserver.log]
    assert any("read this" in body for body in bodies)


@pytest.mark.parametrize(
    "urls", ["", "no-such-service://x", "json://127.0.0.1:{port}/ccci json://127.0.0.1:{port}/refuses"]
)
def test_anything_but_success_of_every_address_is_undelivered(
    state: StateDir, httpserver: HTTPServer, urls: str
) -> None:
    pytest.importorskip("apprise")
    httpserver.expect_request("/ccci").respond_with_data("")
    httpserver.expect_request("/refuses").respond_with_data("", status=500)

    done = deliver(state, through_apprise(urls.format(port=httpserver.port)))

    assert done.undelivered == 2
    assert kinds(state) == ["disk", "held-major", "undelivered"]
