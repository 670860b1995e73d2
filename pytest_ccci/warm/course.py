"""What reconcile will do with one app, decided before anything is touched: a pure function over what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.warm.gate import Cause, Decision, GateAnswer, Reason, gate

__all__ = ["Target", "Tried", "course"]


@dataclass(frozen=True)
class Target:
    """The latest release: its tag, and the commit that the tag leads to now."""

    release: str
    commit: str


@dataclass(frozen=True)
class Tried:
    """A release that was rolled out before and did not stay: when, and what was wrong."""

    release: str
    commit: str
    time: str
    problem: str


def course(
    running: str,
    target: Target,
    *,
    notes: Sequence[Note],
    policy: Policy,
    accepted: str,
    tried: Tried | None,
    returnable: bool,
) -> GateAnswer:
    """The gate's answer for the step from ``running`` to ``target``, and what else keeps it from being made.

    A release that was rolled back is not tried at every reconcile anew: only when its tag leads to another commit, or
    an operator accepts it. ``returnable`` says that what runs is still in the recipe's repository; nobody can accept
    that there is no way back.
    """
    answer = gate(running, target.release, notes=notes, policy=policy, accepted=accepted)
    if answer.decision is Decision.CURRENT:
        return answer
    if not returnable:
        text = f"{running or 'what runs'} is no release of the recipe any more: there would be no way back to it"
        return GateAnswer(Decision.HOLD, (Reason(Cause.NO_WAY_BACK, text), *answer.reasons))
    if tried and (tried.release, tried.commit) == (target.release, target.commit) and accepted != target.release:
        text = f"{tried.release} was rolled back on {tried.time}: {tried.problem}"
        return GateAnswer(Decision.HOLD, (Reason(Cause.FAILED_BEFORE, text), *answer.reasons))
    return answer
