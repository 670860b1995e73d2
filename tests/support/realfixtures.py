"""Fixtures for tests on a real engine: a state directory of the suite's own, and pytest as a user starts it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from realruns import Outcome, Pytest, command, own_name, write_page_recipe

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.results.write import load_result
from pytest_ccci.run.host import Machine, open_machine
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import StateDir, open_state

__all__ = ["engine", "machine", "page_recipe", "starter", "user_pytest", "warm_state"]

SHARED = ("ca", "infra", "images", "engines")


@pytest.fixture(scope="session")
def warm_state() -> Iterator[StateDir]:
    """A state directory of the suite's own on the engine that a user would get; it is in the environment from then on.

    Zone, infra and fetched files are the user's, so that the same warm Traefik and Keycloak serve both; canonicals,
    locks and results are not. Only Traefik is there for sure.
    """
    settings = resolve({}, {})
    theirs = open_state(settings.state_dir)
    engine = find_engine(settings, theirs)
    open_machine(settings, theirs, images=None)
    ours = open_state(theirs.root / f"suite-{os.getpid()}")
    for name in SHARED:
        (theirs.root / name).mkdir(exist_ok=True, mode=0o700)
        (ours.root / name).symlink_to(theirs.root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CCCI_STATE_DIR", str(ours.root))
        patch.setenv("DOCKER_HOST", engine.host)
        yield ours
    shutil.rmtree(ours.root)


@pytest.fixture(scope="session")
def engine(warm_state: StateDir) -> Engine:
    """The engine."""
    return find_engine(resolve({}, {}), warm_state)


@pytest.fixture(scope="session")
def machine(warm_state: StateDir) -> Machine:
    """Engine, zone and infra."""
    return open_machine(resolve({}, {}), warm_state, images=None)


def starter(state: StateDir, cwd: Path) -> Pytest:
    """Starts pytest in ``cwd`` as a user does; its outcome with the results of the runs that it opened."""

    def start(*args: str | Path, timeout: float = 600) -> Outcome:
        before = {path.name for path in state.runs.iterdir()}
        done = process.run(command(*args), timeout=timeout, cwd=cwd, check=False)
        fresh = sorted(path for path in state.runs.iterdir() if path.name not in before)
        results = tuple(load_result(path / "results.json") for path in fresh if (path / "results.json").is_file())
        print(done.stdout[-12000:], done.stderr[-3000:])  # noqa: T201  pytest shows it when the test fails
        return Outcome(done.rc, done.stdout + done.stderr, results)

    return start


@pytest.fixture
def user_pytest(warm_state: StateDir, tmp_path: Path) -> Pytest:
    """Start pytest in an empty directory; its outcome with the results of the runs that it opened."""
    return starter(warm_state, tmp_path)


@pytest.fixture
def page_recipe(tmp_path: Path) -> Path:
    """A small recipe of the test's own, enrolled: two releases of a page server, and a tip ahead of them."""
    return write_page_recipe(tmp_path / "recipes" / own_name())
