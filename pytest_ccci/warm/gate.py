"""The safety gate: may a live-warm app go from one release to another by itself? Decided before anything is touched.

Health does not prove that a manual migration ran, so that what may need a person is held: a major step of either half
(Co-op Cloud: the recipe's own version stands before the ``+``), anything that cannot be read or that names no version
(``latest``, a branch: the same words may bring another app), a step back, and notes
that ask for something by hand in the target or in any release that is passed over. Ordinary patches and minors pass.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ccci.recipe.releases import Release, parse
from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.warm.alerts import AlertKind
from pytest_ccci.warm.release_notes import manual_steps

__all__ = ["Cause", "Decision", "GateAnswer", "Reason", "gate"]


class Decision(enum.StrEnum):
    """What the gate says."""

    PASS = "pass"  # noqa: S105  a decision, not a password
    HOLD = "hold"
    CURRENT = "current"


class Cause(enum.StrEnum):
    """Why an update is held, or passes in spite of it."""

    MAJOR = "major"
    MANUAL_MIGRATION = "manual-migration"
    UNPARSABLE = "unparsable"
    DOWNGRADE = "downgrade"
    ACCEPTED = "accepted"
    FAILED_BEFORE = "failed-before"
    NO_WAY_BACK = "no-way-back"


@dataclass(frozen=True)
class Reason:
    """One cause and its story."""

    cause: Cause
    text: str


@dataclass(frozen=True)
class GateAnswer:
    """The decision with all its reasons."""

    decision: Decision
    reasons: tuple[Reason, ...] = ()

    @property
    def alert(self) -> AlertKind | None:
        """The alert a hold raises."""
        if self.decision is not Decision.HOLD:
            return None
        causes = {reason.cause for reason in self.reasons}
        if Cause.MAJOR in causes:
            return AlertKind.HELD_MAJOR
        if Cause.FAILED_BEFORE in causes:
            return AlertKind.ROLLED_BACK
        return AlertKind.HELD_MANUAL_MIGRATION if Cause.MANUAL_MIGRATION in causes else AlertKind.HELD_UNPARSABLE


@dataclass(frozen=True)
class _Half:
    """A version's numbers and the words of its suffix (a flavour such as ``alpine``, or ``rc``)."""

    numbers: tuple[int, ...]
    words: frozenset[str]
    rest: tuple[int, ...]


_VERSION = re.compile(
    r"[vV]?(\d+(?:\.\d+)*)(?:$|[-_.~+]([0-9A-Za-z._~+-]*)$|((?:a|b|c|rc|p|alpha|beta)\d*)$)", re.ASCII
)
_DATE = re.compile(r"[vV]?(20\d\d)-(\d\d)-(\d\d)(?=$|[-_.~+T])", re.ASCII)
_EARLY = frozenset({"a", "b", "c", "rc", "alpha", "beta", "pre", "preview", "dev", "snapshot", "nightly"})
_MOVING = _EARLY | {
    "latest",
    "stable",
    "edge",
    "main",
    "master",
    "develop",
    "head",
    "trunk",
    "current",
    "rolling",
    "next",
}
_COMMIT = re.compile(r"(?=.*\d)[0-9a-f]{7,40}", re.ASCII)
_BEGINS_WITH_NUMBER = re.compile(r"[vV]?\d", re.ASCII)
_EXACT = re.compile(r"\d[._-]\d|\d{3}", re.ASCII)
_STEPS = ("major", "minor", "patch")
_STRICTNESS = {"never": 0, "major": 1, "minor": 2, "patch": 3}
_YEARS = range(2000, 2100)
_SHORT_YEARS = range(15, 100)


def gate(
    current: str,
    target: str,
    *,
    notes: Sequence[Note] = (),
    policy: Policy | None = None,
    accepted: str = "",
) -> GateAnswer:
    """Decide on the step from release ``current`` to ``target``.

    ``notes`` are those of the target and of every release passed over; ``accepted`` is the one release an operator let
    pass, for that very version only.
    """
    if current == target and current:
        return GateAnswer(Decision.CURRENT)
    reasons = (*_version_reasons(current, target, policy or Policy()), *_note_reasons(notes))
    if reasons and accepted and accepted == target:
        return GateAnswer(Decision.PASS, (Reason(Cause.ACCEPTED, f"{target} was accepted by an operator"), *reasons))
    return GateAnswer(Decision.HOLD if reasons else Decision.PASS, reasons)


