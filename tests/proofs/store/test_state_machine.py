"""The store's promises as a machine of states, crashes among its rules, against the real code."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.archive import open_archive
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs

STEPS = [name for name in vars(Fs) if not name.startswith("_") and name != "rmtree"]

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Died(BaseException):
    """The process is gone; nothing of it may act any more."""


class Mortal(Fs):
    """Dies before its last step, and stays dead."""

    def __init__(self, steps: int) -> None:
        self.left = steps


def _mortal(name: str) -> Any:
    def step(self: Mortal, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left <= 0:
            raise Died
        return getattr(Fs, name)(self, *arguments, **named)

    return step


for _name in STEPS:
    setattr(Mortal, _name, _mortal(_name))


def nothing() -> None:
    """No container can write."""


KEEP = 2
Releases = tuple[str, ...]


class Canonical(RuleBasedStateMachine):
    """``kept`` are the known-goods that a reader must be able to get back, newest first; ``maybe`` what a cut-off
    promotion or import may have made of them; ``archived`` the release in the exported file."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="ccci-machine-", dir=MEMORY))
        self.root = self.home / "canonical"
        self.number = 0
        self.kept: Releases = ()
        self.maybe: Releases | None = None
        self.archived = ""
        self.clean = False

    @initialize()
    def first(self) -> None:
        self.seed(1_000_000)

    def store(self, steps: int = 1_000_000) -> CanonicalStore:
        return CanonicalStore(self.root, "demo", backend=CopyBackend(), fs=Mortal(steps), keep=KEEP)

    def settle(self) -> CanonicalStore:
        """What every use starts with; says which known-goods there are after a death."""
        store = self.store()
        store.recover()
        found = self.found(store)
        assert found in {self.kept, self.kept if self.maybe is None else self.maybe}
        self.kept, self.maybe = found, None
        return store

    @staticmethod
    def found(store: CanonicalStore) -> Releases:
        record = store.record()
        return tuple(good.release for good in record.all_goods) if record else ()

    def after(self, release: str) -> Releases:
        """What is kept once ``release`` is the known-good: one of each release."""
        return (release, *(one for one in self.kept if one != release))[:KEEP]

    @rule(steps=st.integers(1, 120))
    def seed(self, steps: int) -> None:
        """A promotion, from a new version of the data."""
        self.settle()
        store = self.store(steps)
        self.number += 1
        version = f"v{self.number}"
        try:
            self.clean = False  # a death inside the marking may leave the mark
            store.mark_drifted("r", "seeding")
            self.write(version)
            taken = store.snapshot(volumes=["db"], secrets={"pw": version}, coverage={}, stopped=nothing)
            self.maybe = self.after(version)
            store.promote(taken, release=version, commit="0" * 40, domain="d", run_id="r")
        except Died:
            return
        self.kept, self.maybe, self.clean = self.maybe, None, True

    @rule()
    def quick_run(self) -> None:
        """Live volumes change; nothing else does."""
        self.settle().mark_drifted("r", "quick run")
        self.write("migrated")
        self.clean = False

    @rule(steps=st.integers(1, 120), back=st.integers(0, KEEP - 1))
    @precondition(lambda self: self.kept)
    def restore(self, steps: int, back: int) -> None:
        """To the known-good, or to an earlier one that is kept."""
        self.settle()
        if back >= len(self.kept):
            return
        self.clean = False
        wanted = self.kept[back]
        try:
            self.store(steps).restore(stopped=nothing, release=wanted if back else "")
        except Died:
            return
        assert self.read() == wanted
        self.clean = wanted == self.kept[0]

    @rule(steps=st.integers(1, 40))
    def reset(self, steps: int) -> None:
        self.settle()
        try:
            self.store(steps).reset_live()
        except Died:
            return
        finally:
            self.clean = False
        assert self.store().live_volumes() == ()

    @rule(steps=st.integers(1, 80))
    def recovery_dies(self, steps: int) -> None:
        try:
            self.store(steps).recover()
        except Died:
            return

    @rule(steps=st.integers(1, 8))
    @precondition(lambda self: self.kept)
    def look(self, steps: int) -> None:
        """Contents are read; that finds nothing, and changes nothing."""
        self.settle()
        try:
            found = self.store(steps).read_whole()
        except Died:
            return
        assert found == ()

    @rule()
    @precondition(lambda self: self.kept)
    def export(self) -> None:
        store = self.settle()
        (self.home / "archive").unlink(missing_ok=True)
        self.archived = store.export(self.home / "archive").release

    @rule(steps=st.integers(1, 120))
    @precondition(lambda self: self.archived)
    def take_in(self, steps: int) -> None:
        """An import: what was exported takes the first place, or nothing happens."""
        self.settle()
        self.clean = False
        self.maybe = self.after(self.archived)
        try:
            with open_archive(self.home / "archive") as incoming:
                self.store(steps).receive(incoming, secrets={"pw": self.archived})
        except Died:
            return
        self.kept, self.maybe = self.maybe, None
        assert self.store().state().drift

    @rule()
    @precondition(lambda self: self.kept)
    def damage_is_found(self) -> None:
        store = self.settle()
        record = store.record()
        assert record is not None
        table = store.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
        table.write_bytes(table.read_bytes()[:-1] + b"?")
        assert store.read_whole()
        try:
            store.restore(stopped=nothing)
        except StoreDamaged:
            assert store.state().quarantined
        else:
            raise AssertionError("a damaged snapshot was restored")
        # Damage cannot be taken back to the nanosecond: new known-goods take its place.
        store.release_quarantine()
        for _ in range(KEEP):
            self.seed(1_000_000)

    @invariant()
    def what_is_kept_is_whole(self) -> None:
        store = self.settle()
        state = store.state()
        assert state.quarantined is None
        assert store.recover() == ()
        if state.record is None:
            return
        for release in self.kept:
            assert store.verify(release=release) == ()
            assert store.secrets(release=release) == {"pw": release}
        assert len(list(store.layout.snapshots.iterdir())) == len(self.kept)
        if not state.drift:
            assert self.read() == state.record.release
        if self.clean:
            assert not state.drift

    def write(self, version: str) -> None:
        folder = CanonicalStore(self.root, "demo", backend=CopyBackend()).live("db")
        (folder / "table").write_text(version)
        (folder / version).mkdir(exist_ok=True)

    def read(self) -> str:
        return (self.root / "live" / "db" / "table").read_text()

    def teardown(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


TestCanonical = Canonical.TestCase
TestCanonical.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
