"""Release notes: ``release/<version>`` (some recipes: ``releaseNotes/<version>.md``), also of releases passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.releases import Release
from pytest_ccci.recipe.tree import RecipeTree

__all__ = ["Note", "notes_between"]

_PLACES = ("release/{}", "releaseNotes/{}.md")


@dataclass(frozen=True)
class Note:
    """The note of one version, as plain text."""

    version: str
    text: str


def notes_between(
    tree: RecipeTree, base: Release | None, head: Release | None, releases: Sequence[Release]
) -> tuple[Note, ...]:
    """The notes somebody must read who goes from ``base`` to ``head``, oldest first: those in between count too.

    ``head`` of ``None`` is an unreleased state: everything after ``base``, and then ``release/next``.
    """
    passed = [each for each in sorted(releases) if (base is None or each > base) and (head is None or each <= head)]
    names = [each.tag for each in passed] if base is not None or head is None else [head.tag]
    if head is not None and head.tag not in names:
        names.append(head.tag)
    if head is None:
        names.append("next")
    found = (Note(name, _text(tree, name)) for name in names)
    return tuple(note for note in found if note.text)


def _text(tree: RecipeTree, version: str) -> str:
    for place in _PLACES:
        try:
            return tree.file(place.format(version)).read_text(encoding="utf-8", errors="replace").strip()
        except RecipeInvalid:  # no such note, or a version that would lead out of the folder
            continue
    return ""
