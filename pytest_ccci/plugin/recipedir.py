"""A recipe's folder as a node of pytest's tree: its setup opens the run, its teardown settles it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import CcciError, Verdict
from pytest_ccci.plugin.backend import RecipeRun, Tell
from pytest_ccci.plugin.outcomes import Blocked, RunNotGreen
from pytest_ccci.plugin.redaction import seal
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.plugin.untimed import untimed

if TYPE_CHECKING:
    from pytest_ccci.recipe.spec import RecipeSpec
    from pytest_ccci.results.model import RunResult
    from pytest_ccci.settings import Settings

__all__ = ["CustomTests", "RecipeDir", "RecipeModule", "close_run", "open_run", "recipe_dir_of"]


@dataclass
class _Test:
    verdict: Verdict
    seconds: float
    reason: str


@dataclass
class CustomTests:
    """What the author's tests came to, until the run is told: each once, with its teardown where that is known."""

    waiting: dict[str, _Test] = field(default_factory=dict)

    def note(self, nodeid: str, *, verdict: Verdict, seconds: float, reason: str) -> None:
        """Add a phase of a test. A later phase adds its seconds, and its verdict if that is worse."""
        known = self.waiting.get(nodeid)
        if known is None:
            self.waiting[nodeid] = _Test(verdict, seconds, reason)
            return
        known.seconds += seconds
        if known.verdict in {Verdict.PASS, Verdict.SKIP} and verdict != Verdict.PASS:
            known.verdict, known.reason = verdict, reason

    def hand_over(self, run: RecipeRun, nodeid: str | None = None) -> None:
        """Tell the run of one test, or of all that it was not told of."""
        for name in [nodeid] if nodeid else list(self.waiting):
            test = self.waiting.pop(name, None)
            if test:
                run.custom(name, test.verdict, test.seconds, test.reason)


def open_run(node: RecipeDir) -> None:
    """Open the run of ``node``; a failure is noted for the summary, and raised for the items."""
    board = board_of(node.config)
    board.funnel.install()
    seal(node.config)
    node.tell = board.teller(node.recipe)
    try:
        with untimed():
            node.run = node.config.hook.pytest_ccci_open_run(
                spec=node.spec,
                settings=_settings(node, board.settings),
                tiers_selected=node.tiers_selected,
                whole=node.whole,
                tell=node.tell,
            )
    except BaseException as error:
        node.could_not_start = str(error).partition("\n")[0] or type(error).__name__
        board.refused(node.recipe, str(error) or type(error).__name__)
        raise
    assert node.run is not None  # noqa: S101  the default always answers
    board.opened(node.run)


def _settings(node: RecipeDir, settings: Settings) -> Settings:
    if not node.bases:
        return settings
    from pytest_ccci.run.known_good import one_of_all  # noqa: PLC0415  only where each kept known-good is asked for

    return one_of_all(settings, node.base)


def close_run(node: RecipeDir) -> None:
    """Close the run of ``node``, if one is open: it settles, and no second Ctrl-C gets in between.

    Raises:
        RunNotGreen: the run is not green though no item said so, and there is an item to say it at.
        KeyboardInterrupt: somebody asked to stop meanwhile; settled first.
    """
    run, node.run = node.run, None
    if run is None:
        return
    board = board_of(node.config)
    node.tests.hand_over(run)
    with board.funnel.settling(), untimed():
        try:
            result = run.close()
        except Exception as error:
            board.closed(run, problem=str(error) or type(error).__name__)
            if board.in_teardown:
                raise
            return
        board.closed(run, verdict=result.verdict)
    if board.in_teardown:
        _say_if_nobody_did(node, result)
        board.funnel.raise_if_asked()


def _say_if_nobody_did(node: RecipeDir, result: RunResult) -> None:
    if node.red or result.verdict == Verdict.PASS:
        return
    from pytest_ccci.results.verdict import run_verdict  # noqa: PLC0415  with a run, not with every pytest

    _, why = run_verdict(result.tiers, result.custom, leftovers=result.leftovers)
    raise RunNotGreen(node.recipe, result.verdict, why or "see the summary")


