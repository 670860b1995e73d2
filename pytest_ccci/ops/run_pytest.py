"""Runs pytest on a recipe's folder as a user does, and reads what it left."""

from __future__ import annotations

import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci import process
from pytest_ccci.errors import NoRun
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import current_environment
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline

__all__ = ["ChildRun", "run_pytest", "run_pytest_apart"]


@dataclass(frozen=True)
class ChildRun:
    """A pytest that ended: how it was called, its exit status, and the result it wrote, read again."""

    command: str
    rc: int
    result: RunResult
    results_file: Path


def run_pytest(
    state: StateDir,
    folder: Path,
    words: Sequence[str],
    *,
    settings: Sequence[str],
    coloured: bool,
    line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
) -> ChildRun:
    """Run ``pytest <words> <folder>`` and hand each line of its output to ``line``.

    ``settings`` are passed on as well, ``env`` beside the environment. Which run it was stands in its junit file, as
    for any CI.

    Raises:
        NoRun: it ended without a run.
        StoreDamaged: the run's result cannot be read.
    """
    shown = " ".join(["pytest", *words, str(folder)])
    line(f"$ {shown}")
    with tempfile.TemporaryDirectory(prefix="ccci-") as work:
        junit = Path(work, "junit.xml")
        argv = _argv(junit, [*words, *settings], folder, coloured=coloured)
        rc = process.follow(
            argv, _all_but(str(junit), line), env={**current_environment(), "PYTHONUNBUFFERED": "1", **(env or {})}
        )
        return _ended(state, shown, rc, junit, advice="see above")


def run_pytest_apart(
    state: StateDir,
    folder: Path,
    words: Sequence[str],
    *,
    settings: Sequence[str],
    log: Path,
    deadline: Deadline,
    grace: float,
    stop: threading.Event,
    env: Mapping[str, str] | None = None,
) -> ChildRun:
    """The same with the output in ``log``, ended at the deadline or when ``stop`` is set: as :func:`process.run_apart`.

    ``env``, where it is given, is the whole environment.

    Raises:
        NoRun: it ended without a run.
        StoreDamaged: the run's result cannot be read.
    """
    shown = " ".join(["pytest", *words, str(folder)])
    with tempfile.TemporaryDirectory(prefix="ccci-") as work:
        junit = Path(work, "junit.xml")
        argv = _argv(junit, [*words, *settings], folder, coloured=False)
        rc = process.run_apart(argv, log=log, deadline=deadline, grace=grace, stop=stop, env=env)
        return _ended(state, shown, rc, junit, advice=f"see {log}")


def _argv(junit: Path, words: Sequence[str], folder: Path, *, coloured: bool) -> list[str]:
    colour = f"--color={'yes' if coloured else 'no'}"
    own = ("-p", "no:cacheprovider", f"--junit-xml={junit}", colour)
    return [sys.executable, "-m", "pytest", *own, *words, str(folder)]


def _ended(state: StateDir, shown: str, rc: int, junit: Path, *, advice: str) -> ChildRun:
    try:
        told = ET.parse(junit).getroot()  # noqa: S314  our own child wrote it
    except (OSError, ET.ParseError):
        told = ET.Element("testsuites")
    run_id = _property(told, "ccci.run_id")
    if not run_id:
        said, reason = _why_not(told)
        what = f"{shown} ended with exit status {rc} and without a run"
        problem = NoRun(what, rc=rc, tail=reason, advice=advice)
        problem.said = said
        raise problem
    file = state.run(run_id) / "results.json"
    return ChildRun(shown, rc, load_result(file), file)


def _all_but(word: str, line: Callable[[str], None]) -> Callable[[str], None]:
    """Lines that name our own temporary file are for nobody."""
    return lambda row: None if word in row else line(row)


def _property(told: ET.Element, name: str) -> str:
    """The first value of a property that is not empty."""
    found = (one.get("value", "") for one in told.iter("property") if one.get("name") == name)
    return next((value for value in found if value), "")


def _why_not(told: ET.Element) -> tuple[str, str]:
    """Verdict and reason of the first test that failed."""
    for test in told.iter("testcase"):
        for kind in ("error", "failure"):
            problem = test.find(kind)
            if problem is not None:
                return _property(test, "ccci.verdict"), (problem.text or problem.get("message") or "").strip()[:2000]
    return "", ""
