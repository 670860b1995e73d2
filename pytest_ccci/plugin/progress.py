"""Progress lines on the terminal, in a form that a CI log can keep."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

__all__ = ["Printer"]


class Printer:
    """Prints progress lines past pytest's capturing. With ``-q -q`` it is silent."""

    def __init__(self, config: pytest.Config) -> None:
        self._terminal: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self._quiet = config.get_verbosity() <= -2  # noqa: PLR2004  -q -q
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Print the event if it is a line."""
        if event["event"] != "say" or self._quiet or self._terminal is None:
            return
        suspended = self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext()
        with self._lock, suspended:
            self._terminal.ensure_newline()
            if self._terminal._tw.width_of_current_line:  # noqa: SLF001  under xdist ensure_newline knows of no line
                self._terminal.write_line("")
            self._terminal.write_line(event["line"], cyan=True)
            self._terminal.flush()
