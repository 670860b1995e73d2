"""The story of a run as text for people: what happened, why, what to do, and where the seconds went."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import (
    AT_REST,
    COUNTED,
    FEWER,
    IMAGES_AGAIN,
    KEPT_APP,
    LEFT_OUT,
    NOT_COUNTED,
    ON_BASE,
    UNASKED,
    CustomTest,
    KnownGoodChange,
    RefFact,
    RunResult,
    TierResult,
)
from pytest_ccci.results.verdict import deciding, in_order, ready_tag, run_verdict

__all__ = ["Line", "Tone", "known_good_told", "markdown", "plain", "summary", "version_text", "where_time_went"]

_SMALLEST = 0.1


def where_time_went(result: RunResult, *, most: int = 8) -> tuple[tuple[str, float], ...]:
    """The steps of a run summed by name, the longest first, what no step accounts for as ``other``.

    At most ``most`` of them by name, and none below a tenth of a second; the seconds add up to the run's.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for tier in result.tiers:
        for step in tier.steps:
            sums[step.name] += step.seconds
    ranked = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [pair for pair in ranked if pair[1] >= _SMALLEST][:most]
    other = result.seconds - sum(seconds for _, seconds in shown)
    if shown and other >= _SMALLEST:
        shown.append(("other", other))
    return tuple(shown)


Tone = Literal["plain", "good", "bad", "warn", "dim", "title"]

_TONES: dict[str, Tone] = {"pass": "good", "fail": "bad", "error": "bad", "unverified": "bad", "skip": "dim"}
_COUNTS: tuple[tuple[str, Tone], ...] = (
    (COUNTED, "plain"),
    (FEWER, "warn"),
    (AT_REST, "warn"),
    (IMAGES_AGAIN, "warn"),
    (NOT_COUNTED, "warn"),
)
_LABEL = 13
_TABLE = 33


@dataclass(frozen=True)
class Line:
    """One line of a report and how it is meant."""

    text: str
    tone: Tone = "plain"


def summary(result: RunResult, *, width: int = 100, result_file: str = "", page: str = "") -> tuple[Line, ...]:
    """The whole summary of one run in at most ``width`` columns (longer words are kept whole).

    ``page`` is where it can be looked at.
    """
    return (
        *_headline(result, width),
        Line(""),
        *_tiers(result, width),
        Line(""),
        *_facts(result, width),
        *_advice(result, width, result_file),
        *([Line(f"  {'page':<{_LABEL}}{page}", "dim")] if page else []),
    )


def plain(lines: Sequence[Line]) -> str:
    """The lines as one text, without tones."""
    return "\n".join(line.text for line in lines)


_SIGNS = {"pass": "✅", "fail": "❌", "error": "⚠️", "unverified": "❔", "skip": "⏭️"}
_PLAIN = re.compile(r"[^A-Za-z0-9 ,;\u00a1-\U0010ffff]")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_CELL = 400
_CELLS = 60


def markdown(results: Sequence[RunResult]) -> str:
    """The runs as GitHub-flavoured Markdown, for a job's summary: no text of a recipe is markup in it."""
    return "\n".join(line for result in results for line in (*_markdown(result), "", ""))


def _markdown(result: RunResult) -> Iterator[str]:
    yield f"### {_SIGNS[result.verdict]} {_cell(result.recipe)}: {result.verdict} ({_cell(result.mode)})"
    yield ""
    if result.verdict != Verdict.PASS:
        yield f"{_cell(run_verdict(result.tiers, result.custom, leftovers=result.leftovers)[1])}"
        yield ""
    if result.requested_mode != result.mode:
        yield f"{_cell(result.requested_mode)} was asked for: {_cell(result.mode_reason)}"
        yield ""
    before = f"{_cell(version_text(result.base))} → " if result.base else ""
    yield f"{before}{_cell(version_text(result.head))}, {result.seconds:.1f} s; known-good: " + _cell(
        known_good_told(result.known_good)[0]
    )
    yield ""
    if tag := ready_tag(result):
        yield f"Ready to be tagged {_cell(tag)}."
        yield ""
    yield "| tier | verdict | seconds | reason |"
    yield "| --- | --- | ---: | --- |"
    for tier in in_order(result.tiers, result.custom)[:_CELLS]:
        sign = _SIGNS[tier.verdict]
        yield f"| {_cell(tier.tier)} | {sign} {tier.verdict} | {tier.seconds:.1f} | {_cell(tier.reason)} |"
    bad = [test for test in result.custom if test.verdict not in {Verdict.PASS, Verdict.SKIP}]
    for test in bad[:_CELLS]:
        sign = _SIGNS[test.verdict]
        yield f"| {_cell(test.nodeid)} | {sign} {test.verdict} | {test.seconds:.1f} | {_cell(test.reason)} |"
    if result.findings:
        yield ""
        yield f"<details><summary>{len(result.findings)} findings</summary>"
        yield ""
        for each in result.findings[:_CELLS]:
            spot = f"{each.file}:{each.line}: " if each.file else ""
            yield f"- {each.level}: {_cell(f'{spot}{each.where}: {each.text}')} ({_cell(each.code)})"
        yield ""
        yield "</details>"
    if result.reproduce:
        yield ""
        yield f"Again with <code>{_cell(result.reproduce)}</code>"


