"""A recipe's folder as a node of pytest's tree: its setup opens the run, its teardown settles it."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import CcciError, Verdict
from pytest_ccci.plugin.backend import TIERS, RecipeRun
from pytest_ccci.plugin.contents import Contents
from pytest_ccci.plugin.helpers import EXCLUDED, Helpers, helpers_of
from pytest_ccci.plugin.outcomes import Blocked, RunNotGreen
from pytest_ccci.plugin.redaction import seal
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.plugin.untimed import untimed
from pytest_ccci.waiting import Stopwatch

if TYPE_CHECKING:
    from pytest_ccci.recipe.spec import RecipeSpec
    from pytest_ccci.results.model import RunResult
    from pytest_ccci.settings import Settings

__all__ = [
    "CustomTests",
    "KeptFixtures",
    "RecipeDir",
    "RecipeFolder",
    "RecipeModule",
    "author_imports",
    "close_run",
    "name_from_root",
    "open_run",
    "opened_folders",
    "prepare_settle",
    "recipe_dir_of",
]

_LOG = logging.getLogger(__name__)


@dataclass
class _Test:
    verdict: Verdict = Verdict.PASS
    seconds: float = 0.0
    reason: str = ""
    phases: set[str] = field(default_factory=set)
    called: bool = False

    def over(self) -> _Test:
        """The attempt when nothing more of it comes: one whose call nobody saw shows nothing."""
        if self.verdict == Verdict.PASS and "call" not in self.phases:
            self.verdict, self.reason = Verdict.UNVERIFIED, "it was set up, but not run"
        return self


@dataclass
class CustomTests:
    """What the author's tests came to, until the run is told: each once, with its teardown where that is known.

    Where a plugin makes several attempts at a test, the last one is what it came to; the run is told of all.
    """

    waiting: dict[str, _Test] = field(default_factory=dict)
    earlier: dict[str, list[tuple[Verdict, bool]]] = field(default_factory=dict)
    marked: frozenset[str] = frozenset()

    def begin(self, nodeid: str) -> None:
        """An attempt at a test begins."""
        before = self.waiting.pop(nodeid, None)
        if before is not None:
            self.earlier.setdefault(nodeid, []).append((before.over().verdict, before.called))
        self.waiting[nodeid] = _Test()

    def called(self, nodeid: str) -> None:
        """The test's own function was entered."""
        if nodeid in self.waiting:
            self.waiting[nodeid].called = True

    def note(self, nodeid: str, *, phase: str, verdict: Verdict, seconds: float, reason: str) -> None:
        """Add a phase of a test. A later phase adds its seconds, and its verdict if that is worse."""
        known = self.waiting.setdefault(nodeid, _Test())
        known.phases.add(phase)
        known.seconds += seconds
        if known.verdict in {Verdict.PASS, Verdict.SKIP} and verdict != Verdict.PASS:
            known.verdict, known.reason = verdict, reason

    def hand_over(self, run: RecipeRun, nodeid: str) -> None:
        """Tell the run of a test that is over."""
        test = self.waiting.pop(nodeid, None)
        if test is None:
            return
        test.over()
        run.custom(
            nodeid,
            test.verdict,
            test.seconds,
            test.reason,
            called=test.called,
            marked=nodeid in self.marked,
            earlier=self.earlier.pop(nodeid, ()),
        )

    def hand_over_rest(self, run: RecipeRun, *, why: str, tearing_down: bool) -> None:
        """Tell the run of every test that was begun and that it was not told of: unless it is over, it was interrupted.

        ``tearing_down``: the one whose teardown this is part of is as good as over.
        """
        for nodeid, test in list(self.waiting.items()):
            if not (test.phases if tearing_down else "teardown" in test.phases):
                phase = next((name for name in ("setup", "call") if name not in test.phases), "teardown")
                before = f"; before that: {test.reason}" if test.reason else ""
                test.verdict, test.reason = Verdict.ERROR, f"interrupted in its {phase}: {why}{before}"
            self.hand_over(run, nodeid)


