"""From exceptions to reports: verdicts, readable reasons, properties, and no secrets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

import pytest

from pytest_ccci.errors import CcciError, Verdict
from pytest_ccci.plugin.collection import TierItem, base_of, name_of
from pytest_ccci.plugin.outcomes import Story, story_of
from pytest_ccci.plugin.recipedir import RecipeDir, recipe_dir_of
from pytest_ccci.plugin.redaction import scrub_report
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.redact import SECRETS

__all__: list[str] = []

_CURRENT: pytest.StashKey[RecipeDir | None] = pytest.StashKey()
_OF_DEPENDENCIES = frozenset({"pytest_dependency", "pytest_depends"})


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say it in our words where it is ours, and scrub it whoever's it is."""
    report = yield
    folder = recipe_dir_of(item)
    _tell_story(report, item, call, folder)
    scrub_report(report)
    if folder is not None:
        _note(report, item, call, folder)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, Any] | None:
    """What was blocked has a letter of its own; it is red all the same."""
    if report.failed and getattr(report, "ccci_verdict", "") == Verdict.UNVERIFIED:
        return "blocked", "B", ("BLOCKED", {"red": True})
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Mark that there is an item to raise at; a run whose last item this was is closed."""
    board, folder = board_of(item.config), recipe_dir_of(item)
    board.in_teardown = True
    try:
        try:
            result = yield
            if folder is not None and not isinstance(item, TierItem) and not _more_tests(folder, item, nextitem):
                _finalise(folder)
            return result
        finally:
            if folder is not None:
                same = nextitem is not None and recipe_dir_of(nextitem) is folder
                folder.leave(base_of(item), base_of(nextitem) if same and nextitem is not None else None)
    finally:
        board.in_teardown = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The tests go on; where there are several runs of a recipe, in the item's own."""
    board_of(item.config).funnel.fresh()
    folder = recipe_dir_of(item)
    if folder is not None:
        folder.turn_to(base_of(item))
        folder.reds.discard(item.nodeid)
        item.user_properties[:] = [pair for pair in item.user_properties if pair[0] != "ccci.verdict"]
        if not isinstance(item, TierItem):
            folder.reported.add(item.nodeid)
            folder.tests.begin(item.nodeid)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know whose test it is for which a fixture is set up."""
    item.config.stash[_CURRENT] = recipe_dir_of(item)
    try:
        return (yield)
    finally:
        item.config.stash[_CURRENT] = None


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: Any) -> None:
    """Remember what is to be finalised before settle."""
    folder = request.config.stash.get(_CURRENT, None)
    if folder is not None:
        folder.kept_fixtures.note(fixturedef, request)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """See that the author's function is really entered, whatever runs it."""
    folder = recipe_dir_of(item)
    if folder is None or isinstance(item, TierItem):
        return (yield)
    if not isinstance(item, pytest.Function):
        folder.tests.called(item.nodeid)  # a doctest, say: there is no function to look at
        return (yield)
    function = item.obj
    item.obj = _seen(function, lambda: folder.tests.called(item.nodeid))
    try:
        return (yield)
    finally:
        item.obj = function


def _seen(function: Any, called: Callable[[], None]) -> Any:
    """``function``, which says when it is called."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def entered_later(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            called()
            return await function(*args, **kwargs)

        return entered_later

    @functools.wraps(function)
    def entered(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        called()
        return function(*args, **kwargs)

    return entered


def _more_tests(folder: RecipeDir, item: pytest.Item, following: pytest.Item | None) -> bool:
    """Whether another test of the same run follows; or nobody does, and the run is closed by the folder's teardown."""
    if following is None:
        return True
    same = recipe_dir_of(following) is folder and base_of(following) == base_of(item)
    return same and not isinstance(following, TierItem)


def _finalise(folder: RecipeDir) -> None:
    problems = folder.kept_fixtures.finish()
    if len(problems) > 1:
        raise BaseExceptionGroup("finalising the fixtures of the folder", problems)
    if problems:
        raise problems[0]


def _tell_story(
    report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], folder: RecipeDir | None
) -> None:
    if call.excinfo is None:
        return
    error = call.excinfo.value
    story = _foreign_fixture(error) or story_of(error)
    if story is None:
        _tell_skip(report, item, call.excinfo, folder)
        return
    _mark(report, story.verdict)
    if call.when == "call" and isinstance(error, CcciError):
        return  # raised in the author's own code: its traceback is what helps
    if isinstance(error, CcciError) and folder is not None and folder.could_not_start:
        story = _once(folder, story)
        _mark(report, story.verdict)
    if story.verdict == Verdict.SKIP:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 1, story.headline)
    else:
        report.longrepr = _shown(call.excinfo, story)


