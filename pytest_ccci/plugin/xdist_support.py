"""Under pytest-xdist: the controller follows the workers' runs; a worker knows where it sends what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.plugin.run_events import Board, Follower, board_of
from pytest_ccci.plugin.xdist_scopes import recipe_folder

__all__ = ["Controller", "relay_of"]

# A settle has deadlines of its own; this one only keeps a hanging worker from holding the controller for ever.
_SETTLED_WITHIN = 1800.0


class Controller:
    """Follows the workers' runs, and lets them settle before xdist takes the workers down."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._board = board_of(config)
        self._follower: Follower | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker where to write."""
        if self._follower is None:
            self._follower = Follower(self._take)
        node.workerinput["ccci_relay"] = str(self._follower.folder)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """One recipe, one worker."""
        from pytest_ccci.plugin.xdist_scheduling import make_scheduler  # noqa: PLC0415  xdist's schedulers are heavy

        return make_scheduler(config, log, ours=self)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """From the first item of a recipe on, stopping means settling."""
        if recipe_folder(nodeid, self._config.rootpath):
            self._board.funnel.install()

    def settle(self) -> None:
        """Wait until every open run of a worker was closed; ask the workers to stop first. Then stop following."""
        if self._follower is None:
            return
        from pytest_ccci import process  # noqa: PLC0415  only when workers had runs

        self._follower.drain()
        for pid in {known.pid for known in self._board.open_runs}:
            process.terminate(pid)
        with self._board.funnel.settling():
            self._wait(self._board, self._follower)
        self._follower.stop()
        self._follower = None

    def _wait(self, board: Board, follower: Follower) -> None:
        from pytest_ccci import process, waiting  # noqa: PLC0415  only when workers had runs
        from pytest_ccci.errors import DeadlineExceeded  # noqa: PLC0415  the same

        def settled() -> bool:
            follower.drain()
            return not any(process.alive(known.pid) for known in board.open_runs)

        try:
            waiting.until(settled, deadline=waiting.Deadline(_SETTLED_WITHIN), what="the workers' runs to settle")
        except DeadlineExceeded as error:
            board.complaints.append(str(error))
        follower.drain()

    def _take(self, event: dict[str, Any]) -> None:
        self._board.emit(event)


def relay_of(config: pytest.Config) -> Path | None:
    """Where this worker writes, None in any other process."""
    given = getattr(config, "workerinput", {}).get("ccci_relay")
    return Path(given) if given else None
