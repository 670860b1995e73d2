"""A chart as SVG text: one line per series over a few categories, seconds on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["draw"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND = 1000, 560, 70, 30, 60, 330
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888", "#000000", "#dd8800")

Point = tuple[str, str, float]
"""Category, series, seconds."""


def draw(points: Sequence[Point]) -> str:
    """The chart."""
    categories = list(dict.fromkeys(category for category, _, _ in points))
    series = list(dict.fromkeys(name for _, name, _ in points))
    low = math.floor(math.log10(min(seconds for _, _, seconds in points)))
    high = math.ceil(math.log10(max(seconds for _, _, seconds in points)))
    right = _WIDTH - _LEGEND

    def x(category: str) -> float:
        return _LEFT + (right - _LEFT) * (categories.index(category) + 0.5) / len(categories)

    def y(seconds: float) -> float:
        share = (math.log10(seconds) - low) / max(high - low, 1)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="11"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="white"/>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for category in categories:
        for row, text in enumerate(category.split(", ")):
            at = _HEIGHT - _BOTTOM + 20 + 14 * row
            parts.append(f'<text x="{x(category):.1f}" y="{at}" text-anchor="middle">{escape(text)}</text>')
    for number, name in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = "" if number < len(_COLOURS) else ' stroke-dasharray="5 3"'
        found = [(x(category), y(seconds)) for category, other, seconds in points if other == name]
        line = " ".join(f"{left:.1f},{top:.1f}" for left, top in found)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in found]
        at = _TOP + 18 * number
        parts.append(f'<rect x="{right + 16}" y="{at - 8}" width="12" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{right + 34}" y="{at}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
