"""Where a run's seconds went."""

from __future__ import annotations

from collections import defaultdict

from pytest_ccci.results.model import RunResult

__all__ = ["where_time_went"]

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
