"""A test's own timeout does not count what we do around it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Protocol

__all__ = ["CLOCK", "Clock", "Timer", "untimed"]


class Timer(Protocol):
    """A timer that can be stopped, and started again."""

    def stop(self) -> None:
        """Stop it."""

    def start(self, seconds: float) -> None:
        """Start it anew."""


class Clock:
    """The timer thread that counts down for the current test (pytest-timeout's thread method), if there is one."""

    def __init__(self) -> None:
        self._timer: Timer | None = None
        self._ends = 0.0

    def started(self, timer: Timer, seconds: float) -> None:
        """A timer has begun."""
        self._timer, self._ends = timer, time.monotonic() + seconds

    def stopped(self) -> None:
        """There is none any more."""
        self._timer = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the timer meanwhile; then let it run on with what was left."""
        timer, left = self._timer, self._ends - time.monotonic()
        if timer is None:
            yield
            return
        timer.stop()
        try:
            yield
        finally:
            timer.start(max(left, 0.01))


CLOCK = Clock()


@contextlib.contextmanager
def untimed() -> Iterator[None]:
    """Stop the current test's timer meanwhile, a thread or the process's alarm clock; then let it run on.

    Deploying and settling have deadlines of their own, which clean up after themselves; a test's timeout in the middle
    of them would be blamed on the test, or leave things behind. (The thread method would end the whole process.)
    """
    with CLOCK.paused(), _no_alarm():
        yield


@contextlib.contextmanager
def _no_alarm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left, again = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, again)
