"""How the canonicals stand: their known-goods with what each takes on disk, drift, quarantine, who uses them."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.ops.inflight import Holder, holder_of
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import footprint
from pytest_ccci.store.record import KnownGood

__all__ = ["CanonicalRow", "KeptRow", "allocated", "canonical_rows"]


@dataclass(frozen=True)
class KeptRow:
    """A known-good that is kept; bytes on disk. ``shared`` and ``exclusive`` are ``None`` where nobody can tell."""

    release: str
    commit: str
    since: str
    snapshot_id: str
    size: int
    shared: int | None
    exclusive: int | None


@dataclass(frozen=True)
class CanonicalRow:
    """A canonical; ``kept`` are its known-goods, newest first; sizes in bytes on disk.

    Empty ``release``: there is no known-good.
    """

    recipe: str
    directory: str
    backend: str
    backend_why: str
    release: str = ""
    commit: str = ""
    snapshot_id: str = ""
    since: str = ""
    domain: str = ""
    drift: str = ""
    quarantine: str = ""
    in_progress: str = ""
    snapshot_size: int = 0
    live_size: int = 0
    holder: Holder | None = None
    kept: tuple[KeptRow, ...] = ()


def canonical_rows(settings: Settings, state: StateDir) -> tuple[CanonicalRow, ...]:
    """All canonicals, by recipe."""
    if not state.canonicals.is_dir():
        return ()
    return tuple(_canonical(settings, state, path) for path in sorted(state.canonicals.iterdir()) if path.is_dir())


def _canonical(settings: Settings, state: StateDir, folder: Path) -> CanonicalRow:
    store = CanonicalStore(folder, folder.name)
    now = store.state()
    record = now.record
    return CanonicalRow(
        recipe=folder.name,
        directory=str(folder),
        backend=store.backend.name,
        backend_why=store.backend.told,
        release=record.release if record else "",
        commit=record.commit if record else "",
        snapshot_id=record.snapshot_id if record else "",
        since=record.since if record else "",
        domain=record.domain if record else "",
        drift=now.why_drifted if now.drift else "",
        quarantine=now.quarantined or "",
        in_progress=now.in_progress.name if now.in_progress else "",
        snapshot_size=allocated(store.layout.snapshots),
        live_size=allocated(store.layout.live),
        holder=holder_of(state.lock(record.domain if record else canonical_domain(folder.name, settings.zone))),
        kept=tuple(_kept(store, good) for good in (record.all_goods if record else ())),
    )


def _kept(store: CanonicalStore, good: KnownGood) -> KeptRow:
    found = footprint(store.layout.snapshot(good.snapshot_id).root)
    return KeptRow(
        release=good.release,
        commit=good.commit,
        since=good.since,
        snapshot_id=good.snapshot_id,
        size=found.allocated,
        shared=found.shared,
        exclusive=found.exclusive,
    )


def allocated(root: Path, *, without: Collection[Path] = ()) -> int:
    """Bytes allocated below ``root``; what goes while we look does not count."""
    total, seen = 0, set()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in files:
            if Path(folder, name) in without:
                continue
            try:
                facts = Path(folder, name).lstat()
            except OSError:
                continue
            if facts.st_ino not in seen:
                seen.add(facts.st_ino)
                total += facts.st_blocks * 512
    return total
