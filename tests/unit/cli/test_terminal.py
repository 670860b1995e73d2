from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_ccci import cli
from pytest_ccci.cli import setup
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.redact import SECRETS

LOG = logging.getLogger("pytest_ccci.ops.prune")
SECRET = "hunter2-Xk9zQ4mV"


def test_what_is_logged_is_shown_with_the_seconds_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    SECRETS.learn(SECRET)
    with Terminal().progress(shown=True):
        LOG.info(f"deploying for {SECRET}")
        LOG.warning("something went wrong")
        LOG.debug("a detail")
    shown = capsys.readouterr()
    assert re.fullmatch(r" +0\.\d  deploying for \[secret\]\n +0\.\d  something went wrong\n", shown.out)
    assert shown.err == ""


def test_no_way_in_which_a_command_tells_something_shows_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    SECRETS.learn(SECRET)
    terminal, text = Terminal(), f"no login as {SECRET}"
    ways: dict[str, Callable[[], None]] = {
        "line": lambda: terminal.say(text),
        "title": lambda: terminal.title(text),
        "another program's": lambda: terminal.raw(text),
        "problem": lambda: terminal.problem(text),
        "table": lambda: terminal.table(("what",), [(text,), ((text, "bad"),)]),
        "json": lambda: terminal.json({"why": [text]}),
    }
    for way, tell in ways.items():
        tell()
        shown = capsys.readouterr()
        told = shown.out + shown.err
        assert "no login as [secret]" in told, way
        assert SECRET not in told, way


def test_what_is_not_to_be_shown_is_not_even_where_nobody_else_takes_it() -> None:
    log = "logging.getLogger('pytest_ccci.ops.prune').warning('told')"
    code = (
        f"import logging; from pytest_ccci.cli.terminal import Terminal\nwith Terminal().progress(shown=False): {log}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_terminal_that_is_gone_stops_no_command_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise BrokenPipeError

    terminal = Terminal()
    monkeypatch.setattr(terminal, "say", gone)
    with terminal.progress(shown=True):
        LOG.info("nobody reads this")


@pytest.mark.parametrize(("words", "shown"), [([], True), (["--json"], False)], ids=["text", "json"])
def test_with_json_a_command_writes_one_document_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Any,
    words: list[str],
    shown: bool,
) -> None:
    def prune(*_: Any, **__: Any) -> tuple[Any, ...]:
        LOG.info("images: no engine is running, none are looked at")
        LOG.warning("something went wrong")
        return ()

    monkeypatch.setattr(setup, "prune", prune)
    assert cli.main(["prune", f"--ccci-state-dir={tmp_path / 'state'}", *words]) == 0
    written = capsys.readouterr()
    assert ("images: no engine" in written.out, "went wrong" in written.out) == (shown, shown)
    assert written.out == "[]\n" or shown
    assert written.err == ""
