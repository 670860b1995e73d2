"""What the steps of an update that was cut off make necessary; how one ends is in ``test_update_faults``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.statedir import open_state
from pytest_ccci.warm.alerts import AlertKind
from pytest_ccci.warm.gate import Cause, Decision
from pytest_ccci.warm.infra_recipe import Good
from pytest_ccci.warm.update import Remedy, Target, Tried, Update, course, in_progress, journal_of, remedy

BEFORE, PATCH, MAJOR = "1.0.0+26.7.0", "1.0.1+26.7.3", "2.0.0+27.0.0"
COMMIT, OTHER = "a" * 40, "b" * 40
MANUAL = (Note(PATCH, "Manual migration required."),)


def tried(release: str, commit: str = COMMIT) -> Tried:
    return Tried(release, commit, "2026-01-01T00:00:00+00:00", "it did not come up")


@pytest.mark.parametrize(
    ("running", "target", "notes", "accepted", "before", "returnable", "decision", "cause"),
    [
        (PATCH, PATCH, (), "", None, True, Decision.CURRENT, None),
        (PATCH, PATCH, (), "", None, False, Decision.CURRENT, None),
        (BEFORE, PATCH, (), "", None, True, Decision.PASS, None),
        (BEFORE, MAJOR, (), "", None, True, Decision.HOLD, Cause.MAJOR),
        (BEFORE, MAJOR, (), MAJOR, None, True, Decision.PASS, Cause.ACCEPTED),
        (BEFORE, MAJOR, (), PATCH, None, True, Decision.HOLD, Cause.MAJOR),
        (BEFORE, PATCH, MANUAL, "", None, True, Decision.HOLD, Cause.MANUAL_MIGRATION),
        (BEFORE, PATCH, MANUAL, PATCH, None, True, Decision.PASS, Cause.ACCEPTED),
        (BEFORE, PATCH, (), "", tried(PATCH), True, Decision.HOLD, Cause.FAILED_BEFORE),
        (BEFORE, PATCH, (), PATCH, tried(PATCH), True, Decision.PASS, None),
        (BEFORE, PATCH, (), "", tried(PATCH, OTHER), True, Decision.PASS, None),
        (BEFORE, PATCH, (), "", tried("1.0.2+26.7.3"), True, Decision.PASS, None),
        (BEFORE, PATCH, (), "", None, False, Decision.HOLD, Cause.NO_WAY_BACK),
        (BEFORE, PATCH, (), PATCH, None, False, Decision.HOLD, Cause.NO_WAY_BACK),
        ("", PATCH, (), "", None, False, Decision.HOLD, Cause.NO_WAY_BACK),
    ],
)
def test_what_is_done_follows_from_what_is_known(
    running: str,
    target: str,
    notes: tuple[Note, ...],
    accepted: str,
    before: Tried | None,
    returnable: bool,
    decision: Decision,
    cause: Cause | None,
) -> None:
    answer = course(
        running,
        Target(target, COMMIT),
        notes=notes,
        policy=Policy(),
        accepted=accepted,
        tried=before,
        returnable=returnable,
    )

    assert answer.decision is decision
    assert (answer.reasons[0].cause if answer.reasons else None) is cause


def test_a_release_that_was_rolled_back_is_alerted_as_that() -> None:
    answer = course(
        BEFORE, Target(PATCH, COMMIT), notes=(), policy=Policy(), accepted="", tried=tried(PATCH), returnable=True
    )

    assert answer.alert is AlertKind.ROLLED_BACK
    assert "it did not come up" in answer.reasons[0].text


@pytest.mark.parametrize(
    ("steps", "data", "expected"),
    [
        ((), True, Remedy.FORGET),
        (("mark",), True, Remedy.FORGET),
        (("mark", "fetch"), True, Remedy.FORGET),
        (("mark", "fetch"), False, Remedy.FORGET),
        (("mark", "fetch", "undo"), True, Remedy.FORGET),
        (("mark", "fetch", "park"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "undo"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "deploy"), True, Remedy.RESTORE),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove"), True, Remedy.RESTORE),
        (("mark", "fetch", "park", "snapshot", "deploy", "undo"), True, Remedy.RESTORE),
        (("mark", "fetch", "deploy"), False, Remedy.REDEPLOY),
        (("mark", "fetch", "deploy", "prove", "undo"), False, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove", "proved"), True, Remedy.FINISH),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove", "proved", "undo"), True, Remedy.RESTORE),
    ],
)
def test_what_a_death_left_is_finished_or_undone_by_rule(steps: tuple[str, ...], data: bool, expected: Remedy) -> None:
    assert remedy(steps, data=data) is expected


def test_an_update_is_read_back_from_its_journal(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    update = Update("app", "u1", Good("1.0.0+1.0.0", "a" * 40), Good("1.0.1+1.0.1", "b" * 40), data=True)
    journal_of(state, "app").begin("update", **update.facts())

    pending = in_progress(state, "app")

    assert pending is not None
    assert Update.parse(pending) == update