def _shown(excinfo: pytest.ExceptionInfo[BaseException], story: Story) -> Any:
    """The story in the shape of a failure, which terminal, junit and xdist all know how to carry."""
    shown: Any = excinfo.getrepr(style="value", chain=False)
    shown.reprtraceback.reprentries[-1].lines[:] = story.text.split("\n")
    if shown.reprcrash is not None:
        shown.reprcrash.message = story.headline
    for title, text in story.evidence:
        shown.addsection(title, text)
    return shown


def _foreign_fixture(error: BaseException) -> Story | None:
    """A recipe's fixture asked for where there is none: the list of all fixtures there are does not help."""
    name = error.argname if isinstance(error, pytest.FixtureLookupError) else None
    if name not in {"app", "recipe", "ccci_run"}:
        return None
    text = f"fixture {name!r} is only there in a recipe's folder (one with a recipe.toml); this test is in none"
    return Story(Verdict.ERROR, text, text)


def _once(folder: RecipeDir, story: Story) -> Story:
    """The first item says why the run could not start, the others only that."""
    if not folder.red:
        return story
    text = "blocked: the run could not start"
    return Story(Verdict.UNVERIFIED, text, text)


def _tell_skip(
    report: pytest.TestReport, item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], folder: RecipeDir | None
) -> None:
    if folder is None or not report.skipped or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ")
    if isinstance(item, TierItem):
        report.longrepr = (str(item.path), 1, reason)
    elif _skipped_for_a_dependency(excinfo):
        report.outcome = "failed"
        report.longrepr = f"blocked: {reason}"
        _mark(report, Verdict.UNVERIFIED)


def _skipped_for_a_dependency(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether a plugin that orders tests by dependency skipped it: then what it needs was not shown.

    Told by who raised the skip, never by its reason: an author may write whatever he likes there.
    """
    return any(entry.frame.f_globals.get("__name__") in _OF_DEPENDENCIES for entry in excinfo.traceback)


def _note(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None], folder: RecipeDir) -> None:
    verdict = _verdict(report)
    if call.excinfo is not None and isinstance(call.excinfo.value, KeyboardInterrupt):
        verdict = Verdict.ERROR  # a debugger took it, or pytest would have stopped
    _mark(report, verdict)
    folder.reported.add(name_of(item))
    if report.failed:
        folder.reds.add(item.nodeid)
    _set_properties(item, folder, verdict)
    item.user_properties[:] = [(name, SECRETS.scrub(str(value))) for name, value in item.user_properties]
    report.user_properties = item.user_properties
    if isinstance(item, TierItem):
        return
    folder.tests.note(item.nodeid, phase=call.when, verdict=verdict, seconds=report.duration, reason=_reason(report))


def _mark(report: pytest.TestReport, verdict: Verdict) -> None:
    # In the report's own dictionary, which xdist carries over to the controller.
    vars(report)["ccci_verdict"] = str(verdict)


def _verdict(report: pytest.TestReport) -> Verdict:
    given = getattr(report, "ccci_verdict", "")
    if given:
        return Verdict(given)
    if report.skipped:
        return Verdict.SKIP
    if report.passed:
        return Verdict.PASS
    return Verdict.FAIL if report.when == "call" else Verdict.ERROR


def _reason(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}" if report.wasxfail else "expected to fail"
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr or "")
    return str(text).strip().partition("\n")[0]


def _set_properties(item: pytest.Item, folder: RecipeDir, verdict: Verdict) -> None:
    from pytest_ccci.results.junit import properties  # noqa: PLC0415  with a recipe, not with every pytest

    board = board_of(item.config)
    known = dict(item.user_properties)
    before = str(known.get("ccci.verdict", ""))
    worst = before if before not in {"", "pass"} and verdict == Verdict.PASS else str(verdict)
    run = board.latest(folder.recipe)
    fresh = properties(
        recipe=folder.recipe,
        verdict=worst,
        requested_mode=getattr(run, "requested_mode", board.settings.mode),
        mode=getattr(run, "mode", ""),
        run_id=getattr(run, "run_id", ""),
        base=getattr(run, "base", None),
        head=getattr(run, "head", None),
    )
    item.user_properties[:] = [pair for pair in item.user_properties if pair[0] not in fresh]
    item.user_properties.extend(fresh.items())
