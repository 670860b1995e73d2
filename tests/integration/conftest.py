"""A real engine for every test here."""

from __future__ import annotations

import pytest
from realfixtures import engine, machine, page_recipe, user_pytest, warm_state

from pytest_ccci.statedir import StateDir

__all__ = ["engine", "machine", "page_recipe", "user_pytest", "warm_state"]


@pytest.fixture(scope="session", autouse=True)
def _on_our_state(warm_state: StateDir) -> StateDir:
    """Every test here sees the suite's own state directory and its engine in the environment."""
    return warm_state
