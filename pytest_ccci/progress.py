"""Progress: what the loggers of this package say, and who takes it for the time of a command or of a run.

Every module logs to ``logging.getLogger(__name__)``: at INFO what is going on, at WARNING what went wrong where we go
on, at DEBUG what nobody needs to see. Importing installs nothing. `received` installs the one handler there is at the
logger ``pytest_ccci``, with the level INFO, and puts everything back when it ends.

Meanwhile the lines stop there and do not reach the handlers of the root logger. pytest's capture and live log would
show each line a second time, and before its secrets are cut out; and a handler of anybody's that raises would raise
into a run that has to settle. They are stopped by taking the logger's parent away, as pytest adds its own handlers to
each logger whose ``propagate`` is off.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["StepLine", "WaitLine", "received"]

Take = Callable[[str], None]


class StepLine(str):
    """A line of progress that says that a step begins."""

    __slots__ = ()


class WaitLine(str):
    """A line of progress that says what is waited for; the next one of the same step takes its place."""

    __slots__ = ()


@contextmanager
def received(take: Take) -> Iterator[None]:
    """Hand each line of progress to ``take``, from whichever thread it comes; the innermost ``with`` alone gets it.

    What ``take`` raises never reaches whoever logs. A `StepLine` and a `WaitLine` come as what they are.
    """
    _HANDLER.add(take)
    try:
        yield
    finally:
        _HANDLER.remove(take)


class _Handler(logging.Handler):
    """Installed as long as somebody takes the lines."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._logger = logging.getLogger(__name__.partition(".")[0])
        self._takers: list[Take] = []
        self._guard = threading.Lock()
        self._before = (self._logger.level, self._logger.parent)

    def add(self, take: Take) -> None:
        """Let ``take`` have the lines from now on."""
        with self._guard:
            if not self._takers:
                self._before = (self._logger.level, self._logger.parent)
                self._logger.addHandler(self)
                self._logger.setLevel(logging.INFO)
                self._logger.parent = None
            self._takers.append(take)

    def remove(self, take: Take) -> None:
        """Let whoever had the lines before ``take`` have them again."""
        with self._guard:
            self._takers.remove(take)
            if not self._takers:
                self._logger.removeHandler(self)
                self._logger.setLevel(self._before[0])
                self._logger.parent = self._before[1]

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand the line on.

        Without logging's own lock: a Ctrl-C just after it was taken would leave every other thread waiting for it.
        """
        with suppress(Exception):
            self._takers[-1](_line(record))
        return True


def _line(record: logging.LogRecord) -> str:
    if isinstance(record.msg, str) and not record.args:
        return record.msg
    return record.getMessage()


_HANDLER = _Handler()
