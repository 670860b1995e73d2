"""Whatever effect fails at whatever step of an update, data and version belong together, and the next one goes on."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from smallengine import APP, NEW, OLD, Fault, Killed, World, worlds

from pytest_ccci.errors import CrashLoop, EngineUnavailable
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.warm import update
from pytest_ccci.warm.alerts import open_alerts
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish
from pytest_ccci.warm.update import Step, in_progress, stuck

FAULTS = (
    Fault("disk full once", "file", lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), stays=False),
    Fault("disk full", "file", lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), stays=True),
    Fault("read-only", "file", lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)), stays=True),
    Fault("engine gone once", "engine", lambda: EngineUnavailable("it went away"), stays=False),
    Fault("engine gone", "engine", lambda: EngineUnavailable("it went away"), stays=True),
    Fault("crash", "engine", lambda: CrashLoop("it dies"), stays=False),
    Fault("killed", "any", Killed, stays=True),
)


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., World]:
    return worlds(monkeypatch, tmp_path)


OUTCOMES: dict[Outcome, Callable[[World], bool]] = {
    Outcome.CURRENT: lambda world: world.version == NEW.version,
    Outcome.UPGRADED: lambda world: world.version == NEW.version,
    Outcome.HELD: lambda world: world.version == OLD.version,
    Outcome.ROLLED_BACK: lambda world: world.version == OLD.version,
    Outcome.ERROR: lambda _world: True,
    Outcome.ROLLBACK_FAILED: lambda _world: True,
}
"""What is so when that is told."""
FINAL: dict[str, Callable[[World], bool]] = {
    "upgraded": lambda world: (world.version, world.data, last_good(world.state, APP).release) == (NEW.version,) * 3,
    "back": lambda world: (world.version, world.data, last_good(world.state, APP).release) == (OLD.version,) * 3,
}
"""What an update comes to in the end; nothing else is."""


def is_told(world: World, done: Reconciled | None) -> bool:
    """Whether the outcome is what is so, and an operator knows what must be known."""
    if done is None:
        return True
    alerted = any(line.startswith("ALERT") for line in world.told) or bool(open_alerts(world.state))
    needs = done.outcome in {Outcome.ROLLED_BACK, Outcome.ROLLBACK_FAILED}
    return OUTCOMES[done.outcome](world) and (alerted or not needs)


def final_state(world: World) -> str:
    """The name of the one final state that the world is in; empty when it is in none."""
    if in_progress(world.state, APP) is not None or stuck(world.state, APP) is not None:
        return ""
    return next((name for name, holds in FINAL.items() if holds(world)), "")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broken", [False, True], ids=["healthy", "broken"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_data_and_version_belong_together_whatever_effect_fails(
    make_world: Callable[..., World], fault: Fault, broken: bool
) -> None:
    ends: Counter[str] = Counter()
    for at in range(1, 10_000):
        world = make_world(broken=broken)
        world.injector.arm(fault, at)
        first = world.reconcile()
        hit = world.injector.hit
        where = f"effect {at} ({hit}): {first}"
        world.injector.heal()
        if not hit:
            break

        assert world.belongs_together(), where
        assert is_told(world, first), where
        assert first is not None or fault.error is Killed, where
        second = world.reconcile()
        assert second is not None
        assert world.belongs_together(), f"{where}\n{second}"
        if stuck(world.state, APP) is not None:
            assert second.outcome is Outcome.ROLLBACK_FAILED, f"{where}\n{second}"
            second = world.reconcile(Wish(again=True))
            ends["a person looked"] += 1
        end = final_state(world)
        assert end == ("back" if broken else end), f"{where}\n{second}"
        assert end, f"{where}\n{second}"
        ends[end] += 1
    assert ends["back" if broken else "upgraded"], ends


@pytest.mark.timeout(300)
def test_a_way_back_that_was_begun_is_gone_although_the_journal_has_proved(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may keep a line of which it said that it could not; then the process is killed on its way back."""
    kill_at = 0

    class Failing(Journal):
        def step(self, name: str) -> None:
            super().step(name)
            if name == Step.PROVED:
                world.injector.arm(Fault("killed", "engine", Killed, stays=True), kill_at)
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def journal_of(state: StateDir, app: str) -> Journal:
        return Failing(state.infra(app) / "update.jsonl", fs=Fs())

    for kill_at in range(1, 10_000):
        world = make_world()
        with monkeypatch.context() as patch:
            patch.setattr(update, "journal_of", journal_of)
            world.reconcile()
        hit = world.injector.hit
        world.injector.heal()
        if not hit:
            break
        where = f"killed at effect {kill_at} ({hit}) after proved"
        cut_off = in_progress(world.state, APP)
        assert cut_off is not None, where
        assert cut_off.steps[-2:] == (Step.PROVED, Step.UNDO), where
        assert world.belongs_together(), where
        world.reconcile()
        assert world.belongs_together(), where
        assert final_state(world), where
    assert kill_at > 1
