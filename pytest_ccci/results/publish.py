"""What is made of a result once it is written: its row in the index, its page, its recipe's page and badges.

A run's verdict never depends on any of it: all can be made again from results.json, by ``ccci report``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from pytest_ccci.errors import CcciError
from pytest_ccci.results.comparison import Difference, differences
from pytest_ccci.results.index import Index, RunRow, ask, record, row_of
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.pages import RunContext, badge_json, badge_svg, folder_of, recipe_page, run_page
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.store.disk import free

__all__ = ["PAGE", "is_kept", "publish", "write_recipe_page", "write_run_page"]

_LOG = logging.getLogger(__name__)

PAGE = "index.html"
"""The name of every page in its folder."""

_MODES = ("cold", "quick")
_HISTORY = 60


def publish(state: StateDir, path: Path) -> None:
    """Enter the result at ``path``, as it was written, without secrets, and write pages of it.

    Never raises: what cannot be done is told.
    """
    acts: tuple[tuple[str, Callable[[RunResult], object]], ...] = (
        ("the run is not in the index yet", lambda result: record(state, row_of(result), free=free(state.root))),
        ("the run has no page yet", lambda result: write_run_page(state, result)),
        ("its recipe's page is an older one", lambda result: write_recipe_page(state, result.recipe)),
    )
    try:
        result = load_result(path)
    except CcciError as error:
        _LOG.warning(f"nothing can be made of the result: {error}")
        return
    for problem, act in acts:
        try:
            act(result)
        except Exception as error:  # noqa: BLE001  whatever it is, the result stands, and this can be made from it again
            _LOG.warning(f"{problem}: {error}")


def write_run_page(state: StateDir, result: RunResult) -> Path:
    """Write the page of a run beside its result.

    Raises:
        OSError: it cannot be written.
    """
    row = row_of(result)

    def question(index: Index) -> tuple[tuple[RunRow, ...], RunRow | None, float]:
        greens = [found[0] for mode in _MODES if (found := index.history(row.recipe, mode, most=1))]
        history = index.history(row.recipe, row.mode, most=_HISTORY)
        return history, index.last_green(row), max((one.seconds for one in greens), default=0.0)

    history, green, longest = ask(state, question)
    known = RunContext(history, green, _differences(state, result, green), longest)
    page = run_page(result, known, kept=lambda run_id: run_id == result.run_id or is_kept(state, run_id))
    path = state.run(result.run_id) / PAGE
    write_atomic(path, page.encode("utf-8", "replace"), durable=False)
    return path


def _differences(state: StateDir, result: RunResult, green: RunRow | None) -> tuple[Difference, ...] | None:
    if green is None or not is_kept(state, green.run_id):
        return None
    try:
        return differences(result, load_result(state.run(green.run_id) / "results.json"))
    except CcciError:
        return None


def write_recipe_page(state: StateDir, recipe: str) -> Path:
    """Write the page and the badges of a recipe.

    Raises:
        OSError: they cannot be written.
    """

    def question(index: Index) -> tuple[dict[str, tuple[RunRow, ...]], tuple[RunRow, ...]]:
        return {mode: index.history(recipe, mode, most=_HISTORY) for mode in _MODES}, index.promotions(recipe, most=10)

    histories, promotions = ask(state, question)
    page = recipe_page(recipe, histories, promotions, kept=lambda run_id: is_kept(state, run_id))
    latest = next((rows[0] for rows in histories.values() if rows), None)
    folder = state.pages / folder_of(recipe)
    for name, text in ((PAGE, page), ("badge.svg", badge_svg(latest)), ("badge.json", badge_json(latest))):
        write_atomic(folder / name, text.encode("utf-8", "replace"), durable=False)
    return folder / PAGE


def is_kept(state: StateDir, run_id: str) -> bool:
    """Whether a run was not pruned, so that its page is there or can be made."""
    return "/" not in run_id and "\0" not in run_id and (state.run(run_id) / "results.json").is_file()
