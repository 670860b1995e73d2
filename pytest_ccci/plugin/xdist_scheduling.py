"""xdist's scheduler for sessions with recipes: a recipe is one unit of work, on one worker."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from pytest_ccci.plugin.xdist_support import recipe_folder, scope_of

__all__ = ["RecipeAwareScheduling", "RecipeScheduling", "make_scheduler"]


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler that keeps recipes whole, and steps aside where there are none.

    ``--dist each`` is left alone: who asks for every test on every worker gets it, one after the other by lock.
    """
    if config.getoption("dist") == "each":
        return None
    return RecipeAwareScheduling(config, log)


class RecipeScheduling(LoadScopeScheduling):  # type: ignore[misc]  # we do not follow its types
    """Every recipe folder is one scope; other tests as ``--dist`` says, by file where it would split further."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.config.rootpath, self.config.getoption("dist"))

    def _reschedule(self, node: Any) -> None:
        """Give a worker no second recipe while another worker may soon be free for it.

        A worker starts its last test only when it knows what comes next, so one with a single test left gets more.
        """
        if self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


class RecipeAwareScheduling:
    """Decides when the workers have collected: `RecipeScheduling` with recipes, else what xdist would have used."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        self._config = config
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
        self._chosen = _xdists_own(self._config, self._log)
        for node in nodes:
            self._chosen.add_node(node)
        for node, ids in collected.items():
            self._chosen.add_node_collection(node, ids)


def _xdists_own(config: pytest.Config, log: Any) -> Any:
    session = config.pluginmanager.getplugin("dsession")
    return session.pytest_xdist_make_scheduler(config=config, log=log)
