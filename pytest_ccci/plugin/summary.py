"""The story of every run at the end of the session, from results.json."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.plugin.board import board_of
from pytest_ccci.plugin.finish import Ended, ended_runs

__all__: list[str] = []

_WIDEST = 100
_MARKUP: dict[str, dict[str, bool]] = {
    "plain": {},
    "good": {"green": True},
    "bad": {"red": True},
    "warn": {"yellow": True},
    "dim": {"light": True},
    "title": {"bold": True},
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One block per run; then what went wrong beside the runs."""
    ended = ended_runs(config)
    board = board_of(config)
    if not ended and not board.complaints:
        return
    terminalreporter.write_sep("=", "recipes")
    for number, one in enumerate(ended):
        if number:
            terminalreporter.write_line("")
        _run(terminalreporter, one)
    for complaint in board.complaints:
        terminalreporter.write_line(f"ERROR  {complaint}", red=True)
    for line in _blocked(terminalreporter.getreports("blocked")):
        terminalreporter.write_line(line, red=True)


def _run(out: pytest.TerminalReporter, one: Ended) -> None:
    width = min(_width(out), _WIDEST)
    if one.result is not None:
        from pytest_ccci.results.report import summary  # noqa: PLC0415  with runs, not with every pytest

        for line in summary(one.result, width=width, result_file=str(one.known.results)):
            out.write_line(line.text, **_MARKUP[line.tone])
    elif one.known.run_id:
        out.write_line(f"{one.known.recipe}  ERROR  run {one.known.run_id} left no result", red=True)
    else:
        out.write_line(f"{one.known.recipe}  could not start", red=True)
    for row in one.problem.splitlines():
        out.write_line(f"  {row}", red=True)


def _blocked(reports: Iterable[Any]) -> Iterable[str]:
    """A line per reason and recipe, not per item: what is to be done about it is one thing."""
    groups: dict[tuple[Path, str], list[str]] = {}
    for report in reports:
        folder = Path(report.nodeid.partition("::")[0]).parent
        groups.setdefault((folder, _first_line(report)), []).append(report.nodeid)
    for (_, reason), (first, *others) in groups.items():
        more = f" and {len(others)} more" if others else ""
        yield f"BLOCKED {first}{more} - {reason}"


def _width(out: Any) -> int:
    # The terminal's own width; where there is none (a CI log) pytest says 80, and the table may take its hundred.
    return int(out._tw.fullwidth) if out.isatty() else _WIDEST  # noqa: SLF001  pytest's writer has no public door


def _first_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longrepr).partition("\n")[0]
