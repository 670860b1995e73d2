"""The recipe's files at each commit that a run uses: checked out once, into the run's own directory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.tree import RecipeTree

__all__ = ["Trees"]


@dataclass
class Trees:
    """Trees of one run below ``folder``, one per commit."""

    mirror: Mirror
    folder: Path
    _known: dict[str, RecipeTree] = field(default_factory=dict)

    def of(self, head: Head) -> RecipeTree:
        """The tree of ``head``.

        Raises:
            RecipeInvalid: it is no recipe.
        """
        key = f"{head.commit}{'-dirty' if head.dirty else ''}"
        if key not in self._known:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._known[key] = self.mirror.checkout(head, self.folder / key[:20])
        return self._known[key]
