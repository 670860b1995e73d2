"""What differs between a run and the last green one of its recipe: pure, from their two results."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

from pytest_ccci.results.model import RunResult

__all__ = ["Difference", "differences"]

_SLOWER = 1.5
_AT_LEAST = 1.0
_LINES = 2000
_LINE = 2000
# What differs between two times that the same thing is said.
_PASSING = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?|\b0x[0-9a-fA-F]+\b|\b[0-9a-f]{8,}\b|\d+"
)


@dataclass(frozen=True)
class Difference:
    """One kind of difference, with a line for each."""

    title: str
    lines: tuple[str, ...]


def differences(run: RunResult, green: RunResult) -> tuple[Difference, ...]:
    """What is other in ``run`` than in ``green``, kind by kind; none where nothing is."""
    kinds = (
        ("Versions", _versions(run, green)),
        ("Images", _images(run, green)),
        ("Environment", _environment(run, green)),
        ("Durations", _durations(run, green)),
        ("New log lines", _new_lines(run, green)),
    )
    found = ((title, tuple(lines)) for title, lines in kinds)
    return tuple(Difference(title, lines) for title, lines in found if lines)


def _versions(run: RunResult, green: RunResult) -> Iterator[str]:
    for name, mine, other in (("base", run.base, green.base), ("head", run.head, green.head)):
        before = f"{other.version} ({other.commit[:10]})" if other else "none"
        now = f"{mine.version} ({mine.commit[:10]})" if mine else "none"
        if before != now or (mine and other and mine.commit != other.commit):
            yield f"{name}: {before} → {now}"


def _images(run: RunResult, green: RunResult) -> Iterator[str]:
    """By repository, so that a new tag is a change and not one that came and one that went."""
    before, now = _by_name(green), _by_name(run)
    for name in sorted({*before, *now}):
        was, is_now = before.get(name, {}), now.get(name, {})
        if was.keys() != is_now.keys():
            yield f"{name}: {', '.join(was) or 'not there'} → {', '.join(is_now) or 'not there'}"
        for tag in sorted(was.keys() & is_now.keys()):
            if was[tag] != is_now[tag]:
                yield f"{name}:{tag} moved: {was[tag][:19]} → {is_now[tag][:19]}"


def _by_name(run: RunResult) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for image in run.images:
        plain = image.ref.partition("@")[0]
        name, colon, tag = plain.rpartition(":")
        if not colon or "/" in tag:
            name, tag = plain, "latest"
        found[name][tag] = image.digest or image.image_id
    return found


def _environment(run: RunResult, green: RunResult) -> Iterator[str]:
    groups: tuple[tuple[str, Mapping[str, str], Mapping[str, str]], ...] = (
        ("engine ", run.engine, green.engine),
        ("", run.infra, green.infra),
        ("setting ", run.settings, green.settings),
        ("", _lasting(run), _lasting(green)),
    )
    for what, mine, other in groups:
        for name in sorted({*mine, *other}):
            if mine.get(name) != other.get(name):
                yield f"{what}{name}: {other.get(name, 'not set')} → {mine.get(name, 'not set')}"


def _lasting(run: RunResult) -> dict[str, str]:
    """What the app was interpolated with, but for what each run has of its own: domain, stack and realm."""
    own = (run.domain, run.domain.replace(".", "_"), run.run_id)
    return {
        name: reduce(lambda text, one: text.replace(one, "…") if one else text, own, value)
        for name, value in run.environment.items()
    }


def _durations(run: RunResult, green: RunResult) -> Iterator[str]:
    """Steps that took half as long again, or two thirds, and a second more or less."""
    mine, other = _took(run), _took(green)
    for key in mine:
        before, now = other.get(key), mine[key]
        if before is None or abs(now - before) < _AT_LEAST:
            continue
        if now > before * _SLOWER or before > now * _SLOWER:
            yield f"{key[0]}, {key[1]}: {before:.1f} s → {now:.1f} s"


def _took(run: RunResult) -> dict[tuple[str, str], float]:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for tier in run.tiers:
        for step in tier.steps:
            sums[tier.tier, step.name] += step.seconds
    return sums


def _new_lines(run: RunResult, green: RunResult) -> Iterator[str]:
    """Lines of the evidence that the green run has not, but for times and numbers in them."""
    known = {shape for _, shape in _lines(green)}
    for line, shape in _lines(run):
        if shape not in known:
            known.add(shape)
            yield line


def _lines(run: RunResult) -> Iterator[tuple[str, str]]:
    for tier in run.tiers:
        for each in tier.evidence:
            text = each.text[-(_LINES * _LINE // 10) :]
            for line in text.splitlines()[-_LINES:]:
                short = line.strip()[:_LINE]
                if short:
                    yield short, _PASSING.sub("#", short)
