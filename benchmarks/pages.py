"""What index and pages cost, of made-up runs: beside the result itself, and how it grows.

python benchmarks/pages.py [--recipes 10000] [--runs 100] [--place DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from maderuns import made_result, red_result, written

from pytest_ccci.ops.report import recipes_page
from pytest_ccci.results.index import RunRow, record, row_of
from pytest_ccci.results.publish import publish, write_recipe_page, write_run_page
from pytest_ccci.statedir import StateDir, open_state, write_atomic
from pytest_ccci.waiting import Stopwatch

_ROUNDS = 7
_SMALLER = 10


def main() -> None:
    """Measure; print as it comes."""
    options = _options()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; medians of {_ROUNDS}, in milliseconds:")
    print("by the clock, and of this process on a core, which other load changes less")
    folder = Path(tempfile.mkdtemp(prefix="ccci-pages-", dir=options.place))
    try:
        small = _measured(folder / "small", max(options.recipes // _SMALLER, 1), options.runs)
        large = _measured(folder / "large", options.recipes, options.runs)
    finally:
        shutil.rmtree(folder)
    for what, (clock, core) in large.items():
        print(f"{what:<40}{clock:>10.1f}{core:>10.1f}   ÷ with a tenth of the recipes {core / small[what][1]:>6.1f}")
    base = large["its result"]
    for what in ("a run's own page", "all that a run publishes"):
        print(f"{what + ', beside its results.json':<60}{large[what][0] / base[0]:>10.1f}")


def _measured(root: Path, recipes: int, runs: int) -> dict[str, tuple[float, float]]:
    state = open_state(root)
    _filled(state, recipes, runs)
    size = state.index.stat().st_size / 2**20
    print(f"{recipes} recipes x {runs} runs: the index has {size:.1f} MiB", flush=True)
    run = red_result(10**6, recipe="recipe-00007")
    path = written(state, run)
    publish(state, path)  # compiles the templates
    return {
        "its result": _median(lambda: written(state, run)),
        "a row in the index": _median(lambda: record(state, row_of(run))),
        "a run's own page": _median(lambda: write_run_page(state, run)),
        "a recipe's page and badges": _median(lambda: write_recipe_page(state, run.recipe)),
        "all that a run publishes": _median(lambda: publish(state, path)),
        "the page of all recipes": _median(lambda: _dashboard(state)),
    }


def _dashboard(state: StateDir) -> None:
    page = recipes_page(state, here=None, slots=2)
    write_atomic(state.pages / "index.html", page.encode(), durable=False)


def _median(act: Callable[[], object]) -> tuple[float, float]:
    clock, core = [], []
    for _ in range(_ROUNDS):
        watch, before = Stopwatch(), time.process_time()
        act()
        core.append((time.process_time() - before) * 1000)
        clock.append(watch.seconds * 1000)
    return statistics.median(clock), statistics.median(core)


def _filled(state: StateDir, recipes: int, runs: int) -> None:
    """As if all of them had been pruned, which is how so many come about."""
    record(state, row_of(made_result(1, recipe="recipe-00000")))
    with closing(sqlite3.connect(state.index)) as link:
        link.execute("PRAGMA journal_mode = OFF")
        link.execute("PRAGMA synchronous = OFF")
        marks = ", ".join("?" * len(fields(RunRow)))
        with link:
            link.executemany(f"INSERT INTO runs VALUES ({marks})", _rows(recipes, runs))  # noqa: S608  no text of anybody
        link.execute("PRAGMA journal_mode = WAL")


def _rows(recipes: int, runs: int) -> Iterator[tuple[object, ...]]:
    """The runs as they are stored, recipe by recipe."""
    dice = random.Random(1)  # noqa: S311  the same runs each time
    stored = [{**vars(row), "steps": json.dumps(row.steps)} for row in map(row_of, (made_result(1), red_result(1)))]
    for recipe in range(recipes):
        for number in range(runs):
            row = stored[dice.random() < 0.1]  # noqa: PLR2004  one in ten is red
            row["run_id"] = f"{recipe:05}-{number:04}"
            row["recipe"] = f"recipe-{recipe:05}"
            row["mode"] = "quick" if number % 2 else "cold"
            row["started"] = f"2026-{1 + number // 28 % 12:02}-{1 + number % 28:02}T00:00:00+00:00"
            row["seconds"] = 20 + 10 * dice.random()
            yield tuple(row.values())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--place", type=Path, help="where the made-up state directories are (default: TMPDIR)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