class KeptFixtures:
    """The fixtures of a recipe's folder that outlive its modules; they are finalised while the app is still there.

    Those are ours (so that whatever hangs on them goes first, wherever it is defined) and the author's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._set_up: list[tuple[pytest.FixtureDef[Any], Any]] = []

    def note(self, fixture: pytest.FixtureDef[Any], request: Any) -> None:
        """A fixture is set up for a test of the folder."""
        if fixture.scope in {"session", "package"} and self._is_of_the_folder(fixture):
            self._set_up.append((fixture, request))

    def finish(self) -> list[BaseException]:
        """Finalise them, the last one first; what went wrong."""
        problems: list[BaseException] = []
        while self._set_up:
            fixture, request = self._set_up.pop()
            try:
                fixture.finish(request)
            except BaseException as error:  # noqa: BLE001  the others are finalised all the same
                problems.append(error)
        return problems

    def _is_of_the_folder(self, fixture: pytest.FixtureDef[Any]) -> bool:
        code = getattr(inspect.unwrap(fixture.func), "__code__", None)
        if code is None:
            return False
        file = Path(code.co_filename)
        return file.is_relative_to(self._folder) or file.parent == Path(__file__).parent


_OPENED: pytest.StashKey[list[RecipeDir]] = pytest.StashKey()


def opened_folders(config: pytest.Config) -> list[RecipeDir]:
    """The recipes whose run was opened in this process, or was to be."""
    return config.stash.setdefault(_OPENED, [])


def open_run(node: RecipeDir) -> None:
    """Open the run of ``node``; a failure is noted for the summary, and raised for the items."""
    board = board_of(node.config)
    board.funnel.install()
    seal(node.config)
    opened = opened_folders(node.config)
    if node not in opened:
        opened.append(node)
    tests, _ = node.contents.listed(node)
    node.tests.marked = frozenset(one.nodeid for one in tests if one.marked)
    node.progress.enter_context(board.progress(node.recipe, Stopwatch()))
    try:
        with untimed():
            node.run = node.config.hook.pytest_ccci_open_run(
                spec=node.spec,
                settings=_settings(node, board.settings),
                tiers_selected=node.tiers_selected,
                whole=node.whole,
                folder=node,
            )
    except BaseException as error:
        node.progress.close()
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


def prepare_settle(node: RecipeDir, run: RecipeRun) -> None:
    """What comes before settle: fixtures that outlive their modules are finalised; the run is told what there is."""
    for problem in node.kept_fixtures.finish():
        text = str(problem).partition("\n")[0]
        run.custom(f"{node.nodeid}/conftest.py", Verdict.ERROR, 0.0, f"finalising a fixture: {text}")
        board_of(node.config).complain(f"{node.recipe}: finalising a fixture: {text}")
    tests, unlisted = node.contents.listed(node)
    holds = [one.nodeid for one in tests if one.base == node.base]
    silent = [tier for tier in TIERS if tier != "settle" and tier not in node.asserted]
    run.account(holds=holds, unlisted=[*unlisted, *(f"{tier} was not asked for" for tier in silent)])


def close_run(node: RecipeDir) -> None:
    """Close the run of ``node``, if one is open: it settles, and no second Ctrl-C gets in between.

    Raises:
        RunNotGreen: the run is not green though no item said so, and there is an item to say it at.
        KeyboardInterrupt: somebody asked to stop meanwhile; settled first.
    """
    board = board_of(node.config)
    with board.funnel.settling(), untimed(), node.progress:
        run, node.run = node.run, None
        if run is None:
            return
        try:
            _finish_record(node, run)
        except Exception as error:  # noqa: BLE001  it is told, and the run is closed whatever it was
            board.complain(f"{node.recipe}: {str(error) or type(error).__name__}")
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


def _finish_record(node: RecipeDir, run: RecipeRun) -> None:
    """Tell the run how the author's tests ended, and what was asked for and never reached."""
    board = board_of(node.config)
    why = board.stopped or str(node.session.shouldfail or node.session.shouldstop or "")
    node.tests.hand_over_rest(run, why=why or "the session ended", tearing_down=board.in_teardown and not board.stopped)
    missed = [name for base, name in node.selected if base == node.base and name not in node.reported]
    if missed and why and not node.red:
        run.interrupt(why)
    run.unreached(missed, why or "the session ended before it")
    prepare_settle(node, run)


def _say_if_nobody_did(node: RecipeDir, result: RunResult) -> None:
    if node.red or result.verdict == Verdict.PASS:
        return
    from pytest_ccci.results.verdict import run_verdict  # noqa: PLC0415  with a run, not with every pytest

    _, why = run_verdict(result.tiers, result.custom, leftovers=result.leftovers)
    raise RunNotGreen(node.recipe, result.verdict, why or "see the summary")


