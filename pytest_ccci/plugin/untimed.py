"""A test's own timeout does not count what we do around it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["untimed"]


@contextlib.contextmanager
def untimed() -> Iterator[None]:
    """Stop the process's alarm clock (pytest-timeout's signal method) meanwhile; then let it run on.

    Deploying and settling have deadlines of their own, which clean up after themselves; a test's timeout in the middle
    of them would be blamed on the test, or leave things behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left, again = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, again)
