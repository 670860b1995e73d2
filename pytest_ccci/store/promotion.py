"""From live volumes to the known-good: a snapshot, then one rename of the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import disk
from pytest_ccci.store.marks import write_durably
from pytest_ccci.store.parts import Parts, now
from pytest_ccci.store.record import CanonicalRecord, KnownGood, read_record, render_record
from pytest_ccci.store.seal import Seal
from pytest_ccci.store.snapshots import Snapshot, new_id, refuse
from pytest_ccci.store.walking import walk

__all__ = ["promote", "take_snapshot"]


def take_snapshot(
    parts: Parts,
    *,
    volumes: Sequence[str],
    secrets: Mapping[str, str],
    coverage: Mapping[str, object],
    stopped: Callable[[], None],
) -> Snapshot:
    """Copy live volumes into a complete, verified, durable snapshot."""
    ident, need = new_id(), disk.Demand(0, 0)
    with parts.change("taking a snapshot", need=lambda: need.size):
        if missing := sorted(set(volumes) - set(parts.live.volumes())):
            raise StoreDamaged(f"no live volume {', '.join(missing)}", where=str(parts.layout.live))
        stopped()
        need = disk.demand(walk(parts.layout.live, only=volumes), shares_blocks=parts.backend.shares_blocks)
        disk.require(need, parts.layout.root, what="a snapshot")
        parts.begin("snapshot", id=ident)
        seal = Seal(parts.layout, fs=parts.fs)
        taken = parts.snapshots.take(
            ident,
            backend=parts.backend,
            volumes=volumes,
            secrets=secrets,
            coverage=coverage,
            stopped=stopped,
            note=seal.note,
        )
        if taken.volumes == parts.live.volumes():
            seal.put()
        else:
            seal.drop()
        stopped()
        parts.journal.done()
    return taken


def promote(parts: Parts, snapshot: Snapshot, *, recipe: str, facts: Mapping[str, object]) -> CanonicalRecord:
    """Make ``snapshot`` the known-good; ``facts`` are the record's fields that the snapshot does not know."""
    with parts.change("promoting a snapshot"):
        parts.begin("promote", id=snapshot.id, run_id=str(facts["run_id"]))
        taken = parts.snapshots.load(snapshot.id)
        if taken != snapshot:
            raise StoreDamaged("the snapshot to promote is not the one that was taken", where=str(taken.paths.root))
        refuse(parts.snapshots.check(taken, read_data=False), taken.paths.root, "the snapshot to promote")
        old = read_record(parts.layout.record)
        good = _known_good(taken, facts).model_dump()
        goods = () if old is None else (old.as_known_good(), *old.earlier)
        kept = [one for one in goods if one.release != good["release"]][: parts.keep - 1]
        record = CanonicalRecord.model_validate({**good, "recipe": recipe, "earlier": kept})
        write_durably(parts.fs, parts.layout.record, render_record(record))
        if parts.record() != record:
            raise StoreDamaged("the record does not read back as it was written", where=str(parts.layout.record))
        _settle_drift(parts, taken)
        for ident in set(parts.snapshots.ids()) - {one.snapshot_id for one in record.all_goods}:
            parts.snapshots.drop(ident)
        parts.fs.rmtree(parts.layout.aside)
        parts.journal.done()
    return record


def _known_good(taken: Snapshot, facts: Mapping[str, object]) -> KnownGood:
    return KnownGood.model_validate(
        {
            **facts,
            "since": now(),
            "snapshot_id": taken.id,
            "volumes": taken.volumes,
            "manifest_digest": taken.manifest_digest,
            "complete_digest": taken.complete_digest,
            "files": taken.files,
            "size": taken.size,
        }
    )


def _settle_drift(parts: Parts, taken: Snapshot) -> None:
    """Live equals the known-good when nothing wrote to it since it was copied; the kernel tells."""
    if parts.live.sealed_and_untouched():
        parts.drift.clear()
    else:
        parts.drift.set(run_id="", why=f"live volumes are not what snapshot {taken.id} copied", since=now())
