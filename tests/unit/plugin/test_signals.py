"""A signal is never lost, and never becomes another error."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from pytest_ccci.plugin.signals import Funnel
from pytest_ccci.waiting import Deadline, until


@pytest.fixture
def funnel() -> Iterator[Funnel]:
    made = Funnel(lambda _: None)
    made.install()
    yield made
    made.restore()


def ask() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.monotonic()  # where it is handled, if it was not before


class WhenNamed:
    """Asks where Python 3.11 wraps what is raised."""

    def __set_name__(self, owner: type, name: str) -> None:
        ask()


class WhenGone:
    """Asks where Python drops what is raised."""

    def __del__(self) -> None:
        ask()


@pytest.mark.usefixtures("funnel")
@pytest.mark.parametrize("where", [lambda: type("Named", (), {"it": WhenNamed()}), WhenGone], ids=["named", "gone"])
def test_a_request_to_stop_is_heard_wherever_it_comes(where: Callable[[], object]) -> None:
    def asked() -> None:
        where()
        until(lambda: False, deadline=Deadline(5), what="the signal")

    with pytest.raises(KeyboardInterrupt, match="SIGINT: settling first"):
        asked()
