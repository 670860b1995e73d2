"""The life of a run inside pytest: opened with the folder's setup, closed with its teardown, whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_ccci.errors import Verdict
from pytest_ccci.plugin.board import board_of
from pytest_ccci.plugin.outcomes import RunNotGreen
from pytest_ccci.plugin.untimed import untimed

if TYPE_CHECKING:
    from pytest_ccci.plugin.protocol import RecipeRun
    from pytest_ccci.plugin.recipedir import RecipeDir
    from pytest_ccci.results.model import RunResult
    from pytest_ccci.settings import Settings

__all__ = ["CustomTests", "close_run", "open_run"]


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
