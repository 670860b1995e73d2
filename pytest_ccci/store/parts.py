"""What one canonical's store is made of, wired once, and the frame that every change of it runs in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from pytest_ccci.errors import RefError, StoreDamaged
from pytest_ccci.store.backends import Backend, choose
from pytest_ccci.store.faults import translated
from pytest_ccci.store.files import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.livetree import LiveTree
from pytest_ccci.store.marks import Mark
from pytest_ccci.store.record import CanonicalRecord, KnownGood, read_record
from pytest_ccci.store.recovery import Recovery
from pytest_ccci.store.snapshots import Snapshot, Snapshots

__all__ = ["Parts", "now"]


@dataclass(frozen=True)
class Parts:
    """The parts of one canonical's store."""

    layout: Layout
    fs: Fs
    keep: int
    given: Backend | None = None

    @cached_property
    def backend(self) -> Backend:
        """The way trees are copied here; tried out only when something asks, so that a reader writes nothing."""
        return self.given or choose(self.layout.work)

    @cached_property
    def journal(self) -> Journal:
        """What is being changed."""
        return Journal(self.layout.journal, fs=self.fs)

    @cached_property
    def snapshots(self) -> Snapshots:
        """The snapshots."""
        return Snapshots(self.layout, fs=self.fs)

    @cached_property
    def live(self) -> LiveTree:
        """The live volumes."""
        return LiveTree(self.layout, fs=self.fs)

    @cached_property
    def drift(self) -> Mark:
        """The mark of drift."""
        return Mark(self.layout.drift, fs=self.fs)

    @cached_property
    def quarantine(self) -> Mark:
        """The mark of quarantine."""
        return Mark(self.layout.quarantine, fs=self.fs)

    def change(self, what: str, *, need: Callable[[], int] = lambda: 0) -> AbstractContextManager[None]:
        """Run a change: what it cannot finish is undone, and told in words. ``need`` is the room it takes, in bytes."""
        return translated(what, where=self.layout.root, undo=self.recover, needed=need)

    def mark(self, what: str) -> AbstractContextManager[None]:
        """Set or clear a mark: whole or not at all, so there is nothing to undo."""
        return translated(what, where=self.layout.root, undo=lambda: None, needed=lambda: 0)

    def begin(self, name: str, **facts: str) -> None:
        """Announce a change; one that was cut off in this very process is cleaned up first."""
        if self.journal.pending() is not None:
            self.recover()
        self.journal.begin(name, **facts)

    def recover(self) -> tuple[str, ...]:
        """Finish or undo what was cut off."""
        return Recovery(self.layout, self.fs, self.journal, self.snapshots, self.live, self.drift).run()

    def record(self) -> CanonicalRecord | None:
        """The record on disk, what it names there and sealed; None when there is none."""
        record = read_record(self.layout.record)
        for good in record.all_goods if record else ():
            self.loaded(good)
        return record

    def needed_record(self) -> CanonicalRecord:
        """The record on disk; it is an error when there is none."""
        record = self.record()
        if record is None:
            raise StoreDamaged("there is no known-good", where=str(self.layout.root), advice="a cold run makes one")
        return record

    def loaded(self, good: KnownGood) -> Snapshot:
        """The snapshot that ``good`` names, its seal checked."""
        taken = self.snapshots.load(good.snapshot_id)
        if (taken.manifest_digest, taken.complete_digest) != (good.manifest_digest, good.complete_digest):
            raise StoreDamaged("the snapshot is not the one that the record names", where=str(taken.paths.root))
        return taken

    def named(self, release: str) -> KnownGood:
        """The known-good, or the kept one of ``release``.

        Raises:
            RefError: none of that release is kept.
        """
        record = self.needed_record()
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


def now() -> str:
    """The time, for people and records."""
    return datetime.now(UTC).isoformat(timespec="seconds")
