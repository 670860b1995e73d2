"""A recipe's files at one commit, read as data, and its release notes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.releases import Release

__all__ = ["Head", "Note", "RecipeTree", "check_links", "is_file", "notes_between", "open_tree"]


@dataclass(frozen=True)
class Head:
    """What a ref means: one commit. ``dirty``: a working tree with changes, never to be promoted.

    ``version`` is the release's tag, else the short commit (with ``+U`` when dirty, as abra writes it).
    ``lightweight``: the release's tag is no annotated one.
    """

    ref: str
    commit: str
    release: Release | None = None
    branch: str | None = None
    dirty: bool = False
    version: str = ""
    lightweight: bool = False

    @property
    def short(self) -> str:
        """The short commit, ``+U`` behind it when dirty."""
        return self.commit[:8] + ("+U" if self.dirty else "")


@dataclass(frozen=True)
class RecipeTree:
    """The files of a recipe in a directory of their own."""

    path: Path
    head: Head

    @cached_property
    def env_sample(self) -> str:
        """The text of ``.env.sample``; empty when there is none."""
        return self.read(".env.sample")

    @cached_property
    def abra_sh(self) -> str:
        """The text of ``abra.sh``; empty when there is none. Never executed."""
        return self.read("abra.sh")

    @property
    def compose_files(self) -> tuple[Path, ...]:
        """Every ``compose*.yml`` of the recipe, also those no chain names, sorted."""
        return tuple(sorted((*self.path.glob("compose*.yml"), *self.path.glob("*/compose*.yml"))))

    def read(self, relative: str) -> str:
        """The text of a file of the recipe; empty when there is none."""
        path = self.path / relative
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def file(self, relative: str) -> Path:
        """The file ``relative`` of the recipe.

        Raises:
            RecipeInvalid: it is not there, or outside the recipe.
        """
        if not self.has(relative):
            raise RecipeInvalid(f"there is no file {relative}", where=self.where, seen=_beside(self.path))
        return self._within(relative)

    def has(self, relative: str) -> bool:
        """Whether the file ``relative`` is there.

        Raises:
            RecipeInvalid: it would be outside the recipe.
        """
        return is_file(self._within(relative))

    def _within(self, relative: str) -> Path:
        path = Path(os.path.normpath(self.path / relative))
        if Path(relative).is_absolute() or not path.is_relative_to(self.path) or path == self.path:
            raise RecipeInvalid(f"{relative!r} lies outside the recipe", where=self.where)
        return path

    @property
    def where(self) -> str:
        """The version, for messages."""
        return f"version {self.head.version or self.head.short}"


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; one that cannot be, for the length or the signs of its name, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def open_tree(path: Path, head: Head) -> RecipeTree:
    """The recipe in ``path``.

    Raises:
        RecipeInvalid: it has no ``compose.yml``, or a link that leaves it.
    """
    tree = RecipeTree(path, head)
    check_links(path, where=tree.where)
    if not (path / "compose.yml").is_file():
        raise RecipeInvalid(
            "there is no compose.yml",
            where=tree.where,
            seen=_beside(path),
            advice="a recipe's services stand in compose.yml at its top",
        )
    return tree


def check_links(path: Path, *, where: str) -> None:
    """Refuse symbolic links that leave ``path``: what a recipe names is read as its own file."""
    root = path.resolve()
    for link in _links(path):
        try:
            target = link.resolve()
        except (OSError, RuntimeError):  # a loop: RuntimeError up to Python 3.12
            target = Path("/")
        if target.is_symlink() or not target.is_relative_to(root):  # still a link: a loop, since Python 3.13
            raise RecipeInvalid(
                f"the symbolic link {link.relative_to(path)} leaves the recipe",
                where=where,
                advice="put the file itself into the recipe",
            )


def _links(path: Path) -> Iterable[Path]:
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            entry = Path(folder, name)
            if entry.is_symlink():
                yield entry


def _beside(path: Path) -> str:
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    return "the recipe holds " + (", ".join(names[:12]) or "nothing") + (", …" if len(names) > 12 else "")  # noqa: PLR2004  a list a person still reads


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