def _version_reasons(current: str, target: str, policy: Policy) -> tuple[Reason, ...]:
    before, after = parse(current), parse(target)
    if before is None or after is None:
        odd = current if before is None else target
        return (Reason(Cause.UNPARSABLE, f"{odd or 'what runs now'} is no release of the form recipe+app"),)
    return (*_half_reasons("recipe", before, after, policy), *_half_reasons("app", before, after, policy))


def _half_reasons(name: str, before: Release, after: Release, policy: Policy) -> tuple[Reason, ...]:
    old_text, new_text = (getattr(release, f"{name}_half") for release in (before, after))
    if old_text == new_text:
        unnamed = name == "app" and not _names_a_version(new_text)
        why = Reason(Cause.UNPARSABLE, f"app version {new_text} names no version: it may bring any")
        return (why,) if unnamed else ()
    step_text = f"{name} version {old_text} → {new_text}"
    old, new = _read(old_text), _read(new_text)
    if old is None or new is None:
        return (Reason(Cause.UNPARSABLE, f"{step_text}: {old_text if old is None else new_text} cannot be read"),)
    if (new.numbers, new.rest) < (old.numbers, old.rest) and not _left_early(old, new):
        return (Reason(Cause.DOWNGRADE, f"{step_text} is a step back"),)
    if new.words - old.words or (old.words - new.words) - _EARLY:
        return (Reason(Cause.UNPARSABLE, f"{step_text} is another flavour or a pre-release"),)
    step = _step(old, new, calendar=name == "app" and policy.versions == "calendar")
    strictness = policy.hold_app if name == "app" else policy.hold_recipe
    if _STEPS.index(step) < _STRICTNESS[strictness]:
        return (Reason(Cause.MAJOR, f"{step_text} is a {step} step"),)
    return ()


def _names_a_version(text: str) -> bool:
    """Whether the same words mean the same app: not ``latest``, ``2-stable`` or the name of a branch."""
    if _COMMIT.fullmatch(text):
        return True
    moving = _MOVING & {word.lower() for word in re.findall(r"[A-Za-z]+", text)}
    if moving or not _BEGINS_WITH_NUMBER.match(text):
        return _EXACT.search(text) is not None
    return True


def _left_early(old: _Half, new: _Half) -> bool:
    """From a pre-release to its release: the numbers stay, the suffix goes."""
    return old.numbers == new.numbers and bool(old.words & _EARLY) and not new.words & _EARLY


def _note_reasons(notes: Sequence[Note]) -> tuple[Reason, ...]:
    return tuple(
        Reason(Cause.MANUAL_MIGRATION, f"notes of {note.version}: {step}")
        for note in notes
        for step in manual_steps(note.text)
    )


def _read(text: str) -> _Half | None:
    found = _VERSION.fullmatch(_DATE.sub(r"\1.\2.\3", text))
    if found is None:
        return None
    numbers = tuple(int(part) for part in found[1].split("."))
    while len(numbers) > len(_STEPS) and numbers[-1] == 0:
        numbers = numbers[:-1]
    suffix = found[2] or found[3] or ""
    words = frozenset(word.lower() for word in re.findall(r"[A-Za-z]+", suffix))
    rest = tuple(int(number) for number in re.findall(r"\d+", suffix))
    return _Half(numbers + (0,) * (len(_STEPS) - len(numbers)), words, rest)


def _step(old: _Half, new: _Half, *, calendar: bool) -> str:
    places = zip(old.numbers, new.numbers, strict=False)
    place = next((at for at, (one, two) in enumerate(places) if one != two), len(_STEPS))
    step = _STEPS[min(place, len(_STEPS) - 1)]
    if step == "major" and calendar and _is_year(old.numbers[0]) and _is_year(new.numbers[0]):
        return "minor"
    return step


def _is_year(number: int) -> bool:
    return number in _YEARS or number in _SHORT_YEARS
