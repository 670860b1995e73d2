from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ccci.errors import EngineUnavailable
from pytest_ccci.ops import canonicals, prune
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore


@pytest.fixture
def keep(state: StateDir) -> Callable[[str], CanonicalStore]:
    """Give a recipe a known-good with one file of data."""

    def make(recipe: str) -> CanonicalStore:
        store = CanonicalStore(state.canonical(recipe), recipe)
        (store.live("data") / "document.txt").write_text("written before")
        taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
        store.promote(taken, release="1.0.0+1", commit="c" * 40, domain=f"warm-{recipe}.ci.test", run_id="r1")
        return store

    return make


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unit test reaches an engine."""

    def none(*_: object) -> object:
        raise EngineUnavailable("no Docker engine is running")

    monkeypatch.setattr(prune, "engine_at_hand", none)
    monkeypatch.setattr(canonicals, "find_engine", none)
