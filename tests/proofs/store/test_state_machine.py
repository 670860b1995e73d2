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
from pytest_ccci.store.backends import CopyBackend
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.files import Fs

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


class Canonical(RuleBasedStateMachine):
    """``good`` is what a reader must be able to get back; ``maybe`` what a cut-off promotion may have made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ccci-machine-", dir=MEMORY))
        self.number = 0
        self.good: str | None = None
        self.maybe: str | None = None
        self.clean = False

    @initialize()
    def first(self) -> None:
        self.seed(1_000_000)

    def store(self, steps: int = 1_000_000) -> CanonicalStore:
        return CanonicalStore(self.root, "demo", backend=CopyBackend(), fs=Mortal(steps))

    def settle(self) -> CanonicalStore:
        """What every use starts with; says which known-good there is after a death."""
        store = self.store()
        store.recover()
        record = store.record()
        found = record.release if record else None
        assert found in {self.good, self.maybe}
        self.good = self.maybe = found
        return store

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
            self.maybe = version
            store.promote(taken, release=version, commit="0" * 40, domain="d", run_id="r")
        except Died:
            return
        self.good, self.clean = version, True

    @rule()
    def quick_run(self) -> None:
        """Live volumes change; nothing else does."""
        self.settle().mark_drifted("r", "quick run")
        self.write("migrated")
        self.clean = False

    @rule(steps=st.integers(1, 120))
    @precondition(lambda self: self.good is not None)
    def restore(self, steps: int) -> None:
        self.settle()
        self.clean = False
        try:
            self.store(steps).restore(stopped=nothing)
        except Died:
            return
        assert self.read() == self.good
        self.clean = True

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

    @rule()
    @precondition(lambda self: self.good is not None)
    def damage_is_found(self) -> None:
        store = self.settle()
        record = store.record()
        assert record is not None
        table = store.layout.snapshot(record.snapshot_id).volumes / "db" / "table"
        table.write_bytes(table.read_bytes()[:-1] + b"?")
        try:
            store.restore(stopped=nothing)
        except StoreDamaged:
            assert store.state().quarantined
        else:
            raise AssertionError("a damaged snapshot was restored")
        # Damage cannot be taken back to the nanosecond: a new known-good takes its place.
        store.release_quarantine()
        self.seed(1_000_000)

    @invariant()
    def one_known_good(self) -> None:
        store = self.settle()
        state = store.state()
        assert state.quarantined is None
        assert store.recover() == ()
        if state.record is None:
            return
        assert store.verify() == ()
        assert store.secrets() == {"pw": state.record.release}
        assert len(list(store.layout.snapshots.iterdir())) == 1
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
        shutil.rmtree(self.root, ignore_errors=True)


TestCanonical = Canonical.TestCase
TestCanonical.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