class RecipeDir(pytest.Directory):
    """A folder with a recipe.toml; `pytest.Dir` itself is final."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run: RecipeRun | None = None
        self.base = ""
        self.ready = False
        self.tell: Tell = _silent
        self.tiers_selected: frozenset[str] = frozenset()
        self.whole = False
        self.red = False
        self.could_not_start = ""
        self.tests = CustomTests()
        self._spec: RecipeSpec | None = None
        self._bases: tuple[str, ...] | None = None
        self._failed: dict[str, BaseException] = {}

    @property
    def recipe(self) -> str:
        """The recipe's name, which is the folder's."""
        return self.path.name

    @property
    def spec(self) -> RecipeSpec:
        """What recipe.toml says, read once."""
        if self._spec is None:
            self._spec = self.config.hook.pytest_ccci_load_spec(path=self.path / "recipe.toml")
        return self._spec

    @property
    def bases(self) -> tuple[str, ...]:
        """The kept known-goods from which a run each is made, in that order; empty for the one run that is usual."""
        if self._bases is None:
            settings = board_of(self.config).settings
            each = settings.base == "all"
            self._bases = self.config.hook.pytest_ccci_bases(spec=self.spec, settings=settings) if each else ()
        return self._bases

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """recipe.toml and the author's tests beside it; never what lies deeper: that may be the recipe's own code."""
        from pytest_ccci.plugin.fixtures import register_recipe_fixtures  # noqa: PLC0415  it knows RecipeDir

        try:
            _ = self.spec, self.bases
        except CcciError as error:
            raise self.CollectError(str(error)) from None
        register_recipe_fixtures(self)
        for path in sorted(self.path.iterdir()):
            if path.is_file() and not self._ignored(path):
                yield from self.ihook.pytest_collect_file(file_path=path, parent=self)

    def _ignored(self, path: Path) -> bool:
        if self.session.isinitpath(path):
            return False
        return bool(self.ihook.pytest_ignore_collect(collection_path=path, config=self.config))

    def setup(self) -> None:
        """Open the run; where there are several, each is opened with the first of its items."""
        if not self.bases and not self.config.getoption("setupplan", default=False):
            open_run(self)
        self.ready = True

    def teardown(self) -> None:
        """Close the run, whatever happened."""
        self.ready = False
        close_run(self)

    def turn_to(self, base: str) -> None:
        """Before an item of the run from ``base``: have that run open, where there are several.

        Raises:
            BaseException: it could not be opened, at this item or at an earlier one.
        """
        if not self.bases or self.config.getoption("setupplan", default=False):
            return
        if base in self._failed:
            raise self._failed[base]
        if self.run is not None and self.base == base:
            return
        close_run(self)
        self.base, self.red, self.could_not_start, self.tests = base, False, "", CustomTests()
        try:
            open_run(self)
        except Exception as error:
            self._failed[base] = error
            raise

    def leave(self, base: str, following: str | None) -> None:
        """After an item of the run from ``base``: close that run when the next item is not of it."""
        if self.bases and (following != base or not self.ready):
            close_run(self)

    def need_head(self) -> RecipeRun:
        """The run, with the head up.

        Raises:
            Blocked: it cannot be had.
        """
        if self.run is None:
            raise Blocked(f"there is no open run of {self.recipe}")
        with untimed():
            reason = self.run.ready()
        if reason:
            raise Blocked(reason)
        return self.run


class RecipeModule(pytest.Module):
    """A module of the author's tests."""

    def _getobj(self) -> Any:
        # Two recipes have a test_app.py each: without a package, only importlib mode gives them names of their own.
        with _importlib_mode(self.config):
            return super()._getobj()  # type: ignore[no-untyped-call]  # pytest leaves it untyped

    def setup(self) -> None:
        """Bring the head up before any of the module's tests and their fixtures."""
        folder = recipe_dir_of(self)
        if folder is not None and folder.run is not None:
            folder.need_head()


def recipe_dir_of(node: pytest.Item | pytest.Collector) -> RecipeDir | None:
    """The recipe a node belongs to, if any."""
    return node.getparent(RecipeDir)


def _silent(text: str) -> None:
    """Nothing is told before the run is opened."""


@contextmanager
def _importlib_mode(config: pytest.Config) -> Iterator[None]:
    before = config.option.importmode
    config.option.importmode = "importlib"
    try:
        yield
    finally:
        config.option.importmode = before
