"""What a sweep writes down, and which recipes are due: pure, told from what earlier sweeps wrote down."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.canonicals import Checked
from pytest_ccci.statedir import load_state
from pytest_ccci.warm.reconcile import Outcome

__all__ = [
    "Attempt",
    "Due",
    "Enrolled",
    "InfraStep",
    "LastSweep",
    "SweepRecord",
    "SweptRecipe",
    "due",
    "last_sweep",
    "load_sweep",
    "load_swept",
]

_OLDEST = timedelta(days=30)
_SPREAD = 7
"""A recipe is tested anew after 24 to 30 days, by a hash of its name: not all that were tested in one night again."""
_AGAIN = timedelta(hours=20)
"""What was no fault of a recipe is tried again in the next night."""
_OVERDUE = timedelta(hours=36)
"""A sweep that is called each day began at most a day ago, and its delay."""
_FLAKY = "flaky"
_FINE = frozenset(map(str, (Outcome.CURRENT, Outcome.UPGRADED, Outcome.HELD)))


@dataclass(frozen=True)
class Attempt:
    """One cold run of a recipe's latest release in a sweep. ``infra``: what it ran on, by name; times as in results.

    ``verdict`` is that of results.json; ``error`` without a ``run_id`` where the run came to none. ``log`` holds what
    its pytest printed. ``hung``: it took too long, and was ended.
    """

    recipe: str
    release: str
    commit: str
    infra: Mapping[str, str]
    verdict: str
    at: str
    reason: str = ""
    run_id: str = ""
    seconds: float = 0.0
    known_good: str = ""
    log: str = ""
    hung: bool = False


@dataclass(frozen=True)
class SweptRecipe:
    """What sweeps know of a recipe: how its last test ended, and its last green one.

    ``last.verdict`` is ``flaky`` where two attempts at one commit came to different verdicts.
    """

    last: Attempt
    green: Attempt | None = None


@dataclass(frozen=True)
class Enrolled:
    """An enrolled recipe with its latest release; ``known`` is the release of its known-good, empty where none is."""

    name: str
    folder: Path
    release: str
    commit: str
    known: str = ""
    needs_keycloak: bool = False
    tested: SweptRecipe | None = None


@dataclass(frozen=True)
class Due:
    """Whether a recipe is tested in this sweep, and why. A smaller ``turn`` comes first."""

    recipe: str
    due: bool
    why: str
    turn: int = 9


@dataclass(frozen=True)
class InfraStep:
    """What the reconcile that begins a sweep came to for one live-warm app."""

    app: str
    outcome: str
    release: str
    problem: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it asks for a person; a held update has an alert of its own."""
        return self.outcome not in _FINE


