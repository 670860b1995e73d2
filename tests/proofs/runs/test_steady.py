"""No false red: good recipes stay green while others keep processor and disk busy.

Only with ``CCCI_STEADY=20,30``: that many cold and quick runs, two at a time. The wall times are printed.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from realruns import CHECKOUT, command, own_name, write_page_recipe

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.verdict import recompute
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir

COLD, QUICK = map(int, os.environ.get("CCCI_STEADY", "0,0").split(","))
pytestmark = [pytest.mark.alone, pytest.mark.timeout(14_400)]

PROCESSOR = "while True: pass"
DISK = """
import os, sys
with open(sys.argv[1], "wb") as sink:
    while True:
        sink.seek(0)
        for _ in range(64):
            sink.write(bytes(1024 * 1024))
        os.fsync(sink.fileno())
"""


@contextmanager
def _busy(folder: Path) -> Iterator[None]:
    log = folder / "hogs.log"
    hogs = [
        process.spawn([sys.executable, "-c", PROCESSOR], log=log),
        process.spawn([sys.executable, "-c", DISK, folder / "hog.bin"], log=log),
    ]
    try:
        yield
        assert all(process.alive(hog) for hog in hogs), log.read_text("utf-8")
    finally:
        for hog in hogs:
            process.terminate(hog, force=True)


def _runs(state: StateDir, recipe: Path, words: Sequence[Sequence[str]], cwd: Path) -> list[tuple[str, RunResult]]:
    """Run pytest on ``recipe`` once with each of ``words``; what each printed and came to."""
    cwd.mkdir()
    ended = []
    seen: set[Path] = set()
    for each in words:
        done = process.run(command(*each, recipe), timeout=1800, cwd=cwd, check=False)
        files = {file for file in state.runs.glob("*/results.json") if load_result(file).recipe == recipe.name} - seen
        seen |= files
        assert len(files) == 1, done.stdout[-6000:]
        ended.append((done.stdout[-6000:], load_result(files.pop())))
    return ended


def _turns(cold: int, quick: int) -> list[list[str]]:
    """The first makes the known-good."""
    return [["--cold", "--ccci-ref", "latest"], *([["--cold"]] * (cold - 1)), *([["--quick"]] * quick)]


def good_recipes_stay_green(warm_state: StateDir, engine: Engine, tmp_path: Path) -> None:
    """Play the runs: half of them on a small recipe, half on the largest."""
    page, other = write_page_recipe(tmp_path / "recipes" / own_name()), CHECKOUT / "recipes" / "lasuite-docs"
    halves = [_turns((COLD + 1) // 2, (QUICK + 1) // 2), _turns(max(COLD // 2, 1), max(QUICK // 2, 1))]
    with _busy(tmp_path), ThreadPoolExecutor(2) as two:
        places = [tmp_path / recipe.name for recipe in (page, other)]
        runs = two.map(_runs, [warm_state] * 2, (page, other), halves, places)
        done = [one for each in runs for one in each]
    for mode in ("cold", "quick"):
        took = [result.seconds for _, result in done if result.mode == mode]
        told = f"{len(took)} {mode} runs: {min(took):.0f} to {max(took):.0f} s, median {statistics.median(took):.0f} s"
        print(told)  # noqa: T201  pytest shows it
    assert [out for out, result in done if recompute(result)[0] != "pass"] == []
    assert not any(row["Spec"]["Name"].startswith(page.name[:4]) for row in engine.client.api.services())


if COLD:

    def test_good_recipes_stay_green_beside_a_busy_processor_and_disk(
        warm_state: StateDir, engine: Engine, tmp_path: Path
    ) -> None:
        good_recipes_stay_green(warm_state, engine, tmp_path)