def _cell(text: str) -> str:
    """Text of one line, bounded, of which nothing is read as Markdown or HTML."""
    short = text if len(text) <= _CELL else f"{text[:_CELL]} …"
    short = _UNSEEN.sub(lambda found: " " if found[0] in "\n\r\t\xa0" else f"⟨U+{ord(found[0]):04X}⟩", short)
    return _PLAIN.sub(lambda found: f"&#{ord(found[0])};", short)


def version_text(fact: RefFact | None) -> str:
    """A version for people: ``1.1.0+4.2 (3f2c1ab90d)``, with the ref when it says more than the version does."""
    if fact is None:
        return "none"
    marks = [fact.commit[:10]] if fact.commit else []
    if fact.ref and fact.ref not in {fact.version, fact.commit, fact.release}:
        marks.insert(0, fact.ref)
    if fact.dirty:
        marks.append("dirty tree")
    return f"{fact.version} ({', '.join(marks)})" if marks else fact.version


def _headline(result: RunResult, width: int) -> Iterator[Line]:
    left = f"{result.recipe}  {result.verdict.upper()}  {result.mode}"
    seconds = f"{result.seconds:.1f} s"
    yield Line(f"{left}{seconds:>{max(width - len(left), len(seconds) + 2)}}", _TONES[result.verdict])
    if result.verdict != Verdict.PASS:
        _, why = run_verdict(result.tiers, result.custom, leftovers=result.leftovers)
        first = deciding(result.tiers, result.custom, leftovers=result.leftovers)
        more = first.reason.strip().partition("\n")[2] if first else ""
        yield from _entry("because", f"{why or 'the run says so itself'}\n{more}", width, "bad")
    if result.base and result.head:
        yield from _entry("from", version_text(result.base), width)
        yield from _entry("to", version_text(result.head), width)
    else:
        yield from _entry("version", version_text(result.head), width)
    if result.requested_mode != result.mode:
        reason = result.mode_reason or "no reason given"
        yield from _entry(
            "mode", f"{result.mode}, though {result.requested_mode} was asked for: {reason}", width, "warn"
        )
    elif result.mode_reason:
        yield from _entry("mode", f"{result.mode}: {result.mode_reason}", width)
    if result.stand_in:
        yield from _entry("stand-in", result.stand_in, width, "warn")


def _tiers(result: RunResult, width: int) -> Iterator[Line]:
    yield Line(f"  {'tier':<10}{'verdict':<12}{'seconds':>7}  reason", "dim")
    because = deciding(result.tiers, result.custom, leftovers=result.leftovers)
    rows = _alike(in_order(result.tiers, result.custom))
    for tier, *like in rows:
        also = f" ({', '.join(each.tier for each in like)} too)" if like else ""
        reason = "" if tier == because and not like else f"{tier.reason}{also}"
        yield from _row(tier, reason, width)
        if "custom" in {tier.tier, *(each.tier for each in like)}:
            yield from _custom(result.custom, tier.reason, width)
    if not rows:
        yield Line("  none was reached", "bad")


def _alike(tiers: Sequence[TierResult]) -> list[list[TierResult]]:
    """The tiers in order; those in a row that one thing blocks are one."""
    rows: list[list[TierResult]] = []
    for tier in tiers:
        if rows and tier.verdict == rows[-1][0].verdict == Verdict.UNVERIFIED and tier.reason == rows[-1][0].reason:
            rows[-1].append(tier)
        else:
            rows.append([tier])
    return rows


def _row(tier: TierResult, why: str, width: int) -> Iterator[Line]:
    head = f"  {tier.tier:<10}{tier.verdict:<12}{tier.seconds:>7.1f}"
    reason = _folded(why, width - _TABLE)
    yield Line(f"{head}  {reason[0]}".rstrip(), _TONES[tier.verdict])
    for more in reason[1:]:
        yield Line(" " * _TABLE + more, _TONES[tier.verdict])


