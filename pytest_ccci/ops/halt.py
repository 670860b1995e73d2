"""Stops the private engine, and removes it: only while nothing is in flight."""

from __future__ import annotations

from pytest_ccci.engine import discovery
from pytest_ccci.locks import Tell
from pytest_ccci.ops.inflight import nothing_in_flight
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir

__all__ = ["remove_engine", "stop_engine"]


def stop_engine(settings: Settings, state: StateDir) -> bool:
    """Stop the private engine; whether one ran. Its data stays: the next start finds everything again.

    Raises:
        LockBusy: a run is in flight.
    """
    with nothing_in_flight(state, settings, doing="stop the engine"):
        return discovery.stop(state.engine)


def remove_engine(settings: Settings, state: StateDir, *, tell: Tell) -> bool:
    """Stop the private engine and remove its data and bridges; whether there was any. Canonicals stay.

    Raises:
        LockBusy: a run is in flight.
    """
    with nothing_in_flight(state, settings, doing="remove the engine"):
        there = state.engine.exists()
        discovery.remove(state.engine, tell=tell)
        return there
