from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pytest_ccci.progress import StepLine, WaitLine, received

TOP = logging.getLogger("pytest_ccci")
LOG = logging.getLogger("pytest_ccci.engine.deploy")


def state() -> tuple[object, ...]:
    return TOP.level, TOP.propagate, TOP.parent, list(TOP.handlers), LOG.level


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Whatever a test does to the loggers of the package, they are as before."""
    before = state()
    yield
    assert state() == before


def test_what_is_going_on_and_what_went_wrong_is_handed_on_and_details_are_not() -> None:
    told: list[str] = []
    with received(told.append):
        LOG.debug("a detail")
        LOG.info("deploying %s", "blog")
        LOG.warning("100 % of it went wrong")
        logging.getLogger("another.package").error("none of ours")
    LOG.info("nobody listens any more")
    assert told == ["deploying blog", "100 % of it went wrong"]


def test_a_step_and_a_wait_come_as_what_they_are() -> None:
    told: list[str] = []
    with received(told.append):
        LOG.info(StepLine("upgrade …"))
        LOG.info(WaitLine("waiting"))
        LOG.info("said")
    assert [type(line) for line in told] == [StepLine, WaitLine, str]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed file"), KeyError("x")], ids=repr)
def test_nothing_that_is_raised_by_who_takes_a_line_reaches_who_logs_it(error: Exception) -> None:
    def gone(_: str) -> None:
        raise error

    with received(gone):
        LOG.info("into the void")
        LOG.info("%d is no number", "this")


def test_a_request_to_stop_does_reach_it() -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    with received(interrupted), pytest.raises(KeyboardInterrupt):
        LOG.info("a signal came while this was printed")


def test_the_innermost_alone_gets_a_line_in_whatever_order_they_end() -> None:
    outer: list[str] = []
    inner: list[str] = []
    first, second = received(outer.append), received(inner.append)
    with first:
        second.__enter__()
        LOG.info("to the inner one")
    LOG.info("still")
    second.__exit__(None, None, None)
    assert (outer, inner) == ([], ["to the inner one", "still"])


def test_the_lines_of_every_thread_are_handed_on() -> None:
    told: list[str] = []
    with received(told.append):
        threads = [threading.Thread(target=LOG.info, args=(f"thread {number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(told) == [f"thread {number}" for number in range(8)]


def test_the_root_loggers_handlers_do_not_get_them_a_second_time(caplog: pytest.LogCaptureFixture) -> None:
    with received(lambda _: None), caplog.at_level(logging.DEBUG):
        LOG.warning("only to who takes it")
    assert caplog.records == []


def test_a_level_that_somebody_else_set_is_put_back() -> None:
    TOP.setLevel(logging.ERROR)
    told: list[str] = []
    try:
        with received(told.append):
            LOG.info("shown")
        assert TOP.level == logging.ERROR
    finally:
        TOP.setLevel(logging.NOTSET)
    assert told == ["shown"]


def test_who_switched_logging_off_sees_nothing_and_nothing_breaks() -> None:
    told: list[str] = []
    logging.disable(logging.CRITICAL)
    try:
        with received(told.append):
            LOG.info("not shown")
    finally:
        logging.disable(logging.NOTSET)
    assert told == []


def test_importing_installs_no_handler() -> None:
    look = "import logging; ours = logging.getLogger('pytest_ccci'); print(len(ours.handlers), ours.level)"
    code = f"import pytest_ccci.plugin.entry, pytest_ccci.cli, pytest_ccci.run.session; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "0"]
