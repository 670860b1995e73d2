"""Where the parts of one canonical stand on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import StoreDamaged

__all__ = ["Layout", "SnapshotPaths", "checked_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\Z")


def checked_name(name: str, *, what: str) -> str:
    """``name`` if it can stand as one path segment below our own folders.

    Raises:
        StoreDamaged: it could lead elsewhere.
    """
    if not _NAME.match(name):
        raise StoreDamaged(f"{what} {name!r} cannot be used as a folder's name")
    return name


@dataclass(frozen=True)
class SnapshotPaths:
    """The parts of one snapshot."""

    root: Path

    @property
    def volumes(self) -> Path:
        """One folder per covered volume."""
        return self.root / "volumes"

    @property
    def manifest(self) -> Path:
        """What ``volumes`` must be."""
        return self.root / "manifest.jsonl"

    @property
    def secrets(self) -> Path:
        """The app's secrets, without which its data cannot be brought up; 0600."""
        return self.root / "secrets.json"

    @property
    def coverage(self) -> Path:
        """Every stateful path of the app, covered or not."""
        return self.root / "coverage.json"

    @property
    def complete(self) -> Path:
        """The seal: digests of all the other parts."""
        return self.root / "complete.json"


@dataclass(frozen=True)
class Layout:
    """The parts of a canonical's directory. What is named ``.new`` or ``.old`` belongs to a change in progress."""

    root: Path

    @property
    def record(self) -> Path:
        """The one atomic record."""
        return self.root / "canonical.json"

    @property
    def journal(self) -> Path:
        """What is being changed."""
        return self.root / "journal.jsonl"

    @property
    def drift(self) -> Path:
        """Present while live volumes may differ from the known-good."""
        return self.root / "drift.json"

    @property
    def quarantine(self) -> Path:
        """Present while the canonical must not be used."""
        return self.root / "quarantine.json"

    @property
    def snapshots(self) -> Path:
        """Complete snapshots by id."""
        return self.root / "snapshots"

    @property
    def work(self) -> Path:
        """Snapshots being made and things being removed; nothing here is ever read back."""
        return self.root / "work"

    @property
    def live(self) -> Path:
        """The volumes that containers mount."""
        return self.root / "live"

    @property
    def live_new(self) -> Path:
        """Their replacement while it is made."""
        return self.root / "live.new"

    @property
    def live_old(self) -> Path:
        """What was replaced, until the change is done."""
        return self.root / "live.old"

    @property
    def aside(self) -> Path:
        """What was live before a reset, until there is a known-good to go with what came after."""
        return self.root / "aside"

    @property
    def seal(self) -> Path:
        """The manifest of ``live`` from when it was last shown equal to a snapshot."""
        return self.root / "live.jsonl"

    @property
    def verified(self) -> Path:
        """When each snapshot was last read, and last found whole; decides only which one is read next."""
        return self.root / "verified.json"

    def snapshot(self, ident: str) -> SnapshotPaths:
        """A complete snapshot."""
        return SnapshotPaths(self.snapshots / checked_name(ident, what="snapshot"))
