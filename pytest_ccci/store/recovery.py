"""After any death: finish or undo what the journal says was going on, by rule; never guess.

| change   | last known step      | rule                                                              |
|----------|----------------------|-------------------------------------------------------------------|
| none     | -                    | drop what no record names; live volumes twice → cannot be decided |
| snapshot | any                  | undo: it was never the known-good                                 |
| promote  | the record is old    | undo: drop the new snapshot                                       |
| promote  | the record is new    | finish: drop what it replaced                                     |
| restore  | before "verified"    | undo: live is as it was                                           |
| restore  | from "verified" on   | finish the swap; stays drifted, so the next use restores again    |
| reset    | any                  | finish; stays drifted                                             |
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal, Operation
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.live import LiveTree
from pytest_ccci.store.record import CanonicalRecord, Mark, load_record
from pytest_ccci.store.snapshots import Snapshots

__all__ = ["Recovery"]


@dataclass(frozen=True)
class Recovery:
    """Brings one canonical's directory back to a state that a change may start from."""

    layout: Layout
    fs: Fs
    journal: Journal
    snapshots: Snapshots
    live: LiveTree
    drift: Mark

    def run(self) -> tuple[str, ...]:
        """Do what the table says; tell what was done, nothing when there was nothing to do.

        Raises:
            StoreDamaged: it cannot be decided.
        """
        pending = self.journal.pending()
        record = load_record(self.layout.record)
        told = [*self._finish(pending, record)] if pending else [*self._nothing_doubled()]
        told += self._sweep(record)
        if pending:
            self.journal.done()
        return tuple(told)

    def _finish(self, pending: Operation, record: CanonicalRecord | None) -> list[str]:
        if pending.name == "restore":
            return self._restore(pending)
        if pending.name == "reset":
            return self._reset()
        if pending.name in {"snapshot", "promote"}:
            self._settle_record()
            new = record is not None and record.snapshot_id == pending.facts.get("id")
            return [f"{pending.name} was cut off: {'finished' if new else 'undone'}"]
        raise StoreDamaged(
            f"the journal names a change {pending.name!r} that is not known", where=str(self.layout.root)
        )

    def _restore(self, pending: Operation) -> list[str]:
        self.drift.set(run_id=pending.facts.get("run_id", ""), why="a restore was cut off")
        if "verified" not in pending.steps:
            self.live.discard()
            return ["restore was cut off before its copy was verified: undone"]
        self.live.swap(json.loads(pending.facts["volumes"]))
        self.live.discard()
        return ["restore was cut off in its swap: finished, to be restored again before use"]

    def _reset(self) -> list[str]:
        self.drift.set(run_id="", why="a reset was cut off")
        if not self.layout.live.exists():
            self.fs.mkdir(self.layout.live)
            self.fs.fsync_dir(self.layout.root)
        return ["reset was cut off: finished"]

    def _nothing_doubled(self) -> list[str]:
        for path in (self.layout.live_new, self.layout.live_old):
            if path.exists():
                raise StoreDamaged(
                    "live volumes are there twice, and the journal does not say which count", where=str(path)
                )
        return []

    def _settle_record(self) -> None:
        """Make what the record's name says now durable, before anything is dropped on its word."""
        if self.layout.record.exists():
            self.fs.fsync_file(self.layout.record)
        self.fs.fsync_dir(self.layout.root)

    def _sweep(self, record: CanonicalRecord | None) -> list[str]:
        """Drop snapshots that no record names, and work that was cut off."""
        orphans = set(self.snapshots.ids()) - {one.snapshot_id for one in (record.all_goods if record else ())}
        if record is None and (strangers := orphans - self.journal.made()):
            raise StoreDamaged(
                "there are snapshots, but the record that says which one is the known-good is gone",
                where=str(self.layout.root),
                seen=", ".join(sorted(strangers)),
                advice="put canonical.json back, or `ccci reseed` makes a new known-good",
            )
        for ident in sorted(orphans):
            self.snapshots.drop(ident)
        for path in [*sorted(self.layout.work.iterdir()), *sorted(self.layout.root.glob("*.json.new"))]:
            # A reader that tries out the back end takes its own probe away meanwhile.
            with suppress(FileNotFoundError):
                self.fs.rmtree(path)
        return [f"dropped snapshot {ident}, which no record names" for ident in sorted(orphans)]
