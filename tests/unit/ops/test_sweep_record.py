"""Which recipes a sweep tests, and whether a sweep needs a person."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.errors import StateDamaged
from pytest_ccci.ops.sweep_record import (
    Attempt,
    Enrolled,
    InfraStep,
    SweepRecord,
    SweptRecipe,
    due,
    last_sweep,
    load_swept,
)

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)
INFRA = {"engine": "27.1", "keycloak": "1.0.0+26.7.3", "pytest-ccci": "0.1.0", "traefik": "1.0.0+v3.7.15"}
RECIPE = Enrolled("notes", Path("recipes/notes"), release="1.2.0+3.4", commit="c" * 40, known="1.2.0+3.4")


def attempt(verdict: str = "pass", *, days: float = 1, **changes: Any) -> Attempt:
    at = (NOW - timedelta(days=days)).isoformat(timespec="seconds")
    made = Attempt("notes", RECIPE.release, RECIPE.commit, INFRA, verdict, at, run_id="20260630-030000-aaaaaa")
    return replace(made, **changes)


def after(last: Attempt, green: Attempt | None = None) -> Enrolled:
    return replace(RECIPE, tested=SweptRecipe(last, green or (last if last.verdict == "pass" else None)))


@pytest.mark.parametrize(
    ("recipe", "is_due", "why"),
    [
        (replace(RECIPE, release=""), False, "it has no release"),
        (replace(RECIPE, known=""), True, "there is no known-good"),
        (replace(RECIPE, known="1.1.0+3.3"), True, "a new release: 1.2.0+3.4 after 1.1.0+3.3"),
        (RECIPE, True, "no sweep has seen this release green"),
        (after(attempt()), False, "green 24 h ago, and nothing has changed"),
        (after(attempt(days=3)), False, "green 3 days ago, and nothing has changed"),
        (after(attempt(commit="d" * 40)), True, "no sweep has seen this release green"),
        (
            after(attempt(infra={**INFRA, "keycloak": "1.0.0+26.7.0"})),
            True,
            "since the last green run: keycloak 1.0.0+26.7.0 → 1.0.0+26.7.3",
        ),
        (after(attempt(infra={})), True, "since the last green run: engine none → 27.1, keycloak none → 1.0.0+26.7.3"),
        (after(attempt(days=31)), True, "last green 31 days ago"),
        (after(attempt("fail")), False, "fail 24 h ago, and neither its release nor the infra has changed"),
        (after(attempt("unverified")), False, "unverified 24 h ago, and neither"),
        (after(attempt("fail", days=31)), True, "fail 31 days ago"),
        (after(attempt("fail", commit="d" * 40)), True, "no sweep has seen this release green"),
        (after(attempt("fail", infra={**INFRA, "engine": "26"}), attempt(days=9)), False, "green 9 days ago"),
        (after(attempt("error", days=0.5)), False, "error 12 h ago: it is tried again 20 h after that"),
        (after(attempt("error", days=0.9)), True, "error 21 h ago, not by the recipe's fault"),
        (after(attempt("flaky", days=0.1)), False, "flaky 2 h ago: it is tried again 20 h after that"),
    ],
)
def test_what_is_due_and_why(recipe: Enrolled, is_due: bool, why: str) -> None:
    found = due(recipe, INFRA, NOW)
    assert found.due is is_due
    assert found.why.startswith(why)


def test_a_red_recipe_without_a_known_good_is_not_tested_every_night() -> None:
    assert not due(replace(after(attempt("fail")), known=""), INFRA, NOW).due


def test_recipes_that_were_green_in_one_night_are_tested_again_in_many_and_none_after_more_than_30_days() -> None:
    nights = set()
    for number in range(60):
        name = f"recipe-{number}"
        recipe = replace(RECIPE, name=name, tested=SweptRecipe(attempt(recipe=name), attempt(recipe=name)))
        waits = next(days for days in range(40) if due(recipe, INFRA, NOW + timedelta(days=days)).due)
        nights.add(waits + 1)
    assert min(nights) >= 24
    assert max(nights) <= 30
    assert len(nights) == 7


def test_what_is_missing_comes_before_what_is_only_old() -> None:
    turns = [
        due(recipe, INFRA, NOW).turn
        for recipe in (replace(RECIPE, known=""), replace(RECIPE, known="1.1.0+3.3"), RECIPE, after(attempt(days=31)))
    ]
    assert turns == sorted(turns)


def test_a_sweep_is_green_only_where_nothing_asks_for_a_person() -> None:
    good = SweepRecord("x", "", infra=(InfraStep("traefik", "current", "1"),), attempts=(attempt(),))
    assert good.green
    assert SweepRecord("x", "").green
    for bad in (
        replace(good, problems=("the disk is full",)),
        replace(good, infra=(InfraStep("traefik", "rolled-back", "1"),)),
        replace(good, infra=(InfraStep("traefik", "error", "1"),)),
        replace(good, attempts=(attempt("fail"),)),
        replace(good, attempts=(attempt("unverified"),)),
        replace(good, attempts=(attempt("error"), attempt("pass"))),
    ):
        assert not bad.green


def test_two_attempts_that_differ_are_flaky_and_two_errors_are_an_error() -> None:
    both = SweepRecord("x", "", attempts=(attempt("error"), attempt("pass"), attempt("fail", recipe="wiki")))
    assert both.tested == ("notes", "wiki")
    assert both.verdict("notes") == "flaky"
    assert both.verdict("wiki") == "fail"
    assert replace(both, attempts=(attempt("error"), attempt("error"))).verdict("notes") == "error"


def test_a_time_that_is_none_is_a_damaged_file_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    last = {"recipe": "notes", "release": "1", "commit": "c", "infra": {}, "verdict": "pass", "at": "soon"}
    file.write_text(json.dumps({"last": last}))
    with pytest.raises(StateDamaged, match="remove it: the next sweep then tests that recipe"):
        load_swept(file)


@pytest.mark.parametrize(
    ("record", "going_on", "hours", "state", "overdue"),
    [
        ({"ended": "2026-07-01T04:00:00+00:00"}, False, 35, "green", False),
        ({"ended": "2026-07-01T04:00:00+00:00"}, False, 37, "green", True),
        ({"ended": "2026-07-01T04:00:00+00:00", "problems": ("disk: full\nno",)}, False, 1, "red", False),
        ({}, True, 37, "going on", False),
        ({}, False, 1, "cut off", False),
    ],
)
def test_the_last_sweep_is_told_and_whether_the_next_is_overdue(
    record: dict[str, Any], going_on: bool, hours: int, state: str, overdue: bool
) -> None:
    begun = datetime(2026, 7, 1, 3, tzinfo=UTC)
    found = SweepRecord("s", begun.isoformat(), **record)
    last = last_sweep(found, begun + timedelta(hours=hours), going_on=going_on)
    assert (last.state, last.overdue) == (state, overdue)
    assert last.red == (("disk: full",) if state == "red" else ())
