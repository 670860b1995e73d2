"""Writes the pages anew: of a run, of a recipe, of all; finds out which is meant; and finds one that is asked for."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from pytest_ccci.errors import CcciError, InfrastructureFault, UsageError
from pytest_ccci.ops.status import Situation, inspect_situation
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.index import Index, LatestRun, ask, catch_up, note_disk
from pytest_ccci.results.pages import dashboard_page, folder_of, missing_page
from pytest_ccci.results.publish import PAGE, is_kept, write_recipe_page, write_run_page
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.store.fs import os_errors
from pytest_ccci.web import Answer

__all__ = ["open_page", "recipes_page", "write_report"]

_LOG = logging.getLogger(__name__)

_GREENS = 30
_POINTS = 300


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
    here = inspect_situation(settings)
    try:
        note_disk(state, at=datetime.now(UTC).isoformat(timespec="seconds"), free=here.disk.free)
    except InfrastructureFault as error:
        _LOG.warning(str(error))
    page = SECRETS.scrub(recipes_page(state, here=here, slots=settings.slots))
    write_atomic(path, page.encode("utf-8", "replace"), durable=False)
    return path


def recipes_page(state: StateDir, *, here: Situation | None, slots: int) -> str:
    """The page of all recipes, and of how the machine stands where that is given."""
    runs = {path.parent.name for path in state.runs.glob("*/results.json")}
    folders = {path.parent.name for path in state.pages.glob(f"*/{PAGE}")}
    flying = {(run.recipe, run.mode) for run in here.runs} if here else set()

    def question(
        index: Index,
    ) -> tuple[tuple[LatestRun, ...], dict[tuple[str, str], float], tuple[tuple[str, int], ...]]:
        greens = {key: [row.seconds for row in index.greens(*key, most=_GREENS)] for key in flying}
        usual = {key: statistics.median(took) for key, took in greens.items() if took}
        return tuple(index.latest()), usual, index.disk(most=_POINTS)

    latest, usual, disk = ask(state, question)
    return dashboard_page(
        latest,
        kept=runs.__contains__,
        has_page=lambda recipe: folder_of(recipe) in folders,
        here=here,
        slots=slots,
        usual=usual,
        disk=disk,
    )


_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
_OF_A_RECIPE = {PAGE: _HTML, "badge.svg": "image/svg+xml", "badge.json": _JSON}
_OF_A_RUN = {PAGE: _HTML, "results.json": _JSON, "journal.jsonl": _TEXT}
_FOLDER = re.compile(r"[A-Za-z0-9%_~-][A-Za-z0-9%._~-]*", re.ASCII)
_LARGEST = 64 << 20


def open_page(state: StateDir, path: str) -> Answer:
    """What ``ccci serve`` answers: a page, badge, result or journal that is there, and nothing else.

    ``path`` is that of a request, as it was sent. No folder is listed, and no link is followed below ``pages/`` and
    ``runs/``, so that what a run left in its folder leads nowhere.
    """
    match unquote(path).split("/"):
        case ["", ""]:
            return Answer(302, _TEXT, io.BytesIO(), 0, {"Location": f"/pages/{PAGE}"})
        case ["", "pages", "" | "index.html"]:
            found, kind = _opened(state.pages, PAGE), _HTML
        case ["", "pages", folder, name] if _FOLDER.fullmatch(folder) and (name or PAGE) in _OF_A_RECIPE:
            found, kind = _opened(state.pages, folder, name or PAGE), _OF_A_RECIPE[name or PAGE]
        case ["", "runs", run_id, name] if _FOLDER.fullmatch(run_id) and (name or PAGE) in _OF_A_RUN:
            found, kind = _opened(state.runs, run_id, name or PAGE), _OF_A_RUN[name or PAGE]
        case _:
            found, kind = None, ""
    if found is None:
        page = missing_page().encode()
        return Answer(404, _HTML, io.BytesIO(page), len(page))
    return Answer(200, kind, found, os.fstat(found.fileno()).st_size)


def _opened(root: Path, *parts: str) -> BinaryIO | None:
    """The file below ``root``, if it is there, is one, is not too large, and no link leads to it."""
    *folders, name = parts
    within = -1
    try:
        within = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for folder in folders:
            outer, within = within, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
            os.close(outer)
        source = os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within), "rb")
    except OSError:
        return None
    finally:
        if within >= 0:
            os.close(within)
    facts = os.fstat(source.fileno())
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= _LARGEST:
        return source
    source.close()
    return None
