"""Reading a known-good's contents a part at a time: where the time was up, the next look goes on.

Names, modes, owners and times are looked at in full each time, and what the kernel shows to be no longer the file that
was read is read. Only the contents that the kernel vouches for are read in turns, as disks rot silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_ccci.store import comparison
from pytest_ccci.store.comparison import Difference
from pytest_ccci.store.content import digest
from pytest_ccci.store.entries import Entry
from pytest_ccci.store.marks import write_durably
from pytest_ccci.store.parts import Parts, now
from pytest_ccci.store.record import KnownGood
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.store.walking import order
from pytest_ccci.waiting import Deadline

__all__ = ["Position", "Reading", "position_of", "read_some"]


@dataclass(frozen=True)
class Position:
    """How far a snapshot was read. Times are ISO 8601, empty for never.

    ``after`` is the last path that was read in this round, which ``began`` then; ``whole`` is when a round last ended,
    so that every content was read since the begin of that round.
    """

    after: str = ""
    began: str = ""
    whole: str = ""
    last: str = ""


@dataclass(frozen=True)
class Reading:
    """What one look found and how much it read; ``complete`` when that was every content."""

    differences: tuple[Difference, ...]
    files: int
    size: int
    complete: bool
    position: Position


def position_of(parts: Parts, good: KnownGood) -> Position:
    """How far the snapshot of ``good`` was read; from the beginning where nothing usable says so."""
    facts = _saved(parts).get(good.snapshot_id)
    try:
        return Position(**facts) if isinstance(facts, dict) else Position()
    except TypeError:
        return Position()


def read_some(parts: Parts, good: KnownGood, *, deadline: Deadline | None) -> Reading:
    """Compare the snapshot of ``good`` with its manifest, and read contents until the deadline (all without one).

    At least one file is read, and one that was begun is read to its end. What is damaged is read first the next time.

    Raises:
        StoreDamaged: a part of the snapshot cannot be used.
    """
    taken, old, start = parts.loaded(good), position_of(parts, good), now()
    if deadline is None:
        found = parts.snapshots.check(taken, read_data=True)
        position = replace(old, last=start) if found else Position(whole=start, last=start)
        reading = Reading(differences=found, files=taken.files, size=taken.size, complete=not found, position=position)
    else:
        reading = _in_turn(taken, old, deadline, start)
    _save(parts, good, reading.position)
    return reading


def _in_turn(taken: Snapshot, old: Position, deadline: Deadline, start: str) -> Reading:
    turn = _Turn(taken.paths.volumes, after=old.after, deadline=deadline)
    found = comparison.verify(taken.paths.volumes, taken.paths.manifest, proof=turn.proof)
    complete = turn.at_end and not found
    if not complete:
        position = Position(turn.at, old.began or start, old.whole, start)
    elif not old.after:
        position = Position(whole=start, last=start)
    else:
        # A round has ended; the next one begins at once, up to where this look began.
        turn.wrap(until=old.after)
        found = comparison.verify(taken.paths.volumes, taken.paths.manifest, proof=turn.proof)
        complete = turn.at_end and not found
        position = Position(turn.at, start, start, start)
    return Reading(differences=found, files=turn.files, size=turn.size, complete=complete, position=position)


class _Turn:
    """A proof of equal content that reads, from ``after`` on, while there is time."""

    def __init__(self, tree: Path, *, after: str, deadline: Deadline) -> None:
        self._tree = tree
        self._deadline = deadline
        self._from = order(after) if after else ()
        self._until: tuple[bytes, ...] | None = None
        self.at = after
        self.at_end = True
        self.files = 0
        self.size = 0
        self._good = True

    def wrap(self, *, until: str) -> None:
        """Go on at the beginning, up to where this look began."""
        self._from, self._until, self.at = (), order(until), ""

    def proof(self, expected: Entry, found: Entry) -> bool:
        """Whether content is proven, by reading it now, or by the kernel's word where it is not its turn."""
        if not comparison.same_inode(expected, found):
            return False
        key = order(expected.path)
        if key <= self._from or (self._until is not None and key > self._until) or not self.at_end:
            return True
        if self.files and self._deadline.passed:
            self.at_end = False
            return True
        return self._read(expected)

    def _read(self, expected: Entry) -> bool:
        self.files, self.size = self.files + 1, self.size + expected.size
        try:
            self._good &= digest(self._tree / expected.path) == expected.digest
        except OSError:
            self._good = False
        if self._good:
            self.at = expected.path
        # What is not the same is read once more by who asks, and told with what was found.
        return self._good


def _saved(parts: Parts) -> Mapping[str, object]:
    try:
        facts = json.loads(parts.layout.verified.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _save(parts: Parts, good: KnownGood, position: Position) -> None:
    """Remember it, and forget snapshots that are no longer kept."""
    kept = {one.snapshot_id for one in parts.needed_record().all_goods}
    facts = {ident: row for ident, row in _saved(parts).items() if ident in kept}
    facts[good.snapshot_id] = asdict(position)
    with parts.mark("noting how far the known-good was read"):
        write_durably(parts.fs, parts.layout.verified, json.dumps(facts, indent=1).encode("ascii") + b"\n")
