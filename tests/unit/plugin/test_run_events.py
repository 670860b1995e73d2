from __future__ import annotations

import errno
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.plugin.run_events import Board
from pytest_ccci.waiting import Stopwatch


def board(outlet: Any = None) -> Board:
    settings: Any = SimpleNamespace(mode="cold")
    made = Board(settings, pid=1)
    made.outlet = outlet
    return made


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("I/O operation on closed file"),
        RuntimeError("reentrant call inside <_io.BufferedWriter>"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_that_is_told_raises_into_a_run(error: Exception) -> None:
    heard: list[dict[str, Any]] = []

    def gone(event: dict[str, Any]) -> None:
        heard.append(event)
        raise error

    made = board(gone)
    with made.progress("one", Stopwatch()):
        logging.getLogger("pytest_ccci.run.tiers").info("upgrade …")
    made.refused("one", "no")
    assert [known.recipe for known in made.runs] == ["one"]
    assert [event["event"] for event in heard] == ["say", "refused"]


def test_every_run_hears_that_somebody_asked_to_stop_and_the_first_reason_stays() -> None:
    heard: list[str] = []
    made = board()
    for recipe in ("one", "two"):
        run: Any = SimpleNamespace(recipe=recipe, run_id=recipe, results_path="r", interrupt=heard.append)
        made.opened(run)
    made.stop("SIGHUP")
    made.stop("SIGTERM")
    assert heard == ["SIGHUP", "SIGHUP", "SIGTERM", "SIGTERM"]
    assert made.stopped == "SIGHUP"
