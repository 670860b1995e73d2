"""What of a recipe's folder becomes a test, in which order: one item per tier, and the author's tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.plugin.backend import TIERS
from pytest_ccci.plugin.contents import base_param, modules_in
from pytest_ccci.plugin.fixtures import register_recipe_fixtures
from pytest_ccci.plugin.outcomes import TierFailed, TierOutcome
from pytest_ccci.plugin.recipedir import RecipeDir, RecipeModule, author_imports, prepare_settle, recipe_dir_of
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.plugin.untimed import untimed

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import RecipeRun
    from pytest_ccci.results.model import TierResult

__all__ = ["UNDISTURBED", "RecipeFile", "TierItem", "base_of", "collect_recipe", "in_order", "name_of"]

_LOG = logging.getLogger(__name__)


class TierItem(pytest.Item):
    """One tier of a run. The run does the work, here it is only told."""

    result: TierResult | None = None

    def __init__(self, *args: Any, tier: str, base: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tier = tier
        self.base = base

    def setup(self) -> None:
        """Perform the tier. All but a plain fail is raised here, where pytest counts it as an error."""
        run = self.recipe_dir.run
        if run is None:
            return
        if self.tier == "settle":
            self._settle(run)
        else:
            with untimed():
                self.result = run.perform(self.tier)
        assert self.result is not None  # noqa: S101  performed above
        self._log(self.result)
        if self.result.verdict == Verdict.SKIP:
            self.recipe_dir.asserted.add(self.tier)
            pytest.skip(self.result.reason or "no reason was given")
        if self.result.verdict in {Verdict.ERROR, Verdict.UNVERIFIED}:
            raise TierOutcome(self.result)

    def _settle(self, run: RecipeRun) -> None:
        """Settle after everything of the author's is over. A request to stop waits meanwhile, and is met afterwards."""
        funnel = board_of(self.config).funnel
        with funnel.settling(), untimed():
            prepare_settle(self.recipe_dir, run)
            self.result = run.perform("settle")
        funnel.raise_if_asked()

    def _log(self, result: TierResult) -> None:
        reason = result.reason.strip().partition("\n")[0]
        came_to = "" if result.verdict == Verdict.UNVERIFIED else f"{result.verdict} after {result.seconds:.1f} s"
        _LOG.info(": ".join(part for part in (self.tier, came_to, reason) if part))

    def runtest(self) -> None:
        """Fail when the recipe failed."""
        self.recipe_dir.asserted.add(self.tier)
        if self.result is not None and self.result.verdict != Verdict.PASS:
            raise TierFailed(self.result)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """The recipe.toml, and the tier."""
        return self.path, 0, self.name

    @property
    def recipe_dir(self) -> RecipeDir:
        """The recipe this tier belongs to."""
        found = self.getparent(RecipeDir)
        assert found is not None  # noqa: S101  only a RecipeDir collects these
        return found


class RecipeFile(pytest.File):
    """A recipe.toml."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_marker(pytest.mark.ccci)

    def collect(self) -> Iterable[pytest.Item]:
        """The tiers, in order; once for each kept known-good where that was asked for."""
        folder = self.getparent(RecipeDir)
        bases = folder.bases if folder is not None else ()
        return [
            TierItem.from_parent(self, name=f"{tier}[{base}]" if base else tier, tier=tier, base=base)
            for base in bases or ("",)
            for tier in TIERS
        ]


def name_of(item: pytest.Item) -> str:
    """What a run calls an item: the tier, or the node id of a test of the author's."""
    return item.tier if isinstance(item, TierItem) else item.nodeid


def base_of(item: pytest.Item) -> str:
    """The kept known-good from which the item's run starts, by release; empty where there is only one run."""
    if isinstance(item, TierItem):
        return item.base
    return base_param(item)


_DESELECTED: pytest.StashKey[set[Path]] = pytest.StashKey()


