"""From an archive to the known-good: a snapshot that is read back from disk, then the same promotion as a run's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ccci.locks import Tell
from pytest_ccci.store import comparison, disk, manifest, promotion
from pytest_ccci.store.entries import Entry
from pytest_ccci.store.layout import SnapshotPaths
from pytest_ccci.store.parts import Parts, now
from pytest_ccci.store.record import CanonicalRecord
from pytest_ccci.store.snapshots import Snapshot, new_id, refuse
from pytest_ccci.store.unpacking import Incoming

__all__ = ["import_known_good"]


def import_known_good(parts: Parts, source: Incoming, *, secrets: Mapping[str, str], tell: Tell) -> CanonicalRecord:
    """Make what ``source`` holds the known-good. Live volumes are not touched, and count as drifted.

    Raises:
        ArchiveError: the archive is damaged, incomplete, or none; the known-good is as it was.
        StoreDamaged: what stands on disk is not what came.
        DiskFull: there is no room.
    """
    head, ident = source.head, new_id()
    with parts.change("importing a known-good", need=lambda: head.room):
        disk.require(disk.Demand(head.room, head.files), parts.layout.root, what="importing a known-good")
        parts.begin("snapshot", id=ident)
        tell(f"reading {head.files} entries, {disk.shown(head.size)}")
        taken = _received(parts, ident, source, secrets)
        # What live was last shown equal to is another snapshot than the one that is promoted now.
        parts.live.unseal()
        parts.drift.set(run_id="", why=f"the known-good of {head.release} was imported", since=now())
        parts.journal.done()
    facts = head.model_dump(include={"release", "commit", "domain", "run_id", "images", "app_version"})
    return promotion.promote(parts, taken, recipe=head.recipe, facts=facts)


def _received(parts: Parts, ident: str, source: Incoming, secrets: Mapping[str, str]) -> Snapshot:
    fs, places, wanted = parts.fs, SnapshotPaths(parts.layout.work / ident), parts.layout.work / f"{ident}.wanted"
    fs.mkdir(places.root)
    fs.mkdir(places.volumes)
    source.manifest_into(wanted, fs=fs)
    source.volumes_into(places.volumes, wanted, fs=fs)
    refuse(comparison.verify(places.volumes, wanted), places.root, "what was imported")
    written = manifest.write(manifest.build(places.volumes, known=_digests(wanted)), places.manifest, fs=fs)
    fs.unlink(wanted)
    return parts.snapshots.complete(
        places, ident, written, volumes=source.head.volumes, secrets=secrets, coverage=source.coverage
    )


def _digests(path: Path) -> Callable[[Entry], str]:
    """The digests that the manifest at ``path`` has, asked for in its order."""
    rows = manifest.read(path)

    def known(entry: Entry) -> str:
        return next((row.digest for row in rows if row.path == entry.path), "")

    return known
