"""The end of a session: results read back from disk, suite properties, the summary, and red if one is missing."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import CcciError, StoreDamaged, Verdict
from pytest_ccci.plugin.options import SETTINGS
from pytest_ccci.plugin.recipedir import RecipeDir, close_run, opened_folders
from pytest_ccci.plugin.redaction import Scrubbed, scrub_junit
from pytest_ccci.plugin.run_events import Board, Known, board_of
from pytest_ccci.redact import SECRETS

if TYPE_CHECKING:
    from pytest_ccci.results.model import RunResult

__all__ = ["Ended", "Stops", "add_suite_properties", "ended_runs"]


def add_suite_properties(config: pytest.Config, runs: Sequence[RunResult | Mapping[str, str]]) -> None:
    """Put the runs' properties on the suite, if a junit file is being written.

    The documented way, ``record_testsuite_property``, is a fixture and lost under xdist (pytest#7767).
    """
    from _pytest.junitxml import xml_key  # noqa: PLC0415  there is no public way

    from pytest_ccci.results.junit import suite_properties  # noqa: PLC0415  with runs, not with every pytest

    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    for name, value in suite_properties(runs):
        xml.add_global_property(name, value)


@dataclass(frozen=True)
class Ended:
    """A run at the end of the session: its result as read from disk, or why there is none."""

    known: Known
    result: RunResult | None
    problem: str


_ENDED: pytest.StashKey[tuple[Ended, ...]] = pytest.StashKey()
_STEP_SUMMARY: pytest.StashKey[str] = pytest.StashKey()
"""Why the summary of a CI job could not be written; empty where it was, or is not asked for."""


class Stops:
    """Hears what ends a session early without a signal, before anything is settled because of it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """KeyboardInterrupt or `pytest.exit` from a test, a fixture or a plugin; or a session that stops itself."""
        self._board.stop(_named(excinfo.value))

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Something raised between the tests: often pytest's own writer, whose terminal has gone away."""
        self._board.stop(f"pytest could not go on ({_named(excinfo.value)})")


def _named(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    if isinstance(error, pytest.exit.Exception):
        return f"pytest.exit: {text}"
    name, colon, _ = text.partition(": settling first")
    if colon or isinstance(error, pytest.Session.Interrupted):
        return name
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """With ``--collect-only``: what a run of each recipe would do. Not with ``-q``, by which editors ask for tests."""
    if not config.getoption("collectonly") or config.get_verbosity() < 0:
        return []
    lines = []
    for folder in dict.fromkeys(item.getparent(RecipeDir) for item in items):
        if folder is None:
            continue
        try:
            told = config.hook.pytest_ccci_explain(spec=folder.spec, settings=config.stash[SETTINGS])
        except CcciError as error:
            told = (f"no plan of {folder.recipe}: {error}",)
        lines += [SECRETS.scrub(line) for line in told]
    return lines


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Settle what is still open, before the junit file is written and before xdist ends its workers."""
    config = session.config
    board = board_of(config)
    _tear_down(session, board)
    controller = config.pluginmanager.getplugin("ccci-controller")
    if controller is not None:
        controller.settle()
    if hasattr(config, "workerinput"):
        return
    ended = tuple(_read(known) for known in board.runs)
    config.stash[_ENDED] = ended
    if ended:
        add_suite_properties(config, [one.result or _stub(one.known, board) for one in ended])
    config.stash[_STEP_SUMMARY] = _write_step_summary(ended, board)
    scrub_junit(config)
    if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} and _red(ended, board):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _write_step_summary(ended: Sequence[Ended], board: Board) -> str:
    """Append the runs to the summary of the CI job (GitHub, Forgejo), if there is one; why that failed."""
    place = board.settings.environment.get("GITHUB_STEP_SUMMARY", "")
    if not place or not ended:
        return ""
    from pytest_ccci.results.report import markdown  # noqa: PLC0415  with runs, not with every pytest

    text = markdown([one.result for one in ended if one.result is not None])
    for one in ended:
        if one.result is None:
            text += f"### ⚠️ {one.known.recipe}: the run left no result\n\n"
    try:
        with Path(place).open("a", encoding="utf-8", errors="replace") as sink:
            sink.write(SECRETS.scrub(text))
    except OSError as error:
        return f"the job's summary cannot be written: {error}"
    return ""


def ended_runs(config: pytest.Config) -> tuple[Ended, ...]:
    """The runs of this session."""
    return config.stash.get(_ENDED, ())


def _tear_down(session: pytest.Session, board: Board) -> None:
    """After Ctrl-C pytest tears down in a hook of its own, too late for junit and with its errors unguarded."""
    state = getattr(session, "_setupstate", None)
    with board.funnel.settling():
        while state is not None and state.stack:
            left = len(state.stack)
            try:
                state.teardown_exact(None)
            except BaseException as error:  # noqa: BLE001  beside the verdict, not instead of it; what is left goes on
                board.complain(f"teardown: {str(error) or type(error).__name__}")
            if len(state.stack) == left:
                break
        for folder in opened_folders(session.config):
            close_run(folder)  # does nothing where that was done; a teardown that was cut off has not done it


def _read(known: Known) -> Ended:
    from pytest_ccci.results.write import load_result  # noqa: PLC0415  with runs, not with every pytest

    if known.results is None:
        return Ended(known, None, known.problem)
    try:
        result = load_result(known.results)
    except StoreDamaged as error:
        died = "" if known.closed else "its process died before it settled; the next run cleans up after it\n"
        return Ended(known, None, "\n".join(part for part in (known.problem, died + str(error)) if part))
    return Ended(known, result, known.problem)


def _stub(known: Known, board: Board) -> dict[str, str]:
    from pytest_ccci.results.junit import properties  # noqa: PLC0415  with runs, not with every pytest

    return properties(
        recipe=known.recipe, verdict=Verdict.ERROR, requested_mode=board.settings.mode, run_id=known.run_id
    )


def _red(ended: tuple[Ended, ...], board: Board) -> bool:
    # A run that could not start because that was refused was reported as skipped, by its items.
    wrong = [one for one in ended if one.known.run_id and (one.result is None or one.result.verdict != Verdict.PASS)]
    return bool(wrong or board.complaints or any(one.problem for one in ended if one.known.run_id))


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
    if config.stash.get(_STEP_SUMMARY, ""):
        terminalreporter.write_line(config.stash[_STEP_SUMMARY], yellow=True)
    for complaint in board.complaints:
        terminalreporter.write_line(f"ERROR  {complaint}", red=True)
    for line in _blocked(terminalreporter.getreports("blocked")):
        terminalreporter.write_line(line, red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix: list[str], session: pytest.Session) -> None:
    """The same in pytest-html's report, with each run's properties."""
    ended = ended_runs(session.config)
    if not ended:
        return
    from html import escape  # noqa: PLC0415  with runs, not with every pytest

    from pytest_ccci.results.junit import suite_properties  # noqa: PLC0415  the same

    prefix.extend(f"<pre>{escape(_text(one))}</pre>" for one in ended)
    facts = suite_properties([one.result for one in ended if one.result is not None])
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts)
    prefix.append(f"<table>{rows}</table>")


@pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_sessionfinish")
def pytest_sessionfinish_without_reporter(session: pytest.Session) -> Generator[None, object, object]:
    """The block also where another reporter took the place of pytest's (pytest-rich), which asks nobody for more."""
    result = yield
    config = session.config
    manager = config.pluginmanager
    replaced = not manager.hasplugin("terminalreporter") and manager.hasplugin("terminal")
    if replaced and not hasattr(config, "workerinput"):
        pytest_terminal_summary(pytest.TerminalReporter(config, Scrubbed(sys.stdout)), config)  # type: ignore[arg-type]  # it has all of a stream
    return result


def _text(one: Ended) -> str:
    if one.result is None:
        return f"{one.known.recipe}  {one.problem or 'could not start'}"
    from pytest_ccci.results.report import summary  # noqa: PLC0415  with runs, not with every pytest

    return "\n".join(line.text for line in summary(one.result, width=_WIDEST, result_file=str(one.known.results)))


def _run(out: pytest.TerminalReporter, one: Ended) -> None:
    width = min(_width(out), _WIDEST)
    if one.result is not None:
        from pytest_ccci.results.report import summary  # noqa: PLC0415  with runs, not with every pytest

        place = str(one.known.results)
        for line in summary(one.result, width=width, result_file=place, page=_page(one)):
            out.write_line(line.text, **_MARKUP[line.tone])
    elif one.known.run_id:
        out.write_line(f"{one.known.recipe}  ERROR  run {one.known.run_id} left no result", red=True)
    else:
        out.write_line(f"{one.known.recipe}  could not start", red=True)
    for row in one.problem.splitlines():
        out.write_line(f"  {row}", red=True)


def _page(one: Ended) -> str:
    """Where the run can be looked at; empty where it has no page."""
    page = one.known.results.with_name("index.html") if one.known.results else None
    return str(page) if page and page.is_file() else ""


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
