"""The end of a session: everything settled, every result read back from disk, and red if one is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_ccci.errors import StoreDamaged, Verdict
from pytest_ccci.plugin.board import Board, Known, board_of
from pytest_ccci.plugin.junit import add_suite_properties

if TYPE_CHECKING:
    from pytest_ccci.results.model import RunResult

__all__ = ["Ended", "ended_runs"]


@dataclass(frozen=True)
class Ended:
    """A run at the end of the session: its result as read from disk, or why there is none."""

    known: Known
    result: RunResult | None
    problem: str


_ENDED: pytest.StashKey[tuple[Ended, ...]] = pytest.StashKey()


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
    if session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} and _red(ended, board):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def ended_runs(config: pytest.Config) -> tuple[Ended, ...]:
    """The runs of this session."""
    return config.stash.get(_ENDED, ())


def _tear_down(session: pytest.Session, board: Board) -> None:
    """After Ctrl-C pytest tears down in a hook of its own, too late for junit and with its errors unguarded."""
    state = getattr(session, "_setupstate", None)
    if state is None:
        return
    try:
        with board.funnel.settling():
            state.teardown_exact(None)
    except Exception as error:  # noqa: BLE001  beside the verdict, not instead of it
        board.complaints.append(f"teardown: {board.redactor.scrub(str(error) or type(error).__name__)}")


def _read(known: Known) -> Ended:
    from pytest_ccci.results.write import read_result  # noqa: PLC0415  with runs, not with every pytest

    if known.results is None:
        return Ended(known, None, known.problem)
    try:
        result = read_result(known.results)
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
