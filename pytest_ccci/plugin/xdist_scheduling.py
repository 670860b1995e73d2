"""xdist's scheduler for sessions with recipes: a recipe is one unit of work, on one worker."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import pytest
from xdist.scheduler import LoadScopeScheduling

from pytest_ccci.errors import Verdict
from pytest_ccci.plugin.run_events import board_of
from pytest_ccci.plugin.xdist_scopes import RECIPE, recipe_folder, scope_of

__all__ = ["RecipeAwareScheduling", "RecipeScheduling", "make_scheduler"]


def make_scheduler(config: pytest.Config, log: Any, *, ours: object) -> Any:
    """A scheduler that keeps recipes whole, and steps aside where there are none; ``ours`` is the plugin that asks.

    ``--dist each`` is left alone: who asks for every test on every worker gets it, one after the other by lock.
    """
    if config.getoption("dist") == "each":
        return None
    return RecipeAwareScheduling(config, log, ours)


class RecipeScheduling(LoadScopeScheduling):  # type: ignore[misc]  # we do not follow its types
    """Every recipe folder is one scope; other tests as ``--dist`` says, by file where it would split further."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.config.rootpath, self.config.getoption("dist"))

    def remove_node(self, node: Any) -> str | None:
        """Take a worker out; what it was at when it died is not done again.

        xdist gives a dead worker's whole scope to the next one, the test that killed it first. Of a recipe that would
        be another run each time: what is left of it is told as blocked. Other tests go on behind the one that died.
        """
        work: dict[str, dict[str, bool]] = self.assigned_work[node]
        scope, died = next(((s, test) for s, unit in work.items() for test, done in unit.items() if not done), ("", ""))
        if not died:
            return cast("str | None", super().remove_node(node))
        work[scope][died] = True
        lost = [test for test, done in work[scope].items() if not done] if scope.startswith(RECIPE) else []
        for done_with in [name for name, unit in work.items() if all(unit.values()) or (lost and name == scope)]:
            del work[done_with]
        super().remove_node(node)
        for test in lost:
            self.config.hook.pytest_runtest_logreport(report=_blocked(self.config, node, test, died))
        return died

    def _reschedule(self, node: Any) -> None:
        """Give a worker no second recipe while another worker may soon be free for it.

        A worker starts its last test only when it knows what comes next, so one with a single test left gets more.
        """
        if self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


class RecipeAwareScheduling:
    """Decides when the workers have collected: `RecipeScheduling` with recipes, else what is used without us."""

    def __init__(self, config: pytest.Config, log: Any, ours: object) -> None:
        self._config = config
        self._ours = ours
        self._log = log
        self._chosen: Any = RecipeScheduling(config, log)
        self._decided = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)

    def schedule(self) -> None:
        """Decide once, then as the chosen one does."""
        if not self._decided:
            self._decided = True
            self._decide()
        self._chosen.schedule()

    def _decide(self) -> None:
        collected: OrderedDict[Any, list[str]] = OrderedDict(self._chosen.registered_collections)
        root = self._config.rootpath
        if any(recipe_folder(nodeid, root) for ids in collected.values() for nodeid in ids):
            return
        nodes = self._chosen.nodes
        self._chosen = self._without_us()
        for node in nodes:
            self._chosen.add_node(node)
        for node, ids in collected.items():
            self._chosen.add_node_collection(node, ids)

    def _without_us(self) -> Any:
        """The scheduler of another plugin or of a conftest.py, where one has its own, else xdist's."""
        asked = self._config.pluginmanager.subset_hook_caller("pytest_xdist_make_scheduler", [self._ours])
        return asked(config=self._config, log=self._log)


def _blocked(config: pytest.Config, node: Any, nodeid: str, died: str) -> pytest.TestReport:
    from pytest_ccci.results.junit import properties  # noqa: PLC0415  only when a worker died

    board = board_of(config)
    recipe = Path(recipe_folder(nodeid, config.rootpath) or "").name
    run = next((known for known in reversed(board.runs) if known.recipe == recipe), None)
    facts = properties(
        recipe=recipe,
        verdict=Verdict.UNVERIFIED,
        requested_mode=board.settings.mode,
        run_id=run.run_id if run else "",
    )
    report = pytest.TestReport(
        nodeid=nodeid,
        location=(nodeid.partition("::")[0], None, nodeid.rpartition("::")[2]),
        keywords={},
        outcome="failed",
        longrepr=f"blocked: the worker died at {died}",
        when="setup",
        user_properties=list(facts.items()),
        ccci_verdict=str(Verdict.UNVERIFIED),
    )
    vars(report)["node"] = node  # as xdist does, for its own reporter and junit's
    return report
