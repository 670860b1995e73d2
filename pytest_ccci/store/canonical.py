"""A canonical: live volumes, and the known-good that they can always be returned to."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from pytest_ccci.errors import RefError, StateDamaged, StoreDamaged
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, check_mount, load_state, note_mount
from pytest_ccci.store import disk, manifest, verify
from pytest_ccci.store.archive import Head, Incoming, write_archive
from pytest_ccci.store.copying import Backend, choose
from pytest_ccci.store.fs import Fs, os_errors, translated
from pytest_ccci.store.journal import Journal, Operation
from pytest_ccci.store.layout import Layout, SnapshotPaths, checked_name
from pytest_ccci.store.live import LiveTree
from pytest_ccci.store.manifest import Entry
from pytest_ccci.store.record import CanonicalRecord, KnownGood, Mark, load_record, render_record, write_durably
from pytest_ccci.store.recovery import Recovery
from pytest_ccci.store.snapshots import Snapshot, Snapshots, new_id, refuse
from pytest_ccci.store.tree import walk
from pytest_ccci.store.unchanged import Seal
from pytest_ccci.store.verify import Difference
from pytest_ccci.waiting import Stopwatch

__all__ = ["CanonicalState", "CanonicalStore", "LastRead", "RestoreReport", "Snapshot", "load_notes", "now"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CanonicalState:
    """What a canonical is in, as its directory says now. ``quarantined`` and ``why_drifted`` give the reason."""

    record: CanonicalRecord | None
    drift: bool
    why_drifted: str
    quarantined: str | None
    in_progress: Operation | None
    earlier: tuple[KnownGood, ...]


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


@dataclass(frozen=True)
class LastRead:
    """When every content of a snapshot was last read, and when it was ``whole`` then. ISO 8601, empty for never."""

    last: str = ""
    whole: str = ""


def load_notes(path: Path) -> Mapping[str, LastRead]:
    """When each snapshot was last read, by its id; empty where nothing says so.

    Raises:
        StateDamaged: the file cannot be used.
    """
    return load_state(path, dict[str, LastRead], advice="remove it: reading begins anew") or {}


class CanonicalStore:
    """The store of one recipe's canonical, in one directory of its own.

    Args:
        directory: where it is; made when it is not there yet.
        recipe: whose canonical it is.
        backend: the way trees are copied; found out when first needed, if not given.
        fs: what changes files; tests give one that fails or dies.
        keep: how many known-goods are kept.
        make: off for a reader, which neither makes a directory nor checks the mount.
    """

    def __init__(
        self,
        directory: Path,
        recipe: str,
        *,
        backend: Backend | None = None,
        fs: Fs | None = None,
        keep: int = 1,
        make: bool = True,
    ) -> None:
        self.layout = layout = Layout(directory)
        self.recipe = recipe
        if make:
            state = StateDir(directory.parent.parent)
            if directory.parent == state.canonicals:
                check_mount(state)
                note_mount(state)
            for path in (layout.root, layout.snapshots, layout.work, layout.live):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fs = fs = fs or Fs()
        self._keep = max(keep, 1)
        self._given = backend
        self._journal = Journal(layout.journal, fs=fs)
        self._snapshots = Snapshots(layout, fs=fs)
        self._live = LiveTree(layout, fs=fs)
        self._drift = Mark(layout.drift, fs=fs)
        self._quarantine = Mark(layout.quarantine, fs=fs)

    @cached_property
    def backend(self) -> Backend:
        """The way trees are copied here, and why; found out with two small files when first asked."""
        return self._given or choose(self.layout.work)

    # -- inspect

    def state(self) -> CanonicalState:
        """What the canonical is in. Never fails for what is damaged: that is a quarantine with its reason."""
        record, pending = None, None
        mark = self._quarantine.read()
        reason = None if mark is None else mark.get("why", "no reason was given")
        try:
            pending = self._journal.pending()
            record = self.record()
        except StoreDamaged as error:
            reason = reason or str(error)
        drift = self._drift.read()
        return CanonicalState(
            record=record,
            drift=drift is not None,
            why_drifted=(drift or {}).get("why", ""),
            quarantined=reason,
            in_progress=pending,
            earlier=record.earlier if record else (),
        )

    def record(self) -> CanonicalRecord | None:
        """The known-good's record as it is on disk now, its snapshot there and sealed; None when there is none.

        Raises:
            StoreDamaged: the record, or a part of what it names, cannot be used.
        """
        record = load_record(self.layout.record)
        for good in record.all_goods if record else ():
            self._loaded(good)
        return record

    def secrets(self, *, release: str = "") -> dict[str, str]:
        """The secrets of the known-good (or of the kept one of ``release``), by name; empty without a known-good."""
        if self.record() is None:
            return {}
        good = self._named(release)
        raw = json.loads(self.layout.snapshot(good.snapshot_id).secrets.read_bytes())
        values = {str(name): str(value) for name, value in raw.items()}
        SECRETS.learn(*values.values())
        return values

    def verify(self, *, read_data: bool = True, release: str = "") -> tuple[Difference, ...]:
        """How the known-good differs from its manifest, contents read anew unless ``read_data`` is off."""
        return self._snapshots.check(self._loaded(self._named(release)), read_data=read_data)

    def read_whole(self, *, release: str = "") -> tuple[Difference, ...]:
        """Verify as :meth:`verify` does, and write down when that was, in a file that decides nothing."""
        good, start = self._named(release), now()
        found = self.verify(release=release)
        kept = {one.snapshot_id for one in self._needed_record().all_goods}
        notes = {ident: asdict(row) for ident, row in self._notes().items() if ident in kept}
        whole = self.last_read(release=release).whole if found else start
        notes[good.snapshot_id] = asdict(LastRead(last=start, whole=whole))
        with self._mark("noting when the known-good was read"):
            write_durably(self._fs, self.layout.verified, json.dumps(notes, indent=1).encode("ascii") + b"\n")
        return found

    def last_read(self, *, release: str = "") -> LastRead:
        """When the known-good (or the kept one of ``release``) was read; never, where nothing usable says so."""
        return self._notes().get(self._named(release).snapshot_id, LastRead())

    def _notes(self) -> Mapping[str, LastRead]:
        try:
            return load_notes(self.layout.verified)
        except StateDamaged:  # then all of it is read anew
            return {}

    def fingerprint(self) -> str:
        """One digest over the record and everything below its snapshot.

        Contents stand in it by the manifest's digest, and by each file's inode, size, times and change time: the kernel
        sets the last at each write, so equal fingerprints before and after mean that nothing was written between.
        """
        record = self._needed_record()
        total = hashlib.sha256(self.layout.record.read_bytes())
        total.update(self._loaded(record).complete_digest.encode("ascii"))
        for node in walk(self.layout.snapshot(record.snapshot_id).root):
            facts = node.stat
            row = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_size, facts.st_mtime_ns)
            total.update(os.fsencode(node.path) + repr((*row, facts.st_ctime_ns)).encode("ascii"))
        return total.hexdigest()

    def _needed_record(self) -> CanonicalRecord:
        """The record on disk; it is an error when there is none."""
        record = self.record()
        if record is None:
            raise StoreDamaged("there is no known-good", where=str(self.layout.root), advice="a cold run makes one")
        return record

    def _loaded(self, good: KnownGood) -> Snapshot:
        """The snapshot that ``good`` names, its seal checked."""
        taken = self._snapshots.load(good.snapshot_id)
        if (taken.manifest_digest, taken.complete_digest) != (good.manifest_digest, good.complete_digest):
            raise StoreDamaged("the snapshot is not the one that the record names", where=str(taken.paths.root))
        return taken

    def _named(self, release: str) -> KnownGood:
        """The known-good, or the kept one of ``release``.

        Raises:
            RefError: none of that release is kept.
        """
        record = self._needed_record()
        for good in record.all_goods:
            if release in {"", good.release}:
                return good
        kept = ", ".join(good.release for good in record.all_goods)
        raise RefError(
            f"no known-good of release {release} is kept",
            where=str(self.layout.root),
            seen=f"kept: {kept}",
            advice="keep = 3 in recipe.toml keeps earlier ones from the next promotion on",
        )

    # -- the live volumes

    def live(self, volume: str) -> Path:
        """The folder of a live volume, made when it is not there yet (a bind volume needs it)."""
        path = self.layout.live / checked_name(volume, what="volume")
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def live_volumes(self) -> tuple[str, ...]:
        """The names of the live volumes."""
        return self._live.volumes()

    def mark_drifted(self, run_id: str, why: str) -> None:
        """Say durably that live volumes may differ from the known-good. Before any container may write to them."""
        with self._mark("marking the canonical as drifted"):
            self._drift.set(run_id=run_id, why=why, since=now())

    # -- promote

    def snapshot(
        self,
        *,
        volumes: Sequence[str],
        secrets: Mapping[str, str],
        coverage: Mapping[str, object],
        stopped: Callable[[], None],
    ) -> Snapshot:
        """Copy live volumes into a complete, verified, durable snapshot. Not the known-good before :meth:`promote`.

        ``stopped`` raises if a container can still write; it is asked before and after the copy.

        Raises:
            DiskFull: there is no room; the known-good is kept.
            StoreDamaged: the copy does not match what is live, or a volume is not there.
        """
        ident, need = new_id(), disk.Demand(0, 0)
        with self._change("taking a snapshot", need=lambda: need.size):
            if missing := sorted(set(volumes) - set(self._live.volumes())):
                raise StoreDamaged(f"no live volume {', '.join(missing)}", where=str(self.layout.live))
            stopped()
            need = disk.demand(walk(self.layout.live, only=volumes), shares_blocks=self.backend.shares_blocks)
            disk.require(need, self.layout.root, what="a snapshot")
            self._begin("snapshot", id=ident)
            seal = Seal(self.layout, fs=self._fs)
            taken = self._snapshots.take(
                ident,
                backend=self.backend,
                volumes=volumes,
                secrets=secrets,
                coverage=coverage,
                stopped=stopped,
                note=seal.note,
            )
            if taken.volumes == self._live.volumes():
                seal.put()
            else:
                seal.drop()
            stopped()
            self._journal.done()
        return taken

    def promote(
        self,
        snapshot: Snapshot,
        *,
        release: str,
        commit: str,
        domain: str,
        run_id: str,
        images: Mapping[str, str] | None = None,
        app_version: str = "",
        keep: int | None = None,
    ) -> CanonicalRecord:
        """Make ``snapshot`` the known-good: one rename. The one it replaces is dropped only after a re-read from disk.

        Clears drift when the kernel shows that live is still what was copied. ``keep`` is how many known-goods are kept
        this once, in place of the store's.

        Raises:
            StoreDamaged: the snapshot is not whole, or what was written does not read back.
        """
        facts = {
            "release": release,
            "commit": commit,
            "domain": domain,
            "run_id": run_id,
            "images": dict(images or {}),
            "app_version": app_version,
        }
        return self._promote(snapshot, self.recipe, facts, self._keep if keep is None else max(keep, 1))

    def _promote(self, snapshot: Snapshot, recipe: str, facts: Mapping[str, object], keep: int) -> CanonicalRecord:
        """Promote; ``facts`` are the record's fields that the snapshot does not know."""
        with self._change("promoting a snapshot"):
            self._begin("promote", id=snapshot.id, run_id=str(facts["run_id"]))
            taken = self._snapshots.load(snapshot.id)
            if taken != snapshot:
                raise StoreDamaged("the snapshot to promote is not the one that was taken", where=str(taken.paths.root))
            refuse(self._snapshots.check(taken, read_data=False), taken.paths.root, "the snapshot to promote")
            old = load_record(self.layout.record)
            good = _known_good(taken, facts).model_dump()
            goods = () if old is None else (old.as_known_good(), *old.earlier)
            kept = [one for one in goods if one.release != good["release"]][: keep - 1]
            record = CanonicalRecord.model_validate({**good, "recipe": recipe, "earlier": kept})
            write_durably(self._fs, self.layout.record, render_record(record))
            if self.record() != record:
                raise StoreDamaged("the record does not read back as it was written", where=str(self.layout.record))
            self._settle_drift(taken)
            for ident in set(self._snapshots.ids()) - {one.snapshot_id for one in record.all_goods}:
                self._snapshots.drop(ident)
            self._fs.rmtree(self.layout.aside)
            self._journal.done()
        return record

    def _settle_drift(self, taken: Snapshot) -> None:
        """Live equals the known-good when nothing wrote to it since it was copied; the kernel tells."""
        if self._live.sealed_and_untouched():
            self._drift.clear()
        else:
            self._drift.set(run_id="", why=f"live volumes are not what snapshot {taken.id} copied", since=now())

    def keep_whole(self) -> int:
        """How many known-goods to keep, the next one among them, so that each that stays is one that can be used."""
        try:
            record = load_record(self.layout.record)
        except StoreDamaged:
            return 1
        whole = 0
        for good in record.all_goods if record else ():
            try:
                self._loaded(good)
            except StoreDamaged:
                break
            whole += 1
        return min(self._keep, whole + 1)

    @contextmanager
    def damaged_record_aside(self) -> Iterator[None]:
        """Promote within this: a record that cannot be read makes room, and comes back when no new one took its place.

        A death in between leaves snapshots without a record, which every start answers with a quarantine.
        """
        try:
            load_record(self.layout.record)
        except StoreDamaged:
            aside = _damaged(self.layout.record)
        else:
            yield
            return
        self._fs.rename(self.layout.record, aside)
        self._fs.fsync_dir(self.layout.root)
        try:
            yield
        except BaseException:
            if not self.layout.record.exists():
                self._fs.rename(aside, self.layout.record)
            raise
        self._fs.unlink(aside)

    # -- restore

    def restore(self, *, stopped: Callable[[], None], release: str = "", read_data: bool = False) -> RestoreReport:
        """Replace the live volumes by the known-good (or by the kept one of ``release``; then live stays drifted).

        The snapshot is checked first, the copy before it is swapped in, and nothing live goes before that. With
        ``read_data`` the snapshot is read in full even where the kernel shows that it was not touched.

        Raises:
            StoreDamaged: the snapshot is damaged: nothing is restored and the canonical is quarantined.
            DiskFull: there is no room for the copy; live volumes are as they were.
            RefError: no known-good of ``release`` is kept.
        """
        watch = Stopwatch()
        stopped()
        good = self._named(release)
        taken = self._checked(good, read_data=read_data)
        with self._change("restoring the known-good", need=lambda: taken.size):
            kept = self._replace(taken, stopped=stopped, current=good == self._named(""))
        _LOG.info(f"restored and verified in {watch.seconds:.1f} s")
        return RestoreReport(
            snapshot_id=taken.id,
            release=good.release,
            files=taken.files,
            size=taken.size,
            kept=kept,
            seconds=watch.seconds,
            verified=True,
            backend=self.backend.name,
        )

    def _checked(self, good: KnownGood, *, read_data: bool) -> Snapshot:
        """The snapshot, shown to be whole. One that is not is never restored; the canonical is quarantined."""
        _LOG.info(f"checking the snapshot of {good.release}")
        try:
            taken = self._loaded(good)
            refuse(self._snapshots.check(taken, read_data=read_data), taken.paths.root, "the known-good's snapshot")
        except StoreDamaged as error:
            with self._mark("putting the canonical in quarantine"):
                self._quarantine.set(why=str(error), since=now())
            raise
        return taken

    def _replace(self, taken: Snapshot, *, stopped: Callable[[], None], current: bool) -> int:
        self._begin("restore", id=taken.id, volumes=json.dumps(taken.volumes))
        self._drift.set(run_id="", why="a restore is in progress", since=now())
        _LOG.info(f"restoring {taken.files} entries, {disk.shown(taken.size)}, by {self.backend.name}")
        prepared = self._live.prepare(taken, backend=self.backend)
        stopped()
        self._journal.step("verified")
        self._live.swap(taken.volumes)
        self._live.require(prepared)
        self._live.discard()
        self._live.seal(taken, prepared)
        if current:
            self._drift.clear()
        else:
            self._drift.set(run_id="", why="an earlier known-good was restored", since=now())
        self._journal.done()
        return prepared.kept

    # -- archives: see `store.archive`

    def export(self, path: Path, *, release: str = "", passphrase: str = "") -> Head:
        """Write the known-good (or the kept one of ``release``) as one file; its secrets only with a ``passphrase``.

        Raises:
            StoreDamaged: the snapshot is not what its manifest says; there is no such file then.
        """
        good = self._named(release)
        with os_errors("exporting a known-good", where=path):
            return write_archive(path, self._loaded(good), good, self.recipe, passphrase=passphrase)

    def receive(self, source: Incoming, *, secrets: Mapping[str, str]) -> CanonicalRecord:
        """Make what an archive holds the known-good. Live volumes are not touched, and count as drifted.

        Raises:
            ArchiveError: the archive is damaged, incomplete, or none; the known-good is as it was.
            StoreDamaged: what stands on disk is not what came.
            DiskFull: there is no room.
        """
        head, ident = source.head, new_id()
        with self._change("importing a known-good", need=lambda: head.room):
            disk.require(disk.Demand(head.room, head.files), self.layout.root, what="importing a known-good")
            self._begin("snapshot", id=ident)
            _LOG.info(f"reading {head.files} entries, {disk.shown(head.size)}")
            taken = self._received(ident, source, secrets)
            # What live was last shown equal to is another snapshot than the one that is promoted now.
            self._live.unseal()
            self._drift.set(run_id="", why=f"the known-good of {head.release} was imported", since=now())
            self._journal.done()
        facts = head.model_dump(include={"release", "commit", "domain", "run_id", "images", "app_version"})
        return self._promote(taken, head.recipe, facts, self._keep)

    def _received(self, ident: str, source: Incoming, secrets: Mapping[str, str]) -> Snapshot:
        fs, places, wanted = self._fs, SnapshotPaths(self.layout.work / ident), self.layout.work / f"{ident}.wanted"
        fs.mkdir(places.root)
        fs.mkdir(places.volumes)
        source.unpack(places.volumes, wanted, fs=fs)
        refuse(verify.verify(places.volumes, wanted), places.root, "what was imported")
        written = manifest.write(manifest.build(places.volumes, known=_digests(wanted)), places.manifest, fs=fs)
        fs.unlink(wanted)
        return self._snapshots.complete(
            places, ident, written, volumes=source.head.volumes, secrets=secrets, coverage=source.coverage
        )

    # -- reset

    def reset_live(self) -> None:
        """Move the live volumes aside, so that a fresh seed starts from nothing; the known-good is not touched.

        What was moved aside goes with the next promotion, restore or reset.
        """
        layout = self.layout
        with self._change("resetting the live volumes"):
            self._begin("reset")
            self._drift.set(run_id="", why="reset for a new seed", since=now())
            self._live.unseal()
            self._fs.rmtree(layout.aside)
            self._fs.rename(layout.live, layout.aside)
            self._fs.mkdir(layout.live)
            self._fs.fsync_dir(layout.root)
            self._journal.done()

    def clear_the_way(self) -> tuple[str, ...]:
        """Take away what would stop every change: a journal that recovery cannot finish, live volumes there twice.

        To be called after a recovery, which leaves neither where it can decide. Live volumes are made anew by a seed,
        and no snapshot and no record is touched. Tells what was done.
        """
        told: list[str] = []
        if self._stuck():
            self._fs.rename(self.layout.journal, _damaged(self.layout.journal))
            told.append(f"set aside {self.layout.journal.name}, which recovery could not finish")
        for path in (self.layout.live_new, self.layout.live_old):
            if path.exists():
                self._fs.rmtree(path)
                told.append(f"dropped {path.name}, left by a change that was cut off")
        self._fs.fsync_dir(self.layout.root)
        return tuple(told)

    def _stuck(self) -> bool:
        try:
            return self._journal.pending() is not None
        except StoreDamaged:
            return True

    # -- quarantine

    def quarantine(self, reason: str) -> None:
        """Say durably that the canonical must not be used."""
        with self._mark("putting the canonical in quarantine"):
            self._quarantine.set(why=reason, since=now())

    def release_quarantine(self) -> None:
        """An operator's word that it may be used again; what is damaged stays refused."""
        with self._mark("releasing the quarantine"):
            self._quarantine.clear()

    # -- recover

    def recover(self) -> tuple[str, ...]:
        """Finish or undo what a death cut off; tell what was done. What cannot be decided becomes a quarantine."""
        # A disk that fails right now is an error and no quarantine: the next start tries again.
        with self._mark("cleaning up after a cut-off change"):
            try:
                told = self._recovered()
                self.record()
            except StoreDamaged as error:
                if self._quarantine.read() is None:
                    self._quarantine.set(why=str(error), since=now())
                return (f"quarantined: {error.what}",)
        return told

    def _recovered(self) -> tuple[str, ...]:
        return Recovery(self.layout, self._fs, self._journal, self._snapshots, self._live, self._drift).run()

    def _change(self, what: str, *, need: Callable[[], int] = lambda: 0) -> AbstractContextManager[None]:
        """Run a change: what it cannot finish is undone, and told in words. ``need`` is the room it takes, in bytes."""
        return translated(what, where=self.layout.root, undo=self._recovered, needed=need)

    def _mark(self, what: str) -> AbstractContextManager[None]:
        """Set or clear a mark: whole or not at all, so there is nothing to undo."""
        return translated(what, where=self.layout.root, undo=lambda: None, needed=lambda: 0)

    def _begin(self, name: str, **facts: str) -> None:
        """Announce a change; one that was cut off in this very process is cleaned up first."""
        if self._journal.pending() is not None:
            self._recovered()
        self._journal.begin(name, **facts)


def now() -> str:
    """The time, for people and records."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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


def _digests(path: Path) -> Callable[[Entry], str]:
    """The digests that the manifest at ``path`` has, asked for in its order."""
    rows = manifest.read(path)

    def known(entry: Entry) -> str:
        return next((row.digest for row in rows if row.path == entry.path), "")

    return known


def _damaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
