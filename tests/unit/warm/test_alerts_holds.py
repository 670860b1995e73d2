from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pytest_ccci.errors import StateDamaged
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import AlertKind, Hold, keep_hold, lift_hold, load_hold, renewed

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
DAY = 86400.0


def again(previous: Hold | None, now: datetime, *, release: str = "2.0.0+27.0.0") -> tuple[Hold, bool]:
    return renewed(
        previous,
        app="keycloak",
        current="1.0.0+26.7.0",
        release=release,
        kind=AlertKind.HELD_MAJOR,
        reasons=["major"],
        now=now,
        again=DAY,
    )


def test_a_new_hold_is_alerted_and_begins_now() -> None:
    hold, tell = again(None, NOW)

    assert tell
    assert hold.since == hold.alerted == NOW.isoformat(timespec="seconds")
    assert hold.age(NOW + timedelta(hours=5)) == 5 * 3600


@pytest.mark.parametrize(("later", "tell"), [(1, False), (DAY - 1, False), (DAY, True), (3 * DAY, True)])
def test_the_same_hold_is_repeated_without_an_alert_until_a_day_is_over(later: float, tell: bool) -> None:
    first, _ = again(None, NOW)
    moment = NOW + timedelta(seconds=later)

    hold, told = again(first, moment)

    assert told is tell
    assert hold.since == first.since
    assert hold.alerted == (moment.isoformat(timespec="seconds") if tell else first.alerted)


def test_a_day_is_counted_from_the_last_alert_and_not_from_the_first() -> None:
    hold, _ = again(None, NOW)
    told = []
    for hours in range(0, 73, 6):
        hold, tell = again(hold, NOW + timedelta(hours=hours))
        told.append(tell)

    assert sum(told) == 3


def test_another_release_that_is_held_too_is_news_and_the_time_goes_on() -> None:
    first, _ = again(None, NOW)

    hold, tell = again(first, NOW + timedelta(hours=1), release="2.0.1+27.0.1")

    assert tell
    assert hold.since == first.since


def test_a_hold_is_read_back_as_it_was_kept_and_gone_when_lifted(state: StateDir) -> None:
    hold, _ = again(None, NOW)
    keep_hold(state, hold)

    assert load_hold(state, "keycloak") == hold

    lift_hold(state, "keycloak")
    lift_hold(state, "keycloak")
    assert load_hold(state, "keycloak") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"app": "keycloak"}', "\x00", '{"kind": "held-major", "since": 1}']
)
def test_a_hold_that_cannot_be_read_is_told(state: StateDir, content: str) -> None:
    (state.holds / "keycloak.json").write_text(content)

    with pytest.raises(StateDamaged, match=r"keycloak\.json"):
        load_hold(state, "keycloak")
