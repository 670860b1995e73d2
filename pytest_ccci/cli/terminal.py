"""What the command shows: lines with the seconds since its start, tables, JSON. No text is markup, secret or steers."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_ccci.progress import received
from pytest_ccci.redact import SECRETS, harmless
from pytest_ccci.waiting import Stopwatch

__all__ = ["Terminal", "age"]

_TONES = {"good": "green", "bad": "bold red", "warn": "yellow", "dim": "dim", "title": "bold cyan", "plain": ""}
_WIDTH_OF_A_LOG = 120


class Terminal:
    """Writes to standard output; problems to standard error. Safe to use from several threads."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _WIDTH_OF_A_LOG
        self._out = Console(width=width, highlight=False, markup=False, emoji=False)
        self._err = Console(stderr=True, width=width, highlight=False, markup=False, emoji=False)
        self._watch = Stopwatch()
        self._lock = threading.Lock()

    def say(self, text: str = "", tone: str = "plain") -> None:
        """One line, or more."""
        with self._lock:
            self._out.print(Text(harmless(SECRETS.scrub(text)), style=_TONES[tone]), soft_wrap=True)

    def title(self, text: str) -> None:
        """A heading."""
        self.say()
        self.say(text, "title")

    def progress(self, *, shown: bool) -> AbstractContextManager[None]:
        """Meanwhile show what this package logs: what is going on, and when. Or do not show it, as with ``--json``."""
        return received(self._show if shown else _drop)

    def _show(self, line: str) -> None:
        self.say(f"  {self._watch.seconds:6.1f}  {line}", "dim")

    def raw(self, line: str) -> None:
        """A line of another program, as it is."""
        with self._lock:
            print(SECRETS.scrub(line), file=self._out.file, flush=True)

    def problem(self, text: str) -> None:
        """What went wrong."""
        with self._lock:
            self._err.print(
                Text(f"ccci: {harmless(SECRETS.scrub(text))}", style=_TONES["bad"] if self._err.is_terminal else ""),
                soft_wrap=True,
            )

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> None:
        """A table; a cell is its text, or text and tone."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(_cell(cell) for cell in row))
        with self._lock:
            self._out.print(table)

    def json(self, value: object) -> None:
        """One JSON document."""
        self.raw(json.dumps(SECRETS.scrub_all(value), indent=2, default=str, ensure_ascii=False))

    @property
    def coloured(self) -> bool:
        """Whether colours are shown."""
        return self._out.is_terminal and not self._out.no_color

    @staticmethod
    def mute() -> None:
        """Let nothing more be written: standard output leads nowhere any more."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def age(seconds: float) -> str:
    """A span of time for people."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _drop(line: str) -> None:
    """Nobody is to see it."""


def _cell(cell: str | tuple[str, str]) -> Text:
    text, tone = (cell, "plain") if isinstance(cell, str) else cell
    return Text(harmless(SECRETS.scrub(text)), style=_TONES[tone])
