"""What a fresh seed needs of a canonical that cannot be used: the ways cleared, and nothing lost that is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.files import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.record import read_record
from pytest_ccci.store.snapshots import Snapshots

__all__ = ["clear_the_way", "damaged_record_aside", "keep_whole"]


def clear_the_way(layout: Layout, *, fs: Fs) -> tuple[str, ...]:
    """Take away what would stop every change: a journal that recovery cannot finish, live volumes that are there twice.

    To be called after a recovery, which leaves neither where it can decide. Live volumes are made anew by a seed, and
    no snapshot and no record is touched. Tells what was done.
    """
    told: list[str] = []
    if _stuck(layout, fs):
        fs.rename(layout.journal, _damaged(layout.journal))
        told.append(f"set aside {layout.journal.name}, which recovery could not finish")
    for path in (layout.live_new, layout.live_old):
        if path.exists():
            fs.rmtree(path)
            told.append(f"dropped {path.name}, left by a change that was cut off")
    fs.fsync_dir(layout.root)
    return tuple(told)


def keep_whole(layout: Layout, keep: int, *, fs: Fs) -> int:
    """How many known-goods to keep at most, the new one among them, so that each that stays is one that can be used."""
    try:
        record = read_record(layout.record)
    except StoreDamaged:
        return 1
    snapshots, whole = Snapshots(layout, fs=fs), 0
    for good in record.all_goods if record else ():
        try:
            taken = snapshots.load(good.snapshot_id)
        except StoreDamaged:
            break
        if (taken.manifest_digest, taken.complete_digest) != (good.manifest_digest, good.complete_digest):
            break
        whole += 1
    return min(max(keep, 1), whole + 1)


@contextmanager
def damaged_record_aside(layout: Layout, *, fs: Fs) -> Iterator[None]:
    """Promote within this: a record that cannot be read makes room, and comes back when no new one took its place.

    A death in between leaves snapshots without a record, which every start answers with a quarantine.
    """
    try:
        read_record(layout.record)
    except StoreDamaged:
        aside = _damaged(layout.record)
    else:
        yield
        return
    fs.rename(layout.record, aside)
    fs.fsync_dir(layout.root)
    try:
        yield
    except BaseException:
        if not layout.record.exists():
            fs.rename(aside, layout.record)
        raise
    fs.unlink(aside)


def _stuck(layout: Layout, fs: Fs) -> bool:
    try:
        return Journal(layout.journal, fs=fs).pending() is not None
    except StoreDamaged:
        return True


def _damaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