class RecipeDir(pytest.Directory):
    """A folder with a recipe.toml; `pytest.Dir` itself is final."""

    def __init__(self, *args: Any, register_fixtures: Callable[[RecipeDir], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._register_fixtures = register_fixtures
        self.run: RecipeRun | None = None
        self.ready = False
        self.progress = ExitStack()
        self.tiers_selected: frozenset[str] = frozenset()
        self.whole = False
        self.contents = Contents()
        self.selected: tuple[tuple[str, str], ...] = ()
        self.functions: tuple[str, ...] = ()
        self.settled = False
        self.keep_open = False
        self.left_open = False
        self.fresh()
        self._spec: RecipeSpec | None = None
        self._bases: tuple[str, ...] | None = None
        self._failed: dict[str, BaseException] = {}
        self.helpers: Helpers = helpers_of(self.config, self.path)
        name_from_root(self)

    def fresh(self, base: str = "") -> None:
        """Forget the run before: the next one is from ``base``."""
        self.base, self.could_not_start = base, ""
        self.tests, self.kept_fixtures = CustomTests(), KeptFixtures(self.path)
        self.reds: set[str] = set()
        self.asserted: set[str] = set()
        self.reported: set[str] = set()

    @property
    def recipe(self) -> str:
        """The recipe's name, which is the folder's."""
        return self.path.name

    @property
    def red(self) -> bool:
        """Whether an item of the run failed, in its last attempt."""
        return bool(self.reds)

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
        """recipe.toml, the author's tests beside it, and those in sub-folders but for the recipe's own source."""
        try:
            _ = self.spec, self.bases
        except CcciError as error:
            raise self.CollectError(str(error)) from None
        self._register_fixtures(self)
        yield from self.collect_folder(self)

    def collect_folder(self, node: RecipeDir | RecipeFolder) -> Iterator[pytest.Item | pytest.Collector]:
        """What ``node``, this folder or one below it, holds: its files, then its sub-folders."""
        entries = sorted(node.path.iterdir())
        for path in entries:
            if path.is_file() and not self._ignored(node, path):
                for collected in node.ihook.pytest_collect_file(file_path=path, parent=node):
                    name_from_root(collected)
                    yield collected
        for path in entries:
            if path.is_dir() and path.name not in EXCLUDED and not self._ignored(node, path):
                yield RecipeFolder.from_parent(node, path=path)

    def _ignored(self, node: RecipeDir | RecipeFolder, path: Path) -> bool:
        if self.session.isinitpath(path):
            return False
        return bool(node.ihook.pytest_ignore_collect(collection_path=path, config=self.config))

    def setup(self) -> None:
        """Open the run, once; where there are several, each is opened with the first of its items.

        Raises:
            Blocked: the run was settled already, and somebody begins again.
        """
        if self.settled:
            raise Blocked(f"the run of {self.recipe} was settled before this attempt")
        if self.run is None and not self.bases and not self.config.getoption("setupplan", default=False):
            open_run(self)
        self.ready, self.left_open = True, False

    def teardown(self) -> None:
        """Close the run, whatever happened; while a plugin may do the test again, only after its last attempt."""
        self.ready = False
        if self.keep_open:
            self.left_open = True
            return
        self.finish()

    def finish(self) -> None:
        """Close the run for good."""
        self.left_open = False
        self.settled = self.settled or (self.run is not None and not self.bases)
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
        self.fresh(base)
        try:
            open_run(self)
        except Exception as error:
            self._failed[base] = error
            raise

    def leave(self, base: str, following: str | None) -> None:
        """After an item of the run from ``base``: close that run when the next item is not of it.

        While a plugin may do the test again, that is done after its last attempt.
        """
        if not self.bases or (following == base and self.ready):
            return
        if self.keep_open:
            self.left_open = True
        else:
            close_run(self)

    def need_head(self) -> RecipeRun:
        """The run, with the head up.

        Raises:
            Blocked: it cannot be had.
        """
        if self.run is None:
            raise Blocked(f"there is no open run of {self.recipe}")
        with untimed():
            reason = self.run.bring_up_head()
        if reason:
            raise Blocked(reason)
        return self.run


class RecipeFolder(pytest.Directory):
    """A sub-folder of a recipe, with more of the author's tests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_from_root(self)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The tests in it.

        Raises:
            CollectError: it holds another recipe.toml.
        """
        if (self.path / "recipe.toml").is_file():
            raise self.CollectError(
                f"{self.path / 'recipe.toml'} lies in another recipe's folder: move it out of there"
            )
        folder = recipe_dir_of(self)
        assert folder is not None  # noqa: S101  only a RecipeDir makes these
        folder.helpers.add(self.path)
        yield from folder.collect_folder(self)


class RecipeModule(pytest.Module):
    """A module of the author's tests."""

    def setup(self) -> None:
        """Bring the head up before any of the module's tests and their fixtures."""
        folder = recipe_dir_of(self)
        if folder is not None and folder.run is not None:
            folder.need_head()


def recipe_dir_of(node: pytest.Item | pytest.Collector) -> RecipeDir | None:
    """The recipe a node belongs to, if any."""
    return node.getparent(RecipeDir)


def name_from_root(node: pytest.Collector) -> None:
    """Give a node outside of rootdir an id that leads there from rootdir, as those inside have.

    pytest names it from whatever was asked for on the command line: two recipes would have the same ids, and from an id
    alone, which is all that xdist's controller gets, nobody could tell which recipe it belongs to.
    """
    root = node.config.rootpath
    if node.path.is_relative_to(root):
        return
    text = Path(os.path.relpath(node.path, root)).as_posix()
    unnamed: Any = node
    if hasattr(node, "_id"):
        unnamed._id = type(unnamed._id)(path=text)  # noqa: SLF001  it cannot be given to other plugins' nodes
    else:
        unnamed._nodeid = text  # noqa: SLF001  the same, before pytest 9.2


@contextmanager
def author_imports(node: RecipeDir) -> Iterator[None]:
    """Let the recipe's own modules be imported, each in importlib mode: two recipes have a test_app.py each."""
    before = node.config.option.importmode
    node.config.option.importmode = "importlib"
    try:
        with node.helpers.importable():
            yield
    finally:
        node.config.option.importmode = before
