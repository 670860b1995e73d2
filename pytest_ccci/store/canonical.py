"""A canonical: live volumes, and the known-good that they can always be returned to.

The caller holds the app's lock for as long as it uses one, and calls :meth:`CanonicalStore.recover` first.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.locks import Tell, silent
from pytest_ccci.store import promotion, restoring, rotation
from pytest_ccci.store.backends import Backend
from pytest_ccci.store.comparison import Difference
from pytest_ccci.store.faults import os_errors
from pytest_ccci.store.files import Fs
from pytest_ccci.store.journal import Operation
from pytest_ccci.store.layout import Layout, checked_name
from pytest_ccci.store.parts import Parts, now
from pytest_ccci.store.record import CanonicalRecord, KnownGood
from pytest_ccci.store.restoring import RestoreReport
from pytest_ccci.store.rotation import Position, Reading
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.store.walking import walk
from pytest_ccci.storeimage import require_mounted
from pytest_ccci.waiting import Deadline

if TYPE_CHECKING:
    from pytest_ccci.store.archive import Head
    from pytest_ccci.store.unpacking import Incoming

__all__ = ["CanonicalState", "CanonicalStore", "RestoreReport", "Snapshot"]


@dataclass(frozen=True)
class CanonicalState:
    """What a canonical is in, as its directory says now. ``quarantined`` and ``why_drifted`` give the reason."""

    record: CanonicalRecord | None
    drift: bool
    why_drifted: str
    quarantined: str | None
    in_progress: Operation | None
    earlier: tuple[KnownGood, ...]


class CanonicalStore:
    """The store of one recipe's canonical, in one directory of its own. ``keep`` known-goods are kept."""

    def __init__(
        self, directory: Path, recipe: str, *, backend: Backend | None = None, fs: Fs | None = None, keep: int = 1
    ) -> None:
        require_mounted(directory.parent)
        self.layout = layout = Layout(directory)
        self.recipe = recipe
        for path in (layout.root, layout.snapshots, layout.work, layout.live):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parts = Parts(layout, fs or Fs(), max(keep, 1), backend)

    @property
    def backend(self) -> Backend:
        """The way trees are copied here, and why; found out with two small files when first asked."""
        return self._parts.backend

    def state(self) -> CanonicalState:
        """What the canonical is in. Never fails for what is damaged: that is a quarantine with its reason."""
        parts, record, pending = self._parts, None, None
        mark = parts.quarantine.read()
        reason = None if mark is None else mark.get("why", "no reason was given")
        try:
            pending = parts.journal.pending()
            record = parts.record()
        except StoreDamaged as error:
            reason = reason or str(error)
        drift = parts.drift.read()
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
        return self._parts.record()

    def secrets(self, *, release: str = "") -> dict[str, str]:
        """The secrets of the known-good (or of the kept one of ``release``), by name; empty without a known-good."""
        if self.record() is None:
            return {}
        good = self._parts.named(release)
        raw = json.loads(self.layout.snapshot(good.snapshot_id).secrets.read_bytes())
        return {str(name): str(value) for name, value in raw.items()}

    def verify(self, *, read_data: bool = True, release: str = "") -> tuple[Difference, ...]:
        """How the known-good differs from its manifest, contents read anew unless ``read_data`` is off."""
        return self._parts.snapshots.check(self._parts.loaded(self._parts.named(release)), read_data=read_data)

    def read_some(self, *, deadline: Deadline | None, release: str = "") -> Reading:
        """Verify as :meth:`verify` does, reading contents only until the deadline, where the last time ended.

        Writes down where that was, in a file that decides nothing.
        """
        return rotation.read_some(self._parts, self._parts.named(release), deadline=deadline)

    def last_read(self, *, release: str = "") -> Position:
        """How far the known-good (or the kept one of ``release``) was read, and when."""
        return rotation.position_of(self._parts, self._parts.named(release))

    def fingerprint(self) -> str:
        """One digest over the record and everything below its snapshot.

        Contents stand in it by the manifest's digest, and by each file's inode, size, times and change time: the kernel
        sets the last at each write, so equal fingerprints before and after mean that nothing was written between.
        """
        record = self._parts.needed_record()
        total = hashlib.sha256(self.layout.record.read_bytes())
        total.update(self._parts.loaded(record).complete_digest.encode("ascii"))
        for node in walk(self.layout.snapshot(record.snapshot_id).root):
            facts = node.stat
            row = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, facts.st_size, facts.st_mtime_ns)
            total.update(os.fsencode(node.path) + repr((*row, facts.st_ctime_ns)).encode("ascii"))
        return total.hexdigest()

    def live(self, volume: str) -> Path:
        """The folder of a live volume, made when it is not there yet (a bind volume needs it)."""
        path = self.layout.live / checked_name(volume, what="volume")
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def live_volumes(self) -> tuple[str, ...]:
        """The names of the live volumes."""
        return self._parts.live.volumes()

    def mark_drifted(self, run_id: str, why: str) -> None:
        """Say durably that live volumes may differ from the known-good. Before any container may write to them."""
        with self._parts.mark("marking the canonical as drifted"):
            self._parts.drift.set(run_id=run_id, why=why, since=now())

    def reset_live(self) -> None:
        """Move the live volumes aside, so that a fresh seed starts from nothing; the known-good is not touched.

        What was moved aside goes with the next promotion, restore or reset.
        """
        parts, layout = self._parts, self.layout
        with parts.change("resetting the live volumes"):
            parts.begin("reset")
            parts.drift.set(run_id="", why="reset for a new seed", since=now())
            parts.live.unseal()
            parts.fs.rmtree(layout.aside)
            parts.fs.rename(layout.live, layout.aside)
            parts.fs.mkdir(layout.live)
            parts.fs.fsync_dir(layout.root)
            parts.journal.done()

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
        return promotion.take_snapshot(
            self._parts, volumes=volumes, secrets=secrets, coverage=coverage, stopped=stopped
        )

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
    ) -> CanonicalRecord:
        """Make ``snapshot`` the known-good: one rename. The one it replaces is dropped only after a re-read from disk.

        Clears drift when the kernel shows that live is still what was copied.

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
        return promotion.promote(self._parts, snapshot, recipe=self.recipe, facts=facts)

    def restore(
        self, *, stopped: Callable[[], None], tell: Tell = silent, release: str = "", read_data: bool = False
    ) -> RestoreReport:
        """Replace the live volumes by the known-good (or by the kept one of ``release``; then live stays drifted).

        The snapshot is checked first, the copy before it is swapped in, and nothing live goes before that. With
        ``read_data`` the snapshot is read in full even where the kernel shows that it was not touched.

        Raises:
            StoreDamaged: the snapshot is damaged: nothing is restored and the canonical is quarantined.
            DiskFull: there is no room for the copy; live volumes are as they were.
            RefError: no known-good of ``release`` is kept.
        """
        return restoring.restore(self._parts, stopped=stopped, tell=tell, release=release, read_data=read_data)

    def export(self, path: Path, *, release: str = "", passphrase: str = "", tell: Tell = silent) -> Head:
        """Write the known-good (or the kept one of ``release``) as one file; its secrets only with a ``passphrase``.

        Raises:
            StoreDamaged: the snapshot is not what its manifest says; there is no such file then.
        """
        from pytest_ccci.store.archive import write_archive  # noqa: PLC0415  zstd and ciphers, only where needed

        good = self._parts.named(release)
        kept = {"release", "commit", "domain", "run_id", "since", "images", "app_version"}
        facts = {**good.model_dump(include=kept), "recipe": self.recipe}
        with os_errors("exporting a known-good", where=path):
            return write_archive(path, self._parts.loaded(good), facts, passphrase=passphrase, tell=tell)

    def receive(self, source: Incoming, *, secrets: Mapping[str, str], tell: Tell = silent) -> CanonicalRecord:
        """Make what an archive holds the known-good; see :func:`importing.import_known_good`."""
        from pytest_ccci.store.importing import import_known_good  # noqa: PLC0415  zstd and ciphers, only where needed

        return import_known_good(self._parts, source, secrets=secrets, tell=tell)

    def quarantine(self, reason: str) -> None:
        """Say durably that the canonical must not be used."""
        with self._parts.mark("putting the canonical in quarantine"):
            self._parts.quarantine.set(why=reason, since=now())

    def release_quarantine(self) -> None:
        """An operator's word that it may be used again; what is damaged stays refused."""
        with self._parts.mark("releasing the quarantine"):
            self._parts.quarantine.clear()

    def recover(self) -> tuple[str, ...]:
        """Finish or undo what a death cut off; tell what was done. What cannot be decided becomes a quarantine."""
        # A disk that fails right now is an error and no quarantine: the next start tries again.
        with self._parts.mark("cleaning up after a cut-off change"):
            try:
                told = self._parts.recover()
                self._parts.record()
            except StoreDamaged as error:
                if self._parts.quarantine.read() is None:
                    self._parts.quarantine.set(why=str(error), since=now())
                return (f"quarantined: {error.what}",)
        return told
