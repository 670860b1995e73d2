"""Releases: tags ``<recipe semver>+<app version>``, ordered by the recipe half, then by the app half.

Never plain SemVer: there the part after the ``+`` would not count. The app half is whatever the app's makers write
(``v1.6.870-0``, ``1.0.6-social-amd64``), so it is compared loosely: numbers as numbers, the rest as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import total_ordering

__all__ = ["Release", "newest", "newest_older_than", "parse", "parse_bound", "sort_tags", "version_numbers"]

_RECIPE = re.compile(r"v?(\d{1,18})\.(\d{1,18})\.(\d{1,18})(?:-([0-9A-Za-z.-]+))?", re.ASCII)
_TOKEN = re.compile(r"\d+|[^\W\d_]+", re.ASCII)
_EARLY = frozenset({"alpha", "beta", "rc", "pre", "preview", "dev", "snapshot", "nightly"})

_Key = tuple[tuple[int, int, str], ...]
_END = (1, 0, "")


@total_ordering
@dataclass(frozen=True, eq=False)
class Release:
    """One release of a recipe. Equal and ordered by version, so two spellings of one version are not *older*."""

    tag: str
    recipe_half: str
    app_half: str

    @property
    def key(self) -> tuple[_Key, _Key]:
        """What releases are ordered by."""
        return _recipe_key(self.recipe_half), _loose_key(self.app_half) if self.app_half else ()

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Release) else NotImplemented

    def __lt__(self, other: Release) -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.tag


def parse(tag: str) -> Release | None:
    """The release that ``tag`` names, or ``None`` when it is no ``<recipe semver>+<app version>``."""
    recipe, plus, app = tag.partition("+")
    if not plus or not app or _RECIPE.fullmatch(recipe) is None:
        return None
    return Release(tag, recipe, app)


def parse_bound(text: str) -> Release | None:
    """From which version on something holds: a release, or a recipe version alone (``2.0.0``).

    The latter is not newer than any release of that recipe version, so that all of them are counted in.
    """
    return parse(text) or (Release(text, text, "") if _RECIPE.fullmatch(text) else None)


def sort_tags(tags: Iterable[str]) -> tuple[tuple[Release, ...], tuple[str, ...]]:
    """The releases among ``tags``, oldest first, and the tags that are none, to be shown and not forgotten."""
    found = {tag: parse(tag) for tag in sorted(tags)}
    releases = sorted(release for release in found.values() if release is not None)
    return tuple(releases), tuple(tag for tag, release in found.items() if release is None)


def newest(releases: Sequence[Release]) -> Release | None:
    """The newest of ``releases``, whatever their order."""
    return max(releases, default=None)


def newest_older_than(release: Release, releases: Sequence[Release]) -> Release | None:
    """The newest of ``releases`` that is strictly older than ``release``: an upgrade to itself proves nothing."""
    return max((each for each in releases if each < release), default=None)


def version_numbers(text: str) -> tuple[int, ...]:
    """The leading dotted numbers of a version (``v1.6.870-0`` → 1, 6, 870); empty when it does not begin so."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", text, re.ASCII | re.IGNORECASE)
    return tuple(int(part[:18]) for part in found[1].split(".")) if found else ()


def _recipe_key(text: str) -> _Key:
    found = _RECIPE.fullmatch(text)
    if found is None:  # a Release made by hand; parse() never makes one
        return _loose_key(text)
    numbers = tuple((3, int(found[at]), "") for at in (1, 2, 3))
    if not found[4]:
        return (*numbers, (9, 0, ""))
    # SemVer 2.0 §11: numeric identifiers are lower than textual ones; a shorter list is lower.
    early = ((2, int(part[:18]), "") if part.isdigit() else (3, 0, part) for part in found[4].split("."))
    return (*numbers, *early, _END)


def _loose_key(text: str) -> _Key:
    bare = text[1:] if re.match(r"[vV]\d", text) else text
    return (*(_token(part) for part in _TOKEN.findall(bare)), _END)


def _token(part: str) -> tuple[int, int, str]:
    if part[0].isdigit():
        return (3, int(part[:18]), "")
    word = part.lower()
    return (0 if word in _EARLY else 2, 0, word)
