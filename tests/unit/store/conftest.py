from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from planted import Picture, picture_of, plant_one_of_each

from pytest_ccci.store.canonical import CanonicalStore, Snapshot
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.record import CanonicalRecord


@pytest.fixture
def picture() -> Callable[[Path], Picture]:
    return picture_of


@pytest.fixture
def plant() -> Callable[[Path], None]:
    return plant_one_of_each


@pytest.fixture
def store(tmp_path: Path) -> CanonicalStore:
    return CanonicalStore(tmp_path / "canonical", "demo", backend=CopyBackend())


class Seeder:
    """Takes and promotes snapshots the way a run does."""

    def snapshot(self, store: CanonicalStore, *volumes: str, word: str = "s1") -> Snapshot:
        names = volumes or store.live_volumes()
        return store.snapshot(
            volumes=names, secrets={"db_password_v1": word}, coverage={"volumes": list(names)}, stopped=lambda: None
        )

    def promote(self, store: CanonicalStore, snapshot: Snapshot, *, release: str = "1.0.0+1.0") -> CanonicalRecord:
        return store.promote(
            snapshot,
            release=release,
            commit="c" * 40,
            domain="warm-demo.ci.test",
            run_id="run1",
            images={"app": "nginx:1"},
        )

    def good(self, store: CanonicalStore, *, release: str = "1.0.0+1.0") -> CanonicalRecord:
        return self.promote(store, self.snapshot(store), release=release)


@pytest.fixture
def seed() -> Seeder:
    return Seeder()
