"""The only place that waits: bounded, woken by events, polling as the fallback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pytest_ccci.errors import DeadlineExceeded

__all__ = ["Deadline", "Stopwatch", "pause", "until"]

T = TypeVar("T")


class Deadline:
    """A point in time, ``seconds`` from now on the monotonic clock."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._end - self._clock())

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return self.left <= 0


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._clock() - self._start


def pause(seconds: float) -> None:
    """Let ``seconds`` pass. Only for pacing a poll, never to hope that something is done by then."""
    time.sleep(seconds)


def until(
    check: Callable[[], T | None],
    *,
    deadline: Deadline,
    what: str,
    every: float = 0.1,
    wake: threading.Event | None = None,
    seen: Callable[[], str] = lambda: "",
) -> T:
    """Return the first truthy answer of ``check``, asked every ``every`` seconds or when ``wake`` is set.

    Raises:
        DeadlineExceeded: names ``what`` and what ``seen`` says last.
    """
    waker = wake or threading.Event()
    while True:
        waker.clear()
        answer = check()
        if answer:
            return answer
        if deadline.passed:
            raise DeadlineExceeded(f"waited {deadline.seconds:.0f} s for {what}", seen=seen())
        waker.wait(min(every, max(deadline.left, 0.001)))
