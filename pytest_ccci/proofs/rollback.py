"""The rollback proof: which bad heads in which order, what must be true of each round, and its evidence. Pure."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.demo import Expectation
from pytest_ccci.results.model import RunResult

__all__ = ["Evidence", "Round", "Seen", "deck", "digests", "judge_round", "readable"]


@dataclass(frozen=True)
class Seen:
    """The data and the known-good at one time: a digest of each document, of the record, and of all that is kept.

    ``differences``: how the snapshot differs from its manifest, every content read anew.
    """

    documents: Mapping[str, str]
    record: str
    fingerprint: str
    differences: int


@dataclass(frozen=True)
class Round:
    """One bad head that was tried, and what came of it."""

    number: int
    head: str
    commit: str
    run_id: str
    verdict: str
    tier: str
    reason: str
    known_good: str
    proved: str
    seconds: float
    before: Seen
    after: Seen
    expectations: tuple[Expectation, ...]

    @property
    def held(self) -> bool:
        """Whether all that must be so was."""
        return all(one.held for one in self.expectations)


@dataclass(frozen=True)
class Evidence:
    """The whole proof, as its file holds it. ``planted`` is what was written, by its label: digest and bytes."""

    recipe: str
    started: str
    seed: int
    release: str
    commit: str
    backend: str
    planted: Mapping[str, Mapping[str, object]]
    original: tuple[str, str]
    heads: tuple[str, ...]
    good_heads: tuple[str, ...]
    rounds: tuple[Round, ...]
    wanted: int
    seconds: float
    engine: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = 1

    @property
    def held(self) -> bool:
        """Whether as many rounds as were wanted were played, all held, and the original is as it was."""
        whole = len(self.rounds) == self.wanted and self.original[0] == self.original[1]
        return whole and bool(self.planted) and all(one.held for one in self.rounds)

    def as_json(self) -> dict[str, object]:
        """As the file holds it, with the verdict on top."""
        rounds = [{"held": one.held, **asdict(one)} for one in self.rounds]
        return {"held": self.held, **asdict(self), "rounds": rounds}


def deck(heads: Sequence[str], seed: int) -> Iterator[str]:
    """The heads without end, in random order: each once before any comes again."""
    source = random.Random(seed)  # noqa: S311  an order, and it must be made again from its seed
    while heads:
        cards = list(heads)
        source.shuffle(cards)
        yield from cards


def digests(kept: Mapping[str, bytes]) -> dict[str, str]:
    """A digest of each document."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(kept.items())}


def judge_round(result: RunResult, *, before: Seen, after: Seen, lost: str) -> tuple[Expectation, ...]:
    """What must be true after a quick run of a bad head. ``lost`` says what the person missed; empty when nothing."""
    action = result.known_good.action
    same = before.documents == after.documents
    changed = sorted(
        name
        for name in before.documents.keys() | after.documents.keys()
        if before.documents.get(name) != after.documents.get(name)
    )
    return (
        Expectation("the run is quick", result.mode == "quick", result.mode),
        Expectation("the bad head is red", result.verdict == Verdict.FAIL, str(result.verdict)),
        Expectation("the known-good was restored and proved", action == "restored-and-proved", action),
        Expectation("the person finds every document through the app", not lost, lost or "all there"),
        Expectation(
            "every document is what it was, hashed outside the app",
            same and bool(after.documents),
            f"{len(after.documents)} documents" if same else f"changed: {', '.join(changed)}",
        ),
        Expectation(
            "the record is byte-identical", before.record == after.record, f"{before.record[:12]} → {after.record[:12]}"
        ),
        Expectation(
            "the snapshot is byte-identical",
            before.fingerprint == after.fingerprint and not after.differences,
            f"{before.fingerprint[:12]} → {after.fingerprint[:12]}, {after.differences} differences from its manifest",
        ),
    )


def readable(found: Evidence) -> str:
    """The evidence for people."""
    rows = [
        f"Rollback proof of {found.recipe}, {found.started}",
        f"known-good {found.release} ({found.commit[:10]}), copied by {found.backend}; seed {found.seed}",
        f"the original known-good before and after: {found.original[0][:16]} {found.original[1][:16]}",
        "",
        "planted and found before the first round:",
        *(f"  {facts['sha256']}  {facts['size']:>6} bytes  {name}" for name, facts in found.planted.items()),
        "",
        f"{'round':<6}{'bad head':<24}{'red in':<10}{'seconds':>8}  held",
    ]
    for one in found.rounds:
        rows.append(f"{one.number:<6}{one.head:<24}{one.tier:<10}{one.seconds:>8.1f}  {'yes' if one.held else 'NO'}")
        rows += [f"      NOT HELD {fact.text} [{fact.seen}]" for fact in one.expectations if not fact.held]
    if found.good_heads:
        rows += ["", f"green, so no proof of a rollback: {', '.join(found.good_heads)}"]
    held = sum(one.held for one in found.rounds)
    rows += [
        "",
        f"{held} of {found.wanted} rounds held, in {found.seconds:.0f} s: {'HELD' if found.held else 'NOT HELD'}",
    ]
    return "\n".join(rows) + "\n"
