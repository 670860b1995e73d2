from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ccci.ops.reconcile import exit_status
from pytest_ccci.statedir import open_state
from pytest_ccci.warm.outcome import Outcome, Reconciled, last_outcome, record_outcome, worst

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
