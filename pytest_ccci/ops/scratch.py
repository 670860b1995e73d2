"""A state directory beside the real one: the same machine, locks and results, other canonicals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pytest_ccci.locks import hold
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state

__all__ = ["scratch_settings", "scratch_state"]

_STATE = "state"
_SHARED = ("locks", "slots", "recipes", "runs", "leases", "infra", "images", "ca", "engines")


@contextmanager
def scratch_state(state: StateDir, folder: Path) -> Iterator[StateDir]:
    """A state directory in ``folder`` that is gone at the end. Only canonicals and alerts are its own.

    Locks are the real ones, so that what works here and what works there never meets on one app. There is one at a
    time: any other that is found was left by somebody who was killed, and goes.

    Raises:
        LockBusy: somebody has one.
    """
    root = folder / _STATE
    with hold(state.locks / "proofs.lock", wait=0, owner={"doing": "a proof"}):
        for left in state.proofs.glob(f"*/{_STATE}"):
            shutil.rmtree(left)
        root.mkdir(parents=True, mode=0o700)
        try:
            for name in _SHARED:
                (state.root / name).mkdir(exist_ok=True, mode=0o700)
                (root / name).symlink_to(state.root / name)
            yield open_state(root)
        finally:
            shutil.rmtree(root)


def scratch_settings(settings: Settings, scratch: StateDir, *, host: str, ref: str) -> Settings:
    """The settings of a quick run of ``ref`` there, on the engine at ``host``."""
    environment = {**settings.environment, "DOCKER_HOST": host}
    return replace(settings, state_dir=scratch.root, mode="quick", ref=ref, environment=environment)
