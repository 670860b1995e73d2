"""The fixtures of the tests on a real engine, once for all folders, and who may use it beside whom.

A fixture that two folders' conftests import is two fixtures, each with a session of its own: a state directory inside
the other's, and tests that look for their runs in the one while their runs write into the other.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from typing import Any

import pytest
from realfixtures import engine, machine, page_recipe, user_pytest, warm_state
from xdist.scheduler import LoadScopeScheduling

__all__ = ["beside_others", "engine", "machine", "page_recipe", "user_pytest", "warm_state"]

STORIES = (
    "tests/integration/test_docs.py",
    "tests/proofs/infra/test_updates.py",
    "tests/apps/test_actual.py",
    "tests/apps/test_jupyterhub.py",
    "tests/apps/test_miniflux.py",
    "tests/apps/test_wordpress.py",
    "tests/forge/test_whole_stories.py",
)
"""Files whose tests share something: the canonical that the first of them makes, one ground to play on."""


@pytest.fixture(autouse=True)
def beside_others(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test on the real engine runs beside others; one that is marked ``alone`` waits for them, and they for it."""
    if not {"warm_state", "ground", "_engine_is_ready"}.intersection(request.fixturenames):
        yield
        return
    alone = request.node.get_closest_marker("alone") is not None
    with (tmp_path_factory.getbasetemp().parent / "engine.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


class StoriesScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Tests one by one to whichever worker is free, but for the files whose tests share something: each is one unit."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in STORIES else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What ``--dist loadgroup`` means here: pytest-xdist 3.8 knows a group by a test's id, which pytest 9.1 keeps."""
    return StoriesScheduling(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what must stay on one worker, since it takes longest; end with what must be alone."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return 2 if item.get_closest_marker("alone") else 0 if item.nodeid.partition("::")[0] in STORIES else 1
