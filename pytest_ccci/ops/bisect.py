"""Which commit was the first bad one: what to try next, and what is known. Pure decisions over one line of history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RunResult

__all__ = ["Answer", "Judgement", "Step", "answer", "judgement_of", "next_commit", "steps_left"]

Judgement = Literal["good", "bad", "skip"]
"""What a run says of a commit; *skip*: nothing, so that another one is tried."""


@dataclass(frozen=True)
class Step:
    """One commit that was tried: what its run said, and why."""

    commit: str
    judgement: Judgement
    why: str
    seconds: float = 0.0
    mode: str = ""
    run_id: str = ""
    reproduce: str = ""


@dataclass(frozen=True)
class Answer:
    """The first bad commit is one of ``candidates``, oldest first: of one when it was found."""

    candidates: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def found(self) -> str:
        """The first bad commit; empty where commits that could not be tried leave more than one."""
        return self.candidates[0] if len(self.candidates) == 1 else ""


def judgement_of(result: RunResult) -> tuple[Judgement, str]:
    """What a run says of its head. Only pass and fail are verdicts on a commit."""
    red = next((tier for tier in result.tiers if tier.verdict not in {Verdict.PASS, Verdict.SKIP}), None)
    reason = f"{red.tier}: {red.reason.partition(chr(10))[0]}" if red else ""
    if result.verdict == Verdict.PASS:
        return "good", ""
    if result.verdict == Verdict.FAIL:
        return "bad", reason
    return "skip", f"{result.verdict}, no verdict on the commit: {reason}".removesuffix(": ")


def next_commit(line: Sequence[str], said: Mapping[str, Judgement]) -> str | None:
    """The commit to try next: the one nearest to the middle of what is open; ``None`` when there is none.

    ``line``: from the commit after the good one to the bad one, oldest first.
    """
    low, high = _bounds(line, said)
    open_ = [number for number in range(low + 1, high) if line[number] not in said]
    if not open_:
        return None
    middle = (low + high) / 2
    return line[min(open_, key=lambda number: (abs(number - middle), number))]


def answer(line: Sequence[str], said: Mapping[str, Judgement]) -> Answer:
    """What is known by now."""
    low, high = _bounds(line, said)
    candidates = tuple(line[low + 1 : high + 1])
    return Answer(candidates, tuple(commit for commit in candidates if said.get(commit) == "skip"))


def steps_left(line: Sequence[str], said: Mapping[str, Judgement]) -> int:
    """How many steps it takes still, if none has to be skipped."""
    low, high = _bounds(line, said)
    return max(high - low - 1, 0).bit_length()


def _bounds(line: Sequence[str], said: Mapping[str, Judgement]) -> tuple[int, int]:
    """The places of the newest good commit and of the oldest bad one above it; -1: the good one before the line."""
    low = max((number for number, commit in enumerate(line) if said.get(commit) == "good"), default=-1)
    bad = [number for number, commit in enumerate(line) if said.get(commit) == "bad" and number > low]
    return low, min(bad, default=len(line) - 1)
