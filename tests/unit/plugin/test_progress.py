from __future__ import annotations

import io
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from pytest_ccci.plugin.progress import LiveLine, Throttle, fit, may_rewrite
from pytest_ccci.waiting import pause

TABLE = {
    "the first wait of a step is printed, the next ones are held": (
        [(0, "step", "s"), (1, "wait", "a"), (2, "wait", "b"), (3, "wait", "c")],
        ["s", "a"],
    ),
    "one wait in ten seconds": (
        [(0, "wait", "a"), (9.9, "wait", "b"), (10, "wait", "c"), (19.9, "wait", "d"), (20, "wait", "e")],
        ["a", "c", "e"],
    ),
    "the last wait is printed before the step's end": (
        [(0, "wait", "a"), (1, "wait", "b"), (2, "wait", "c"), (3, "say", "pass")],
        ["a", "c", "pass"],
    ),
    "the last wait is printed before the next step": (
        [(0, "wait", "a"), (1, "wait", "b"), (2, "step", "s")],
        ["a", "b", "s"],
    ),
    "what is no wait is always printed, and starts no new allowance": (
        [(0, "wait", "a"), (1, "say", "x"), (2, "say", "y"), (3, "wait", "b"), (4, "say", "z"), (13, "wait", "c")],
        ["a", "x", "y", "b", "z"],
    ),
    "a new step has a first wait of its own": (
        [(0, "wait", "a"), (1, "step", "s"), (2, "wait", "b")],
        ["a", "s", "b"],
    ),
    "a wait that was printed is not printed again": (
        [(0, "wait", "a"), (1, "wait", "b"), (10, "wait", "c"), (11, "say", "x")],
        ["a", "c", "x"],
    ),
}


@pytest.mark.parametrize(("told", "printed"), TABLE.values(), ids=TABLE)
def test_what_is_printed_where_lines_stay(told: list[tuple[float, str, str]], printed: list[str]) -> None:
    throttle = Throttle(10)
    assert [line for now, kind, text in told for line in throttle.lines("one", kind, text, now=now)] == printed


def test_each_recipe_has_its_own_allowance_and_the_rest_is_had_once() -> None:
    throttle = Throttle(10)
    assert throttle.lines("one", "wait", "a", now=0) == ["a"]
    assert throttle.lines("two", "wait", "b", now=0) == ["b"]
    assert throttle.lines("one", "wait", "c", now=1) == []
    assert throttle.lines("two", "say", "d", now=1) == ["d"]
    assert throttle.rest("one") == ["c"]
    assert throttle.rest("one") == throttle.rest("two") == []


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("0123456789", 4, "0123"),
        ("日本語", 5, "日本"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("two\nlines\tand\x1b[2J more", 40, "two lines and[2J more"),
        ("anything", 0, ""),
    ],
)
def test_a_line_fits_the_terminal(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown


def config(**changed: Any) -> Any:
    options = {"capture": "fd", "log_cli_level": None, **changed}
    return SimpleNamespace(
        get_verbosity=lambda: options.get("verbosity", 0),
        getoption=lambda name, default=None: options.get(name, default),
        getini=lambda _: options.get("log_cli", False),
    )


def reporter(*, tty: bool = True, markup: bool = True, kind: type = TerminalReporter) -> Any:
    made: Any = object.__new__(kind)
    made._tw = SimpleNamespace(_file=SimpleNamespace(isatty=lambda: tty), hasmarkup=markup)
    return made


class Replaced(TerminalReporter):  # type: ignore[misc]  # final, and subclassed by plugins all the same
    """As pytest-sugar's."""


@pytest.mark.parametrize(
    ("changed", "of_reporter", "environ", "may"),
    [
        ({}, {}, {}, True),
        ({"verbosity": -1}, {}, {}, True),
        ({"capture": "sys"}, {}, {}, True),
        ({"verbosity": 1}, {}, {}, False),
        ({"capture": "no"}, {}, {}, False),
        ({"capture": "tee-sys"}, {}, {}, False),
        ({"log_cli_level": "INFO"}, {}, {}, False),
        ({"log_cli": True}, {}, {}, False),
        ({}, {"tty": False}, {}, False),
        ({}, {"markup": False}, {}, False),
        ({}, {"kind": Replaced}, {}, False),
        ({}, {}, {"TERM": "dumb"}, False),
        ({}, {}, {"TERM": ""}, False),
        ({}, {}, {"CI": "true"}, False),
    ],
)
def test_when_a_line_is_rewritten_in_place(
    changed: dict[str, Any], of_reporter: dict[str, Any], environ: dict[str, str], may: bool
) -> None:
    assert may_rewrite(config(**changed), reporter(**of_reporter), {"TERM": "xterm", **environ}) is may


def test_the_live_line_is_erased_before_anything_is_written_and_recipes_share_it() -> None:
    stream = io.StringIO()
    writer: Any = SimpleNamespace(_file=stream, fullwidth=40)
    live = LiveLine(writer, threading.RLock())
    live.show("a", "waits for app", seconds=1)
    live.show("b", "waits for db", seconds=2)
    writer._file.write("pytest's own\n")
    writer._file.write("and more\n")
    live.forget("a")
    live.show("b", "waits", seconds=3)
    assert stream.getvalue() == (
        "\r\x1b[Kccci a  +1s  waits for app\r\x1b[Kccci a  +1s  waits | ccci b  +2s  waits"
        "\r\x1b[Kpytest's own\nand more\n\r\x1b[Kccci b  +3s  waits"
    )


def test_the_seconds_of_the_live_line_go_on_until_it_is_erased() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as seen, os.fdopen(theirs, "w") as stream:
        writer: Any = SimpleNamespace(_file=stream, fullwidth=80)
        live = LiveLine(writer, threading.RLock(), every=0.01)
        live.show("a", "waits for app", seconds=7.45)
        text = b""
        while b"+8s" not in text:
            text += seen.read(1000)
        assert text.startswith(b"\r\x1b[Kccci a  +7s  waits for app\r\x1b[K")
        live.erase()
        writer._file.write("the end\n")
        writer._file.flush()
        while not text.endswith(b"the end\n"):
            text += seen.read(1000)
        os.set_blocking(ours, False)
        pause(0.1)
        assert not seen.read(1000), "nothing comes after it"


def test_a_terminal_that_is_gone_does_not_raise_at_the_erasure() -> None:
    stream = io.StringIO()
    live = LiveLine(SimpleNamespace(_file=stream, fullwidth=24), threading.RLock())
    live.show("one", "one", seconds=0)
    stream.close()
    live.erase()
    assert not live.shown
