"""Beside pytest-timeout: a tier has deadlines of its own, and a test's timeout does not count what we do around it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_ccci.plugin.collection import TierItem
from pytest_ccci.plugin.untimed import CLOCK

__all__ = ["WATCH"]


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:  # noqa: ARG001  the hook's signature
    """No timer for a tier: one that fires in the middle of a deploy would leave things behind."""
    return True if isinstance(item, TierItem) else None


class _Clock:
    """Knows the timer that runs; told after pytest-timeout, whose hooks are of the kind that the first answer ends."""

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> Generator[None, object, object]:
        """Remember a timer that is a thread's; the process's alarm clock is asked itself."""
        result = yield
        if not isinstance(item, TierItem) and settings.method == "thread":
            CLOCK.started(_Again(item, settings), float(settings.timeout))
        return result

    @pytest.hookimpl(wrapper=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> Generator[None, object, object]:  # noqa: ARG002  the hook's signature
        """Forget it."""
        CLOCK.stopped()
        return (yield)


WATCH = _Clock()


class _Again:
    """Starts and stops an item's timer by pytest-timeout's own hooks."""

    def __init__(self, item: pytest.Item, settings: Any) -> None:
        self._item = item
        self._settings = settings

    def stop(self) -> None:
        """Stop the timer."""
        self._item.config.hook.pytest_timeout_cancel_timer(item=self._item)

    def start(self, seconds: float) -> None:
        """Start it with what was left."""
        self._item.config.hook.pytest_timeout_set_timer(
            item=self._item, settings=self._settings._replace(timeout=seconds)
        )
