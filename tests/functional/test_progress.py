from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.conftest import FAKE, Recipes

WIDTH = 70
_TOLD = 'LOG.info(f"{tier}: waiting for backend (starting, 2/5 healthy)")'
_BUSY = """from pytest_ccci.progress import StepLine, WaitLine
            LOG.info(StepLine(f"{tier} …"))
            for number in range(50):
                LOG.info(WaitLine(f"{tier}: waiting for backend ({number}/49), " + 9 * "and others "))
            if tier == "backup":
                LOG.info("a warning in between")
                LOG.info(WaitLine(f"{tier}: waiting again"))"""
TIERS = ("install", "upgrade", "backup", "restore", "settle")


@pytest.fixture
def busy(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Recipes:
    """Recipes whose steps tell fifty waits each."""
    assert _TOLD in FAKE
    for name in ("CI", "PY_COLORS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    return Recipes(pytester, fake=FAKE.replace(_TOLD, _BUSY))


def on_a_terminal(root: Path, *options: str) -> str:
    """Everything that pytest writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "pytest", "recipes", "-p", "no:cacheprovider", *options]
    with subprocess.Popen(argv, cwd=root, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        written = b""
        while True:
            try:
                got = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other end open
                break
            if not got:
                break
            written += got
        child.wait(60)
    os.close(ours)
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that stay on a terminal which has been sent ``written``."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", written, flags=re.DOTALL):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_in_a_pipe_a_step_has_few_lines_and_its_last_state(busy: Recipes) -> None:
    busy.add("one")
    result = busy.pytester.runpytest_subprocess("recipes")
    result.assert_outcomes(passed=5)
    told = [line.partition("s  ")[2] for line in result.outlines if line.startswith("ccci one")]
    for tier in TIERS:
        waits = [line for line in told if line.startswith(f"{tier}: waiting for")]
        assert [re.findall(r"\((\d+)/", line) for line in waits] == [["0"], ["49"]], told
        assert f"{tier} …" in told
        assert f"{tier}: pass after 1.5 s" in told
    assert (
        told.index("a warning in between")
        < told.index("backup: waiting again")
        < told.index("backup: pass after 1.5 s")
    )
    assert len(told) == 5 * 4 + 2
    assert "\x1b[K" not in result.stdout.str()


def test_on_a_terminal_one_line_is_rewritten_and_nothing_of_it_stays(busy: Recipes) -> None:
    busy.add("one", test_app="def test_page(app): pass\n")
    written = on_a_terminal(busy.root)
    assert written.count("\r\x1b[Kccci one  +") > 5 * 50
    seen = screen(written)
    assert not [line for line in seen if "waiting" in line or "…" in line], seen
    assert [line.partition("s  ")[2] for line in seen if line.startswith("ccci one")] == [
        "install: pass after 1.5 s",
        "upgrade: pass after 1.5 s",
        "a warning in between",
        "backup: pass after 1.5 s",
        "restore: pass after 1.5 s",
        "settle: pass after 1.5 s",
    ]
    assert any(re.fullmatch(r"recipes/one/test_app\.py \.\s+\[ *\d+%\]", line) for line in seen), seen
    assert seen.count(".") == 4
    assert seen.count("recipes/one/recipe.toml") == 5
    assert re.fullmatch(r"=+ 6 passed in .* =+", [line for line in seen if line][-1])
    for live in re.findall(r"\r\x1b\[K([^\r\n\x1b]*)", written):
        assert len(live) < WIDTH


def test_two_workers_share_the_line(busy: Recipes) -> None:
    busy.add("one")
    busy.add("two")
    written = on_a_terminal(busy.root, "-n", "2")
    assert "\r\x1b[Kccci " in written
    seen = screen(written)
    assert not [line for line in seen if "waiting" in line or "…" in line], seen
    assert re.fullmatch(r"=+ 10 passed in .* =+", [line for line in seen if line][-1])


@pytest.mark.parametrize("option", ["-v", "-s", "--color=no", "--capture=tee-sys", "-o log_cli=true"])
def test_where_a_line_cannot_be_rewritten_lines_stay(busy: Recipes, option: str) -> None:
    busy.add("one")
    written = on_a_terminal(busy.root, *option.split())
    assert "\x1b[K" not in written
    assert written.count("waiting for backend") == 2 * len(TIERS)


def test_no_secret_is_on_the_live_line(busy: Recipes) -> None:
    text = busy.root.joinpath("conftest.py").read_text(encoding="utf-8")
    learn = "from pytest_ccci.redact import SECRETS; SECRETS.learn('hunter2hunter2')\n            "
    shown = text.replace("from pytest_ccci.progress import", f"{learn}from pytest_ccci.progress import")
    shown = shown.replace("waiting for backend (", "waiting for hunter2hunter2 (")
    busy.pytester.makeconftest(shown)
    busy.add("one")
    written = on_a_terminal(busy.root)
    assert written.count("\r\x1b[Kccci one  +") > 5 * 50
    assert "hunter2hunter2" not in written
