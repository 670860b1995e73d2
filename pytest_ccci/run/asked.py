"""What was asked for and cannot be: said before anything is locked, started or deployed."""

from __future__ import annotations

from pytest_ccci.errors import OptionError
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.run.plan import promotion_of
from pytest_ccci.settings import Settings

__all__ = ["require_reseedable"]


def require_reseedable(spec: RecipeSpec, settings: Settings, head: Head, mirror: Mirror, *, whole: bool) -> None:
    """Refuse a reseed that could not end in a known-good, however green the run.

    Raises:
        OptionError: says why.
    """
    found = promotion_of(
        mode=settings.mode,
        enrolled=spec.canonical,
        head=head,
        releases=mirror.releases(),
        whole=whole,
        green=True,
    )
    if not found.eligible:
        raise OptionError(
            f"there is nothing to reseed by this run: {found.reason}",
            where=str(spec.file),
            advice="ccci reseed with the recipe's folder: a whole cold run of its latest release",
        )