def collect_recipe(path: Path, parent: pytest.Collector) -> RecipeDir | None:
    """The recipe in the folder ``path``, which has a recipe.toml; none where ``parent`` is in a recipe itself."""
    if recipe_dir_of(parent) is not None:
        return None
    return RecipeDir.from_parent(parent, path=path, register_fixtures=register_recipe_fixtures)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Its recipe.toml holds the tiers."""
    if file_path.name == "recipe.toml" and isinstance(parent, RecipeDir):
        return RecipeFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Its test modules get names of their own."""
    if recipe_dir_of(parent) is not None:
        return RecipeModule.from_parent(parent, path=module_path)
    return None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Note what is there, before any other plugin takes something out of the report.

    Whatever is imported for a recipe (conftest files, test modules, doctests) finds its helpers.
    """
    folder = recipe_dir_of(collector)
    if folder is None:
        return (yield)
    with author_imports(folder):
        report = yield
    folder.contents.collected(collector, report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test import its recipe's helpers. When its last attempt is over, the run is told of it.

    One that was cut off is told when the run is closed, as interrupted.
    """
    folder = recipe_dir_of(item)
    if folder is None:
        return (yield)
    with author_imports(folder):
        folder.keep_open = not isinstance(item, TierItem) and _may_be_repeated(item)
        try:
            result = yield
        finally:
            folder.keep_open = False
        if folder.run is not None:
            folder.tests.hand_over(folder.run, item.nodeid)
        if folder.left_open:
            folder.finish()
        return result


class _Undisturbed:
    """Our own way through an item's phases, before that of any plugin that would repeat them, or fork."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Perform a tier once, in this process; and no test of a recipe in a fork of it, where the run is not."""
        forked = bool(item.config.getoption("forked", default=False)) or item.get_closest_marker("forked") is not None
        if recipe_dir_of(item) is None or not (isinstance(item, TierItem) or forked):
            return None
        runner: Any = item.config.pluginmanager.getplugin("runner")
        return runner.pytest_runtest_protocol(item, nextitem)


UNDISTURBED = _Undisturbed()


def _may_be_repeated(item: pytest.Item) -> bool:
    """Whether somebody beside pytest itself takes an item through its phases."""
    runner = item.config.pluginmanager.getplugin("runner")
    implementations = item.ihook.pytest_runtest_protocol.get_hookimpls()
    own = [one for one in implementations if not one.wrapper and not one.hookwrapper]
    return any(one.plugin is not runner and one.plugin is not UNDISTURBED for one in own)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember whose run will not be whole."""
    for item in items:
        folder = recipe_dir_of(item)
        if folder is not None:
            item.config.stash.setdefault(_DESELECTED, set()).add(folder.path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """The last word on the order, after --ff, --lf and plugins that shuffle; before xdist sends the list off."""
    session.items[:] = in_order(session.items)
    partial = session.config.stash.get(_DESELECTED, set())
    for folder, items in _by_recipe(session.items).items():
        folder.tiers_selected = frozenset(item.tier for item in items if isinstance(item, TierItem))
        folder.selected = tuple((base_of(item), name_of(item)) for item in items)
        folder.functions = tuple(item.nodeid for item in items if isinstance(item, pytest.Function))
        folder.whole = folder.path not in partial and _is_whole(folder, items)


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """``items`` with all of a recipe in one place, where its first was: tiers, the author's tests, settle.

    Where there is a run from each kept known-good, one run after the other.
    """
    groups = _by_recipe(items)
    done: set[RecipeDir] = set()
    ordered: list[pytest.Item] = []
    for item in items:
        folder = recipe_dir_of(item)
        if folder is None:
            ordered.append(item)
        elif folder not in done:
            done.add(folder)
            ordered.extend(sorted(groups[folder], key=lambda one: _rank(one, folder.bases)))
    return ordered


def _rank(item: pytest.Item, bases: Sequence[str]) -> tuple[int, int]:
    base = base_of(item)
    turn = bases.index(base) if base in bases else 0
    if not isinstance(item, TierItem):
        return turn, len(TIERS) - 1
    return turn, TIERS.index(item.tier) if item.tier != "settle" else len(TIERS)


def _by_recipe(items: Sequence[pytest.Item]) -> dict[RecipeDir, list[pytest.Item]]:
    groups: dict[RecipeDir, list[pytest.Item]] = {}
    for item in items:
        folder = recipe_dir_of(item)
        if folder is not None:
            groups.setdefault(folder, []).append(item)
    return groups


def _is_whole(folder: RecipeDir, items: Sequence[pytest.Item]) -> bool:
    """Nothing of the recipe was left out: asked for by folder, every tier, every test module in its folder."""
    start = folder.config.invocation_params.dir
    asked = [Path(os.path.abspath(start / argument)) for argument in folder.config.args if "::" not in argument]  # noqa: PTH100  resolve() would follow links
    if not any(path == folder.path or path in folder.path.parents for path in asked):
        return False
    there = modules_in(folder, folder.config.getini("python_files"))
    return folder.tiers_selected == frozenset(TIERS) and there <= {item.path for item in items}
