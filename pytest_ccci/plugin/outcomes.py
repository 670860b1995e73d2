"""How a tier that did not pass travels through pytest: exceptions without a traceback worth showing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_ccci.errors import CcciError, Verdict

if TYPE_CHECKING:
    from pytest_ccci.results.model import TierResult

__all__ = ["Blocked", "RunNotGreen", "Story", "TierFailed", "TierOutcome", "story_of"]


@dataclass(frozen=True)
class Story:
    """What a report says instead of a traceback of ours."""

    verdict: Verdict
    headline: str
    text: str
    evidence: tuple[tuple[str, str], ...] = field(default=())


class TierOutcome(Exception):
    """A tier did not pass; carries its story."""

    def __init__(self, result: TierResult) -> None:
        reason = result.reason.strip() or "no reason was given"
        super().__init__(reason)
        facts = "".join(f"\n  {name}: {value}" for name, value in result.facts.items())
        evidence = tuple((piece.title, piece.text) for piece in result.evidence)
        text = reason if result.verdict == Verdict.UNVERIFIED else f"{result.tier}: {reason}{facts}"
        self.story = Story(result.verdict, reason.partition("\n")[0], text, evidence)


class TierFailed(TierOutcome, AssertionError):
    """The recipe failed in a tier. Reporters tell a failure from a broken test by the kind of exception."""


class Blocked(Exception):
    """What an author's test needs is not there; it was not run, and that is no pass."""

    def __init__(self, blocker: str) -> None:
        reason = f"blocked: {blocker.splitlines()[0]}"
        super().__init__(reason)
        self.story = Story(Verdict.UNVERIFIED, reason, reason)


class RunNotGreen(Exception):
    """All selected items passed, the run did not."""

    def __init__(self, recipe: str, verdict: str, why: str) -> None:
        text = f"the run of {recipe} came to {verdict}: {why}"
        super().__init__(text)
        self.story = Story(Verdict(verdict), text, text)


def story_of(error: BaseException) -> Story | None:
    """The story of an exception of ours; None for everybody else's."""
    if isinstance(error, TierOutcome | Blocked | RunNotGreen):
        return error.story
    if isinstance(error, CcciError):
        return Story(error.verdict, str(error).partition("\n")[0], str(error))
    return None
