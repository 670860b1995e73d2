"""What an operator is told of an update that did not stay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import CrashLoop, DiskFull, ImageUnavailable
from pytest_ccci.ops.reconcile import exit_status
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.alerts import open_alerts, read_hold
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, _went_wrong, last_outcome, record_outcome, worst
from pytest_ccci.warm.update import Ending

C, U, H, B, E, F = Outcome


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [((), C), ((C, U), U), ((U, H), H), ((H, B), B), ((E, B), E), ((F, E, H), F), ((C, C), C)],
)
def test_the_worst_of_several_is_told(outcomes: tuple[Outcome, ...], expected: Outcome) -> None:
    assert worst(outcomes) is expected
    assert worst(reversed(outcomes)) is expected


def test_only_what_needs_nobody_ends_well() -> None:
    assert {outcome for outcome in Outcome if exit_status(outcome) == 0} == {C, U}
    assert len({exit_status(outcome) for outcome in (H, B, E, F)}) == 4
    assert 2 not in {exit_status(outcome) for outcome in Outcome}


def test_an_outcome_is_kept_for_whoever_looks_later(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    assert last_outcome(state, "keycloak") == {}

    record_outcome(state, Reconciled("keycloak", H, before="1.0.0+1", target="2.0.0+1", reasons=("major",)))

    kept = last_outcome(state, "keycloak")
    assert (kept["outcome"], kept["target"], kept["reasons"]) == ("held", "2.0.0+1", ["major"])
    assert kept["time"]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return open_state(tmp_path / "state")


def wrong(state: StateDir, error: Exception, *, silent: float | None, ending: Ending = Ending.BACK) -> Outcome:
    base = Reconciled("keycloak", Outcome.CURRENT, "1.0.0+1", "1.0.1+1", "1.0.0+1", silent=silent, problem=str(error))
    way: Any = SimpleNamespace(problem=str(error), error=error)
    site: Any = SimpleNamespace(state=state)
    return _went_wrong(site, base, ending, way, Wish()).outcome


def kinds(state: StateDir) -> list[str]:
    return [alert.kind for _, alert in open_alerts(state)]


def test_what_could_not_be_fetched_is_alerted_once_and_not_at_every_reconcile(state: StateDir) -> None:
    outcomes = {wrong(state, ImageUnavailable("no registry"), silent=None) for _ in range(3)}

    assert outcomes == {Outcome.ROLLED_BACK}
    assert kinds(state) == ["rolled-back"]
    hold = read_hold(state, "keycloak")
    assert hold is not None
    assert "no registry" in hold.reasons[0]


def test_what_was_rolled_out_is_alerted_each_time_somebody_lets_it(state: StateDir) -> None:
    for _ in range(2):
        wrong(state, CrashLoop("it dies"), silent=12.0)

    assert kinds(state) == ["rolled-back", "rolled-back"]


def test_a_full_disk_is_alerted_as_that(state: StateDir) -> None:
    wrong(state, DiskFull("no room for the snapshot"), silent=3.0)

    assert kinds(state) == ["disk"]


def test_a_rollback_that_failed_is_alerted_as_not_recovered(state: StateDir) -> None:
    outcome = wrong(state, CrashLoop("it dies"), silent=12.0, ending=Ending.STUCK)

    assert outcome is Outcome.ROLLBACK_FAILED
    ((_, alert),) = open_alerts(state)
    assert (alert.kind, alert.recovered) == ("rollback-failed", False)
