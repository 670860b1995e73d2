"""Beside pytest-timeout: a tier has deadlines of its own."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.plugin.collection import TierItem

__all__: list[str] = []


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:  # noqa: ARG001  the hook's signature
    """No timer for a tier: one that fires in the middle of a deploy would leave things behind."""
    return True if isinstance(item, TierItem) else None