@dataclass(frozen=True)
class SweepRecord:
    """A sweep: what it did, and what came of it. ``ended`` is empty while it goes on, or when it was killed.

    ``left``: recipes that are due and were not tested, as more were than asked for. ``resumed``: how often it was gone
    on with after it was killed.
    """

    sweep_id: str
    started: str
    ended: str = ""
    resumed: int = 0
    infra: tuple[InfraStep, ...] = ()
    decided: tuple[Due, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    left: tuple[str, ...] = ()
    verified: tuple[Checked, ...] = ()
    pruned: int = 0
    problems: tuple[str, ...] = ()

    @property
    def tested(self) -> tuple[str, ...]:
        """The recipes of which there are attempts, in their order."""
        return tuple(dict.fromkeys(one.recipe for one in self.attempts))

    def verdict(self, recipe: str) -> str:
        """What the attempts at ``recipe`` came to: their verdict, or ``flaky`` where they differ."""
        verdicts = {one.verdict for one in self.attempts if one.recipe == recipe}
        return verdicts.pop() if len(verdicts) == 1 else _FLAKY

    @property
    def green(self) -> bool:
        """Whether nothing asks for a person: infra, every test and every known-good are well."""
        return not self.red

    @property
    def red(self) -> tuple[str, ...]:
        """What asks for a person, each in a few words; empty where nothing does."""
        infra = (f"{one.app} {one.outcome}" for one in self.infra if one.is_wrong)
        tested = (f"{recipe} {self.verdict(recipe)}" for recipe in self.tested if self.verdict(recipe) != Verdict.PASS)
        kept = (f"known-good of {one.recipe}" for one in self.verified if one.problem)
        return (*infra, *tested, *kept, *(problem.partition("\n")[0] for problem in self.problems))


@dataclass(frozen=True)
class LastSweep:
    """The last sweep, for people. ``state``: ``going on``, ``cut off``, ``green`` or ``red``."""

    started: str
    ended: str
    state: str
    red: tuple[str, ...]
    tested: int
    overdue: bool


def last_sweep(record: SweepRecord, now: datetime, *, going_on: bool) -> LastSweep:
    """What is told of the newest sweep; it is overdue when the next one should have begun long ago."""
    state = "green" if record.green else "red"
    if not record.ended:
        state = "going on" if going_on else "cut off"
    begun = datetime.fromisoformat(record.started)
    since = now - (begun if begun.tzinfo else begun.replace(tzinfo=UTC))
    late = since > _OVERDUE and not going_on
    return LastSweep(record.started, record.ended, state, record.red, len(record.tested), overdue=late)


def due(recipe: Enrolled, infra: Mapping[str, str], now: datetime) -> Due:
    """Whether the latest release of ``recipe`` is to be tested, on ``infra`` as it is now."""
    last = recipe.tested.last if recipe.tested else None
    green = recipe.tested.green if recipe.tested else None
    if not recipe.release:
        return Due(recipe.name, due=False, why="it has no release")
    if last and last.verdict != Verdict.PASS and last.commit == recipe.commit and last.infra == dict(infra):
        return _red_before(recipe, last, now)
    reasons = (
        (0, "" if recipe.known else "there is no known-good"),
        (1, "" if recipe.known == recipe.release else f"a new release: {recipe.release} after {recipe.known}"),
        (2, "" if green and green.commit == recipe.commit else "no sweep has seen this release green"),
        (2, _changed(green.infra if green else {}, infra)),
        (3, _too_old(recipe, green, now)),
    )
    turn, why = next(((turn, why) for turn, why in reasons if why), (9, ""))
    if why:
        return Due(recipe.name, due=True, why=why, turn=turn)
    return Due(recipe.name, due=False, why=f"green {_ago(green, now)}, and nothing has changed")


def _red_before(recipe: Enrolled, last: Attempt, now: datetime) -> Due:
    """Of a test that ended other than green on the same release and infra."""
    since = now - _time(last)
    if last.verdict in {Verdict.FAIL, Verdict.UNVERIFIED}:
        if since < _limit(recipe):
            why = f"{last.verdict} {_ago(last, now)}, and neither its release nor the infra has changed"
            return Due(recipe.name, due=False, why=why)
        return Due(recipe.name, due=True, why=f"{last.verdict} {_ago(last, now)}", turn=3)
    if since < _AGAIN:
        why = f"{last.verdict} {_ago(last, now)}: it is tried again {_hours(_AGAIN)} after that"
        return Due(recipe.name, due=False, why=why)
    return Due(recipe.name, due=True, why=f"{last.verdict} {_ago(last, now)}, not by the recipe's fault", turn=1)


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    changes = [f"{name} {then.get(name) or 'none'} → {now.get(name) or 'none'}" for name in sorted({*then, *now})
               if then.get(name) != now.get(name)]  # fmt: skip
    return f"since the last green run: {', '.join(changes)}" if changes else ""


def _too_old(recipe: Enrolled, green: Attempt | None, now: datetime) -> str:
    return f"last green {_ago(green, now)}" if green and now - _time(green) >= _limit(recipe) else ""


def _limit(recipe: Enrolled) -> timedelta:
    return _OLDEST - timedelta(days=zlib.crc32(recipe.name.encode()) % _SPREAD)


def _time(attempt: Attempt) -> datetime:
    found = datetime.fromisoformat(attempt.at)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ago(attempt: Attempt | None, now: datetime) -> str:
    return f"{_hours(now - _time(attempt))} ago" if attempt else "never"


def _hours(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return f"{hours} h" if hours < 2 * 24 else f"{hours // 24} days"


def load_swept(path: Path) -> SweptRecipe | None:
    """What sweeps wrote down of a recipe at ``path``; ``None`` where there is nothing.

    Raises:
        StateDamaged: it cannot be used.
    """
    return load_state(path, SweptRecipe, advice="remove it: the next sweep then tests that recipe", check=_check_times)


def _check_times(tested: SweptRecipe) -> None:
    for one in (tested.last, tested.green):
        if one is not None:
            _time(one)


def load_sweep(path: Path) -> SweepRecord | None:
    """The record of a sweep at ``path``; ``None`` where there is nothing.

    Raises:
        StateDamaged: it cannot be used.
    """
    return load_state(path, SweepRecord, advice="remove its folder: the next sweep begins anew", check=_check_begun)


def _check_begun(record: SweepRecord) -> None:
    if datetime.fromisoformat(record.started).tzinfo is None:
        raise ValueError(f"{record.started} names no zone")
