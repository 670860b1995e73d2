from __future__ import annotations

import threading

import pytest

from pytest_ccci.errors import DeadlineExceeded
from pytest_ccci.waiting import Deadline, Stopwatch, until


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_down_and_never_below_zero() -> None:
    clock = Clock()
    deadline = Deadline(5, clock=clock)
    clock.now += 2
    assert (deadline.left, deadline.passed) == (3, False)
    clock.now += 9
    assert (deadline.left, deadline.passed) == (0, True)


def test_a_stopwatch_counts_seconds_since_it_was_made() -> None:
    clock = Clock()
    watch = Stopwatch(clock=clock)
    clock.now += 2.5
    assert watch.seconds == 2.5


def test_the_first_truthy_answer_is_returned() -> None:
    answers = iter([None, 0, "", "ready", "never asked"])
    assert until(lambda: next(answers), deadline=Deadline(5), what="it", every=0.001) == "ready"
    assert next(answers) == "never asked"


def test_a_check_is_asked_once_more_at_the_end_even_where_no_time_is_left() -> None:
    assert until(lambda: "there", deadline=Deadline(0), what="it") == "there"


def test_a_wait_in_vain_names_what_it_waited_for_and_what_it_saw_last() -> None:
    seen = iter(["starting", "migrating"])
    last = "nothing"

    def check() -> None:
        nonlocal last
        last = next(seen, last)

    with pytest.raises(DeadlineExceeded, match="waited 0 s for the database") as caught:
        until(check, deadline=Deadline(0.02), what="the database", every=0.001, seen=lambda: last)
    assert caught.value.seen == "migrating"


def test_an_event_wakes_the_wait_long_before_the_next_poll() -> None:
    wake, asked = threading.Event(), threading.Event()
    ready: list[str] = []

    def check() -> str | None:
        asked.set()
        return ready[0] if ready else None

    def arrive() -> None:
        asked.wait(5)
        ready.append("event")
        wake.set()

    other = threading.Thread(target=arrive)
    other.start()
    watch = Stopwatch()
    assert until(check, deadline=Deadline(60), what="it", every=30, wake=wake) == "event"
    other.join()
    assert watch.seconds < 20


def test_an_event_that_came_before_the_answer_was_read_is_not_lost() -> None:
    """The event is cleared before the question is asked: what happens while asking wakes the wait after it."""
    wake = threading.Event()
    count = 0

    def check() -> bool:
        nonlocal count
        count += 1
        wake.set()  # as if something happened just after the world was read
        return count == 3

    watch = Stopwatch()
    assert until(check, deadline=Deadline(60), what="it", every=30, wake=wake)
    assert watch.seconds < 20


def test_what_a_check_raises_ends_the_wait_at_once() -> None:
    def check() -> None:
        raise ValueError("crash loop")

    with pytest.raises(ValueError, match="crash loop"):
        until(check, deadline=Deadline(60), what="it")
