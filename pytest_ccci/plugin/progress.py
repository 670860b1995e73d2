"""How progress is shown: which lines are printed where they stay, and the line that is rewritten on a terminal."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from _pytest._io.wcwidth import wcwidth
from _pytest.terminal import TerminalReporter

from pytest_ccci.plugin.redaction import Scrubbed
from pytest_ccci.waiting import Stopwatch, pause

__all__ = ["EVERY", "LiveLine", "Throttle", "fit", "may_rewrite"]

# Seconds between two printed lines about waiting, per recipe.
EVERY = 10.0


@dataclass
class _Waits:
    """What was printed of the waits of a recipe's present step."""

    printed_at: float | None = None
    held: str = ""


class Throttle:
    """Decides which lines are printed where every line stays (a pipe, a file, CI).

    The beginning of a step and whatever is not a wait are printed always. Of the waits of one step the first is
    printed, then at most one in ``every`` seconds per recipe. The newest that was held back is printed before the next
    line that is not a wait, so that the last state of a step is not lost.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._waits: dict[str, _Waits] = {}

    def lines(self, recipe: str, kind: str, line: str, *, now: float) -> list[str]:
        """What is to be printed now that ``recipe`` told ``line``.

        Args:
            recipe: whose line it is; empty for a line of no recipe.
            kind: "step", "wait" or "say".
            line: the text.
            now: seconds on any clock that does not go back.
        """
        waits = self._waits.setdefault(recipe, _Waits())
        if kind == "wait":
            if waits.printed_at is not None and now - waits.printed_at < self._every:
                waits.held = line
                return []
            waits.printed_at, waits.held = now, ""
            return [line]
        held = self.rest(recipe)
        if kind != "step" and waits.printed_at is not None:
            self._waits[recipe] = _Waits(printed_at=now if held else waits.printed_at)
        return [*held, line]

    def rest(self, recipe: str) -> list[str]:
        """The line of ``recipe`` that is still held back, if there is one; nothing of it is remembered."""
        waits = self._waits.pop(recipe, None)
        return [waits.held] if waits is not None and waits.held else []


def fit(text: str, width: int) -> str:
    """``text`` on one line without control characters, cut to ``width`` columns of a terminal."""
    cut, used = "", 0
    for character in " ".join(text.splitlines()).expandtabs(1):
        columns = wcwidth(character)
        if columns < 0:
            continue
        used += columns
        if used > width:
            break
        cut += character
    return cut.rstrip()


def may_rewrite(config: pytest.Config, reporter: Any, environ: Mapping[str, str]) -> bool:
    """Whether one line can be rewritten in place: pytest's own reporter, alone on a terminal that is able to.

    Not with ``-v`` (who asks for more gets lines that stay), ``--color=no``, ``-s`` or live logs, and not in CI.
    """
    return (
        type(reporter) is TerminalReporter
        and bool(getattr(reporter._tw._file, "isatty", bool)())  # noqa: SLF001  pytest's writer has no public door
        and bool(reporter._tw.hasmarkup)  # noqa: SLF001  the same
        and environ.get("TERM", "") not in {"", "dumb"}
        and not environ.get("CI")
        and config.get_verbosity() <= 0
        and config.getoption("capture", default="no") in {"fd", "sys"}
        and config.getoption("log_cli_level", default=None) is None
        and not config.getini("log_cli")
    )


_ERASE = "\r\x1b[K"
_BETWEEN = " | "


@dataclass(frozen=True)
class _Doing:
    """What a recipe was told to do or to wait for, ``seconds`` into its run, and the time since."""

    text: str
    seconds: float
    since: Stopwatch

    def line(self, recipe: str) -> str:
        """As it is shown now."""
        return f"ccci {recipe}  +{self.seconds + self.since.seconds:.0f}s  {self.text}"


class LiveLine:
    """The last line of a terminal, rewritten in place; whatever pytest writes erases it first.

    Several recipes share the line, each shortened. Its seconds go on every ``every`` seconds while it is shown, by a
    thread and a descriptor of its own: what pytest captures at that time is none of its business.
    """

    def __init__(self, writer: Any, lock: contextlib.AbstractContextManager[Any], *, every: float = 1.0) -> None:
        self._writer = writer
        self._lock = lock
        self._every = every
        self._doing: dict[str, _Doing] = {}
        self._file: Any = None
        self.shown = False

    def show(self, recipe: str, text: str, *, seconds: float) -> None:
        """Say ``text`` of ``recipe``, told ``seconds`` into its run. The cursor is at the start of a line."""
        if self._file is None:
            self._file = self._writer._file  # noqa: SLF001  pytest's writer has no public door
            self._writer._file = _Above(self._file, self.erase, self._lock)  # noqa: SLF001  the same
            with contextlib.suppress(OSError):  # no descriptor, no clock
                terminal = os.dup(self._file.fileno())
                threading.Thread(target=self._go_on, args=(terminal,), name="ccci-live-line", daemon=True).start()
        self._doing[recipe] = _Doing(text, seconds, Stopwatch())
        self.shown = True  # before it is: a signal handler may print in between
        self._file.write(_ERASE + self._line())
        self._file.flush()

    def _line(self) -> str:
        room = self._writer.fullwidth - 1 - len(_BETWEEN) * (len(self._doing) - 1)
        share = room // len(self._doing)
        texts = (fit(doing.line(recipe), share) for recipe, doing in self._doing.items())
        return fit(_BETWEEN.join(texts), self._writer.fullwidth - 1)

    def _go_on(self, terminal: int) -> None:
        with contextlib.suppress(OSError), os.fdopen(terminal, "wb", buffering=0) as stream:
            while True:
                pause(self._every)
                with self._lock:
                    if self.shown and self._doing:
                        stream.write((_ERASE + self._line()).encode())

    def forget(self, recipe: str) -> None:
        """Nothing more is known of ``recipe``: it is not on the line the next time."""
        self._doing.pop(recipe, None)

    def erase(self) -> None:
        """Erase the line; never raises, as it is in the way of whatever pytest writes."""
        if self.shown:
            self.shown = False
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                self._file.write(_ERASE)


class _Above(Scrubbed):
    """The terminal's stream, for all who write what stays: the live line is erased before."""

    def __init__(self, stream: Any, erase: Callable[[], None], lock: contextlib.AbstractContextManager[Any]) -> None:
        super().__init__(stream)
        self._erase = erase
        self._lock = lock

    def write(self, text: str) -> int:
        """Write ``text`` without secrets where the live line was."""
        with self._lock:
            self._erase()
            return super().write(text)
