"""Writes the pages anew: of a run, of a recipe, of all; and finds out which is meant."""

from __future__ import annotations

import logging
from pathlib import Path

from pytest_ccci.errors import CcciError, InfrastructureFault, UsageError
from pytest_ccci.ops.status import Situation, inspect_situation
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.index import Index, ask, catch_up
from pytest_ccci.results.pages import dashboard_page, folder_of
from pytest_ccci.results.publish import PAGE, is_kept, write_recipe_page, write_run_page
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.store.fs import os_errors

__all__ = ["recipes_page", "write_report"]

_LOG = logging.getLogger(__name__)


def write_report(settings: Settings, state: StateDir, what: str, *, everything: bool = False) -> Path:
    """Write the page of ``what``, a run's id or a recipe, or of all recipes where it is empty; where that page is.

    ``everything``: those of all recipes and all runs that are kept, too.

    Raises:
        UsageError: there is no such run or recipe.
        InfrastructureFault: a page cannot be written; on a full disk DiskFull.
    """
    try:
        catch_up(state)
    except InfrastructureFault as error:
        _LOG.warning(str(error))
    with os_errors("writing pages", where=state.pages):
        if what:
            return _one(state, what)
        if everything:
            _all(state)
        return _dashboard(settings, state)


def _one(state: StateDir, what: str) -> Path:
    if is_kept(state, what):
        return write_run_page(state, load_result(state.run(what) / "results.json"))
    row, recipes = ask(state, lambda index: (index.run(what), index.recipes()))
    if what in recipes:
        return write_recipe_page(state, what)
    if row is not None:
        raise UsageError(
            f"the results of run {what} were pruned, so that it has no page any more",
            where=str(state.runs),
            advice=f"ccci report {row.recipe} shows what is left of it",
        )
    raise UsageError(
        f"there is no run and no recipe {what!r}",
        where=str(state.runs),
        seen=f"recipes: {', '.join(recipes[:20]) or 'none was run yet'}",
    )


def _all(state: StateDir) -> None:
    for path in sorted(state.runs.glob("*/results.json")):
        try:
            write_run_page(state, load_result(path))
        except CcciError as error:
            _LOG.warning(str(error))
    for recipe in ask(state, Index.recipes):
        write_recipe_page(state, recipe)


def _dashboard(settings: Settings, state: StateDir) -> Path:
    """The page of all recipes and of the machine. Inspects it, and starts nothing."""
    path = state.pages / PAGE
    page = SECRETS.scrub(recipes_page(state, here=inspect_situation(settings), slots=settings.slots))
    write_atomic(path, page.encode("utf-8", "replace"), durable=False)
    return path


def recipes_page(state: StateDir, *, here: Situation | None, slots: int) -> str:
    """The page of all recipes, and of how the machine stands where that is given."""
    runs = {path.parent.name for path in state.runs.glob("*/results.json")}
    folders = {path.parent.name for path in state.pages.glob(f"*/{PAGE}")}
    return dashboard_page(
        ask(state, lambda index: tuple(index.latest())),
        kept=runs.__contains__,
        has_page=lambda recipe: folder_of(recipe) in folders,
        here=here,
        slots=slots,
    )
