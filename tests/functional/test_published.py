"""What a session leaves to look at: the index. Its verdict does not depend on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_ccci.results.index import load_index

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.conftest import Recipes


def rows_of(index: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(index)) as link:
        return sorted(link.execute("SELECT run_id, verdict FROM runs"))


TEST = "def test_page(app): pass\n"


def test_each_run_is_in_the_index_with_and_without_workers(real_runs: Recipes) -> None:
    for name in ("one", "two"):
        real_runs.add(name, test_app=TEST)
    assert real_runs.pytester.runpytest_subprocess("recipes").ret == 0
    assert real_runs.pytester.runpytest_subprocess("recipes", "-n2").ret == 0
    index = real_runs.root / "state" / "index.sqlite"
    load_index(index)
    assert len(real_runs.results) == 4
    assert rows_of(index) == sorted((run["run_id"], "pass") for run in real_runs.results)


@pytest.mark.parametrize("green", [True, False])
def test_an_index_that_cannot_be_written_is_told_and_changes_no_verdict(real_runs: Recipes, green: bool) -> None:
    real_runs.add("one", "" if green else '[upgrade]\nraise = "CrashLoop"\n', test_app=TEST)
    (real_runs.root / "state" / "index.sqlite").mkdir(parents=True)
    result = real_runs.pytester.runpytest_subprocess("recipes")
    assert result.ret == (0 if green else 1)
    assert [run["verdict"] for run in real_runs.results] == ["pass" if green else "fail"]
    result.stdout.fnmatch_lines(["*the run is not in the index yet: *index.sqlite*"])
