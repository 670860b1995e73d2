"""A real engine for every proof here."""

from __future__ import annotations

import pytest

from pytest_ccci.run.host import Machine


@pytest.fixture(scope="session", autouse=True)
def _on_our_state(machine: Machine) -> None:
    """Every test here sees the suite's own state directory and its engine in the environment, and a warm Keycloak."""
    machine.keycloak()
