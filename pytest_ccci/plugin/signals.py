"""Ctrl-C, SIGTERM and SIGHUP: the first ends the tests and settles; none skips the settling."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["Funnel"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOT_HERE = {"__set_name__", "__del__"}
"""What is raised in one of these Python 3.11 makes another error of, or drops: the signal comes again, soon."""
_SOON = 0.02


class Funnel:
    """One way out for every request to stop, from the first run of a session on.

    ``asked`` is called with the signal's name as soon as it comes, also while it is held back.
    """

    def __init__(self, tell: Callable[[str], None], asked: Callable[[str], None] = lambda _: None) -> None:
        self._tell = tell
        self._on_asked = asked
        self._before: dict[signal.Signals, Any] = {}
        self._settling = 0
        self._asked = False
        self._pending = ""

    def install(self) -> None:
        """Take over the signals, once. Outside the main thread Python allows no handlers: nothing is done.

        A SIGHUP that is ignored stays so: that is how nohup lets a program outlive its terminal.
        """
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def fresh(self) -> None:
        """The tests go on, so nobody wants to stop any more (a debugger took the Ctrl-C)."""
        self._asked = False

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Hold every request to stop back meanwhile."""
        self._settling += 1
        try:
            yield
        finally:
            self._settling -= 1

    def raise_if_asked(self) -> None:
        """Stop now if that was asked for while settling."""
        if self._pending:
            name, self._pending = self._pending, ""
            self._asked = True
            raise KeyboardInterrupt(f"{name} while settling; settled first")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if any(one.f_code.co_name in _NOT_HERE for one in _and_above(frame)):
            threading.Timer(_SOON, os.kill, (os.getpid(), number)).start()
            return
        name = signal.Signals(number).name
        self._on_asked(name)
        if self._settling and not self._asked:
            self._pending = name
        if self._settling or self._asked:
            self._tell(f"{name}: still putting things back; what cannot wait is cleaned up by the next run")
            return
        self._asked = True
        raise KeyboardInterrupt(f"{name}: settling first")


def _and_above(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