def _custom(tests: Sequence[CustomTest], said: str, width: int) -> Iterator[Line]:
    """The author's tests that did not pass, those with the same story as one, but for what the tier has ``said``.

    Of tests that a plugin repeated, at which attempt that was.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for test in tests:
        if test.verdict != Verdict.PASS and test.reason != said:
            groups.setdefault((test.verdict, test.reason), []).append(test.nodeid.rpartition("/")[2])
        if test.attempts > 1:
            again = f"{test.nodeid.rpartition('/')[2]}: {test.verdict} at attempt {test.attempts}"
            for number, more in enumerate(_folded(again, width - 6)):
                yield Line(("    " if number == 0 else "      ") + more, "warn")
    for (verdict, reason), (first, *others) in groups.items():
        who = f"{first} and {len(others)} more" if others else first
        text = f"{who}: {verdict}" + (f", {reason}" if reason else "")
        for number, more in enumerate(_folded(text, width - 6)):
            yield Line(("    " if number == 0 else "      ") + more, _TONES[verdict])


def _facts(result: RunResult, width: int) -> Iterator[Line]:
    text, tone = known_good_told(result.known_good)
    yield from _entry("known-good", text, width, tone)
    if tag := ready_tag(result):
        yield from _entry("ready", f"to be tagged {tag}", width, "good")
    for place in result.disposable:
        yield from _entry("disposable", f"{place.place}: {place.reason}", width, "warn")
    yield from _of_tiers(result, width)
    for path in result.coverage:
        if path.blocks:
            where = f"{path.service}:{path.target} ({path.kind} {path.source})"
            yield from _entry("not covered", f"{where}: {path.why}", width, "warn")
    if result.leftovers:
        yield from _entry("left behind", ", ".join(result.leftovers), width, "bad")
    time = where_time_went(result)
    if time:
        yield from _entry("time went to", " · ".join(f"{name} {seconds:.1f}" for name, seconds in time), width)
    built = sorted(image.ref for image in result.images if image.origin == "built")
    if built:
        yield from _entry("built here", ", ".join(built), width)
    for finding in result.findings:
        spot = f"{finding.file}:{finding.line}: " if finding.file else ""
        text = f"{finding.level}: {spot}{finding.where}: {finding.text} [{finding.code}]"
        yield from _entry("lint", text, width, "bad" if finding.level == "error" else "warn")
    for warning in result.warnings:
        yield from _entry("warning", warning, width, "warn")


def _of_tiers(result: RunResult, width: int) -> Iterator[Line]:
    """What tiers say of themselves that a reader of a green run must know too."""
    for facts in (tier.facts for tier in result.tiers if LEFT_OUT in tier.facts):
        yield from _entry("left out", f"{facts[LEFT_OUT]}: not in {facts.get('release', 'the base')}", width)
    for facts in (tier.facts for tier in result.tiers if ON_BASE in tier.facts):
        yield from _entry(ON_BASE, facts[ON_BASE], width)
    for tier in result.tiers:
        for label, tone in _COUNTS:
            if label in tier.facts:
                yield from _entry(label, f"{tier.tier}: {tier.facts[label]}", width, tone)
    unasked = next((tier.facts[UNASKED] for tier in result.tiers if UNASKED in tier.facts), "")
    if unasked:
        yield from _entry("not asked", f"whether it serves: {unasked}", width, "warn")


def known_good_told(change: KnownGoodChange) -> tuple[str, Tone]:
    """What became of the known-good, in a few words, and how that is meant."""
    after = change.after or "none"
    told: dict[str, tuple[str, Tone]] = {
        "none": ("not touched", "plain"),
        "unchanged": (f"{after}, unchanged", "good"),
        "promoted": (f"{change.before or 'none'} → {after}, promoted and re-read", "good"),
        "seeded": (f"{after}, seeded and re-read", "good"),
        "restored-and-proved": (f"{after}, restored and proved", "good"),
        "quarantined": (f"{change.before or 'none'}, QUARANTINED: not used again until somebody looks", "bad"),
        "failed": (f"{after}, kept: the promotion failed", "bad"),
    }
    text, tone = told[change.action]
    return (f"{text} ({change.reason})" if change.reason else text), tone


def _advice(result: RunResult, width: int, result_file: str) -> Iterator[Line]:
    if result.reproduce:
        # Never folded: it is to be copied.
        yield Line(f"  {'again with':<{_LABEL}}{result.reproduce}")
    if result_file:
        yield Line(f"  {'all of it in':<{_LABEL}}{result_file}", "dim")
    for kept in (tier.facts[KEPT_APP] for tier in result.tiers if KEPT_APP in tier.facts):
        yield from _entry(KEPT_APP, kept, width, "warn")
    if result.kept_work:
        yield from _entry("kept", result.kept_work, width, "dim")
    if result.known_good.action == "quarantined":
        yield from _entry("to do", f"ccci status {result.recipe}; then ccci restore or ccci reseed", width, "bad")


def _entry(label: str, text: str, width: int, tone: Tone = "plain") -> Iterator[Line]:
    for number, more in enumerate(_folded(text, width - _LABEL - 2)):
        yield Line(f"  {label if number == 0 else '':<{_LABEL}}{more}", tone)


def _folded(text: str, width: int) -> list[str]:
    rows = [
        row
        for line in text.strip().splitlines()
        for row in textwrap.wrap(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
    ]
    return rows or [""]
