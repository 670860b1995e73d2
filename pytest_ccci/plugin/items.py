"""recipe.toml as a file of tests: one item per tier."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.plugin.outcomes import TierOutcome
from pytest_ccci.plugin.protocol import BASE, TIERS
from pytest_ccci.plugin.recipedir import RecipeDir
from pytest_ccci.plugin.untimed import untimed

if TYPE_CHECKING:
    from pytest_ccci.results.model import TierResult

__all__ = ["RecipeFile", "TierItem", "base_of"]


class TierItem(pytest.Item):
    """One tier of a run. The run does the work, here it is only told."""

    result: TierResult | None = None

    def __init__(self, *args: Any, tier: str, base: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tier = tier
        self.base = base

    def setup(self) -> None:
        """Perform the tier. All but a plain fail is raised here, where pytest counts it as an error."""
        run = self.recipe_dir.run
        if run is None:
            return
        with untimed():
            self.result = run.perform(self.tier)
        self._tell(self.result)
        if self.result.verdict == Verdict.SKIP:
            pytest.skip(self.result.reason or "no reason was given")
        if self.result.verdict in {Verdict.ERROR, Verdict.UNVERIFIED}:
            raise TierOutcome(self.result)

    def _tell(self, result: TierResult) -> None:
        reason = result.reason.strip().partition("\n")[0]
        text = f"{self.tier}: {result.verdict} after {result.seconds:.1f} s" + (f": {reason}" if reason else "")
        self.recipe_dir.tell(text)

    def runtest(self) -> None:
        """Fail when the recipe failed."""
        if self.result is not None and self.result.verdict != Verdict.PASS:
            raise TierOutcome(self.result)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """The recipe.toml, and the tier."""
        return self.path, 0, self.name

    @property
    def recipe_dir(self) -> RecipeDir:
        """The recipe this tier belongs to."""
        found = self.getparent(RecipeDir)
        assert found is not None  # noqa: S101  only a RecipeDir collects these
        return found


class RecipeFile(pytest.File):
    """A recipe.toml."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_marker(pytest.mark.ccci)

    def collect(self) -> Iterable[pytest.Item]:
        """The tiers, in order; once for each kept known-good where that was asked for."""
        folder = self.getparent(RecipeDir)
        bases = folder.bases if folder is not None else ()
        return [
            TierItem.from_parent(self, name=f"{tier}[{base}]" if base else tier, tier=tier, base=base)
            for base in bases or ("",)
            for tier in TIERS
        ]


def base_of(item: pytest.Item) -> str:
    """The kept known-good from which the item's run starts, by release; empty where there is only one run."""
    if isinstance(item, TierItem):
        return item.base
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get(BASE, "")) if callspec is not None else ""
