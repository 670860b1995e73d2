"""What a session leaves to look at: index, pages, a job's summary. Its verdict does not depend on them."""

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


def test_the_last_line_of_a_run_names_its_page(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TEST)
    result = real_runs.pytester.runpytest_subprocess("recipes")
    (page,) = real_runs.root.glob("state/*/index.html")
    block = result.outlines[next(n for n, line in enumerate(result.outlines) if "= recipes =" in line) :]
    assert [line for line in block if line.strip()][-2].split() == ["page", str(page)]
    assert "<h1>one" in page.read_text("utf-8")
    assert (real_runs.root / "pages" / "one" / "badge.svg").is_file()


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_the_summary_of_a_ci_job_has_each_run_once(
    real_runs: Recipes, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    summary = real_runs.root / "step-summary.md"
    summary.write_text("# before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    real_runs.add("one", test_app=TEST)
    real_runs.add("two", '[upgrade]\nraise = "CrashLoop"\nreason = "<b>it | dies"\n', test_app=TEST)
    assert real_runs.pytester.runpytest_subprocess("recipes", *workers).ret == 1
    text = summary.read_text("utf-8")
    assert text.startswith("# before\n")
    assert text.count("one: pass (cold)") == 1
    assert text.count("two: fail (cold)") == 1
    assert "&#60;b&#62;it &#124; dies" in text


def test_a_summary_that_cannot_be_written_is_told_and_changes_no_verdict(
    real_runs: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(real_runs.root / "none" / "summary.md"))
    real_runs.add("one", test_app=TEST)
    result = real_runs.pytester.runpytest_subprocess("recipes")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["the job's summary cannot be written: *No such file*"])
