from __future__ import annotations

import json
import threading

import pytest

from pytest_ccci.errors import LockBusy
from pytest_ccci.locks import hold, is_held
from pytest_ccci.ops.inflight import holders, nothing_in_flight, runs_in_flight
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
