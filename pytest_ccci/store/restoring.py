"""Back to the known-good: checked, copied, checked again, and only then swapped in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.locks import Tell
from pytest_ccci.store import disk
from pytest_ccci.store.parts import Parts, now
from pytest_ccci.store.record import KnownGood
from pytest_ccci.store.snapshots import Snapshot, refuse
from pytest_ccci.waiting import Stopwatch

__all__ = ["RestoreReport", "restore"]


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did. ``kept`` are bytes that stayed in place because they were proven untouched."""

    snapshot_id: str
    release: str
    files: int
    size: int
    kept: int
    seconds: float
    verified: bool
    backend: str


def restore(
    parts: Parts, *, stopped: Callable[[], None], tell: Tell, release: str = "", read_data: bool = False
) -> RestoreReport:
    """Replace the live volumes by the known-good, or by the kept one of ``release``."""
    watch = Stopwatch()
    stopped()
    good = parts.named(release)
    taken = _checked(parts, good, read_data=read_data, tell=tell)
    with parts.change("restoring the known-good", need=lambda: taken.size):
        kept = _replace(parts, taken, stopped=stopped, tell=tell, current=good == parts.named(""))
    tell(f"restored and verified in {watch.seconds:.1f} s")
    return RestoreReport(
        snapshot_id=taken.id,
        release=good.release,
        files=taken.files,
        size=taken.size,
        kept=kept,
        seconds=watch.seconds,
        verified=True,
        backend=parts.backend.name,
    )


def _checked(parts: Parts, good: KnownGood, *, read_data: bool, tell: Tell) -> Snapshot:
    """The snapshot, shown to be whole. One that is not is never restored; the canonical is quarantined."""
    tell(f"checking the snapshot of {good.release}")
    try:
        taken = parts.loaded(good)
        refuse(parts.snapshots.check(taken, read_data=read_data), taken.paths.root, "the known-good's snapshot")
    except StoreDamaged as error:
        with parts.mark("putting the canonical in quarantine"):
            parts.quarantine.set(why=str(error), since=now())
        raise
    return taken


def _replace(parts: Parts, taken: Snapshot, *, stopped: Callable[[], None], tell: Tell, current: bool) -> int:
    parts.begin("restore", id=taken.id, volumes=json.dumps(taken.volumes))
    parts.drift.set(run_id="", why="a restore is in progress", since=now())
    tell(f"restoring {taken.files} entries, {disk.shown(taken.size)}, by {parts.backend.name}")
    prepared = parts.live.prepare(taken, backend=parts.backend)
    stopped()
    parts.journal.step("verified")
    parts.live.swap(taken.volumes)
    parts.live.require(prepared)
    parts.live.discard()
    parts.live.seal(taken, prepared)
    if current:
        parts.drift.clear()
    else:
        parts.drift.set(run_id="", why="an earlier known-good was restored", since=now())
    parts.journal.done()
    return prepared.kept
