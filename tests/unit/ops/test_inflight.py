from __future__ import annotations

import json
import threading

import pytest

from pytest_ccci.errors import LockBusy
from pytest_ccci.locks import hold, is_held, take_place
from pytest_ccci.ops.inflight import Holder, holders, nothing_in_flight, runs_in_flight, waiting_runs, with_end
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

OWNER = {"run": "r7", "recipe": "docs", "mode": "quick"}


def test_a_run_with_a_slot_and_an_app_is_one_run_in_flight(state: StateDir) -> None:
    with (
        hold(state.slots / "0.lock", wait=0, owner=OWNER),
        hold(state.lock("warm-docs.ci.test"), wait=0, owner=OWNER),
    ):
        (run,) = runs_in_flight(state)
        assert (run.run, run.recipe, run.mode) == ("r7", "docs", "quick")
        assert [holder.lock for holder in holders(state)] == ["warm-docs.ci.test"]
    assert runs_in_flight(state) == ()


def test_what_a_dead_run_says_of_itself_counts_for_nothing(state: StateDir) -> None:
    state.lock("x.ci.test").touch()
    state.lock("x.ci.test").with_name("x.ci.test.lock.owner").write_text(json.dumps(OWNER))
    assert holders(state) == ()


@pytest.mark.parametrize("lock", ["slots/1.lock", "slots/9.lock", "locks/warm-docs.ci.test.lock"])
def test_nothing_stops_while_something_is_in_flight_and_it_says_what(
    state: StateDir, settings: Settings, lock: str
) -> None:
    with hold(state.root / lock, wait=0, owner=OWNER):
        with (
            pytest.raises(LockBusy, match="cannot stop the engine now") as caught,
            nothing_in_flight(state, settings, doing="stop the engine"),
        ):
            pytest.fail("it was done all the same")
        assert "run r7" in caught.value.seen
    assert not is_held(state.slots / "0.lock")


def test_no_run_can_start_meanwhile(state: StateDir, settings: Settings) -> None:
    with nothing_in_flight(state, settings, doing="stop the engine"):
        assert all(is_held(state.slots / f"{number}.lock") for number in range(settings.slots))


@pytest.mark.parametrize("lock", ["slots/1.lock", "locks/keycloak.ci.test.lock"])
def test_what_is_in_flight_is_waited_for_and_meanwhile_nothing_new_starts(
    state: StateDir, settings: Settings, lock: str
) -> None:
    done: list[str] = []

    def wait() -> None:
        with nothing_in_flight(state, settings, doing="reconcile", wait=30):
            done.append("in")

    with hold(state.root / lock, wait=0, owner=OWNER):
        waiter = threading.Thread(target=wait)
        waiter.start()
        until(lambda: is_held(state.slots / "0.lock"), deadline=Deadline(10), what="the first slot to be taken")
        assert done == []
    waiter.join(timeout=20)

    assert done == ["in"]


def test_a_bounded_wait_ends_with_who_holds_it(state: StateDir, settings: Settings) -> None:
    with (
        hold(state.lock("docs.ci.test"), wait=0, owner=OWNER),
        pytest.raises(LockBusy, match="cannot reconcile now") as caught,
        nothing_in_flight(state, settings, doing="reconcile", wait=0.3),
    ):
        pytest.fail("it was done all the same")
    assert "run r7" in caught.value.seen


def test_who_waits_for_a_slot_is_told_in_the_order_of_coming(state: StateDir) -> None:
    assert waiting_runs(state) == ()
    with (
        take_place(state.any_slot, owner={"run": "r1", "recipe": "docs"}),
        take_place(state.any_slot),
        take_place(state.any_slot, owner={"doing": "reconcile"}),
    ):
        first, second, third = waiting_runs(state)
        assert (first.recipe, first.run, third.doing) == ("docs", "r1", "reconcile")
        assert first.since
        assert str(second).startswith("somebody")
    assert waiting_runs(state) == ()
    assert list(state.slots.glob("*.waiter-*")) == []


def test_what_a_dead_waiter_said_counts_for_nothing(state: StateDir) -> None:
    with take_place(state.any_slot):
        state.any_slot.with_name("a slot.waiter-7").write_text(json.dumps(OWNER))
        assert [one.run for one in waiting_runs(state)] == [""]


@pytest.mark.parametrize(
    ("since", "seconds", "ends"),
    [
        ("2026-07-01T03:00:00+00:00", [60.0, 600.0, 90.0], "2026-07-01T03:01:30+00:00"),
        ("2026-07-01T03:00:00+00:00", [], ""),
        ("", [60.0], ""),
    ],
)
def test_a_run_is_expected_to_take_as_long_as_such_runs_took(since: str, seconds: list[float], ends: str) -> None:
    holder = with_end(Holder("0", since=since), seconds)
    assert holder.ends == ends
    assert ("expected to end at 03:01 UTC" in str(holder)) is bool(ends)
