"""A state directory of the test's own, and settings that name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir, open_state


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return open_state(tmp_path / "state")


@pytest.fixture
def settings(state: StateDir) -> Settings:
    return resolve({"state_dir": str(state.root), "lock_wait": "1", "slots": "2"}, {}, {})


@pytest.fixture(autouse=True)
def _secrets_are_forgotten() -> Iterator[None]:
    """What a test makes known as secret is not looked for in all that later tests write."""
    known = dict(vars(SECRETS))
    yield
    vars(SECRETS).update(known)
