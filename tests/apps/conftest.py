"""What the stories of the applications share: runs of ``RECIPE`` of their file, and its canonical."""

from __future__ import annotations

from pathlib import Path

import pytest
from realruns import CHECKOUT, Outcome, Pytest, of_stack, realms_of

from pytest_ccci.engine.client import Engine
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest, warm_state: StateDir) -> CanonicalStore:
    """The canonical of the file's recipe."""
    return CanonicalStore(warm_state.canonical(request.module.RECIPE), request.module.RECIPE)


@pytest.fixture
def play(request: pytest.FixtureRequest, user_pytest: Pytest, engine: Engine, machine: Machine) -> Pytest:
    """Runs of the file's recipe; after each, nothing of it is left on the engine or in Keycloak."""
    name = request.module.RECIPE
    folder = CHECKOUT / "recipes" / name

    def run(*args: str | Path) -> Outcome:
        done = user_pytest(*args, *(() if folder / "recipe.toml" in args else (folder,)))
        assert of_stack(engine, f"{name[:4]}-") == []
        assert of_stack(engine, f"warm-{name}") == []
        assert realms_of(machine, name) == []
        return done

    return run


@pytest.fixture
def known_good(store: CanonicalStore, play: Pytest) -> str:
    """The fingerprint of the known-good, made by a cold run of the latest release where there is none yet."""
    if store.record() is None:
        assert play("--cold", "--ccci-ref", "latest").rc == 0
    return store.fingerprint()
