"""Each recipe of the zoo, run as a user does: verdict, tier, blame and words are those that its row says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from realruns import Pytest, of_stack
from zoo import FALSIFIED, ZOO, Row, differences, falsified, filled, load_rows, seen_of, write

from pytest_ccci.engine.client import Engine
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Stopwatch

_TURNED = bool(os.environ.get("ZOO_FALSIFY"))


def _rows(table: str, file: str) -> list[Any]:
    return [pytest.param(table, row, id=row.name, marks=_marks(row)) for row in load_rows(ZOO / file)]


def _marks(row: Row) -> list[pytest.MarkDecorator]:
    """A row of what is not seen yet must fail: else it belongs into another table."""
    not_yet = [pytest.mark.xfail(reason=row.not_yet, strict=True)] if row.not_yet else []
    return [*not_yet, *([pytest.mark.alone] if row.alone else [])]


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("table", "row"), [*_rows("defect", "bad.yml"), *_rows("odd", "odd.yml"), *_rows("not yet", "unseen.yml")]
)
def test_the_run_comes_to_what_the_row_says(
    table: str,
    row: Row,
    user_pytest: Pytest,
    warm_state: StateDir,
    engine: Engine,
    known: Mapping[str, str],
    tmp_path: Path,
    record_property: Any,
) -> None:
    if row.alone and not engine.facts.private:
        reason = "others may use this engine: what an app left there is not taken for its own"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    expected = filled(falsified(row) if _TURNED and row.name in FALSIFIED else row, known)
    recipe = write(row, tmp_path / row.name, known)
    watch = Stopwatch()
    outcome = user_pytest("--cold", *row.args, recipe)
    seconds = watch.seconds
    left = of_stack(engine, stack_name(outcome.result.domain)) if outcome.result.domain else []
    seen = seen_of(outcome, runs=warm_state.runs, left=left)
    problems = differences(expected, seen)
    facts = {"table": table, "row": row.name, "expected": str(expected.expect), "seen": str(seen.came_to)}
    for name, value in {**facts, "seconds": round(seconds, 1), "problems": len(problems)}.items():
        record_property(f"zoo.{name}", value)
    assert not problems, f"{row.planted}:\n" + "\n".join(problems)
    if row.name in FALSIFIED and not _TURNED:
        assert differences(falsified(row), seen), "an expectation that is wrong must be found"
