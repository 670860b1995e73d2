"""The kept state of a recipe as tests see it: read only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

__all__ = ["CanonicalView", "SnapshotView", "view_canonical", "view_snapshot"]


@dataclass(frozen=True)
class CanonicalView:
    """A canonical. ``release`` is empty where there is no known-good; ``problem`` says why it cannot be used.

    ``kept``: the releases of all known-goods that are kept, newest first.
    """

    recipe: str
    directory: Path
    release: str = ""
    commit: str = ""
    snapshot_id: str = ""
    domain: str = ""
    since: str = ""
    drifted: bool = False
    problem: str = ""
    kept: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether there is a known-good that can be used."""
        return bool(self.release) and not self.problem


@dataclass(frozen=True)
class SnapshotView:
    """The known-good's snapshot."""

    snapshot_id: str
    directory: Path
    volumes: tuple[str, ...]
    files: int
    size: int
    _store: CanonicalStore

    def verify(self) -> tuple[Any, ...]:
        """How it differs from its manifest, every content read anew; empty when it does not."""
        return self._store.verify(read_data=True)


def view_canonical(state: StateDir, recipe: str) -> CanonicalView:
    """The canonical of ``recipe`` as it is on disk now."""
    folder = state.canonical(recipe)
    if not folder.is_dir():
        return CanonicalView(recipe, folder)
    now = CanonicalStore(folder, recipe).state()
    record = now.record
    return CanonicalView(
        recipe,
        folder,
        release=record.release if record else "",
        commit=record.commit if record else "",
        snapshot_id=record.snapshot_id if record else "",
        domain=record.domain if record else "",
        since=record.since if record else "",
        drifted=now.drift,
        problem=now.quarantined or "",
        kept=tuple(good.release for good in (record.all_goods if record else ())),
    )


def view_snapshot(state: StateDir, recipe: str) -> SnapshotView | None:
    """The known-good's snapshot, or ``None`` where there is none."""
    folder = state.canonical(recipe)
    if not (folder / "canonical.json").is_file():
        return None
    store = CanonicalStore(folder, recipe)
    try:
        record = store.record()
    except StoreDamaged:
        return None
    if record is None:
        return None
    paths = store.layout.snapshot(record.snapshot_id)
    return SnapshotView(record.snapshot_id, paths.volumes, record.volumes, record.files, record.size, store)
