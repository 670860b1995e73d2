"""The hooks of our own, by which the plugin asks for a run: the seams where tests put a fake."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import RecipeRun, WarmView
    from pytest_ccci.plugin.recipedir import RecipeDir
    from pytest_ccci.recipe.spec import RecipeSpec
    from pytest_ccci.settings import Settings

__all__ = [
    "pytest_ccci_bases",
    "pytest_ccci_explain",
    "pytest_ccci_lease",
    "pytest_ccci_load_spec",
    "pytest_ccci_open_run",
    "pytest_ccci_warm_view",
]


@pytest.hookspec(firstresult=True)
def pytest_ccci_load_spec(path: Path) -> RecipeSpec | None:
    """The spec in the ``recipe.toml`` at ``path``."""


@pytest.hookspec(firstresult=True)
def pytest_ccci_bases(spec: RecipeSpec, settings: Settings) -> tuple[str, ...] | None:
    """The releases of which a known-good is kept, in the order in which a run from each is made."""


@pytest.hookspec(firstresult=True)
def pytest_ccci_explain(spec: RecipeSpec, settings: Settings) -> tuple[str, ...] | None:
    """What a run would do, in lines for people; nothing is deployed or locked."""


@pytest.hookspec(firstresult=True)
def pytest_ccci_open_run(
    spec: RecipeSpec,
    settings: Settings,
    tiers_selected: frozenset[str],
    whole: bool,
    folder: RecipeDir,
) -> RecipeRun | None:
    """Open the run of the recipe in ``folder``. ``whole`` is true when nothing of the recipe was deselected."""


@pytest.hookspec(firstresult=True)
def pytest_ccci_lease(settings: Settings) -> AbstractContextManager[object] | None:
    """A realm lease for tests outside a recipe folder."""


@pytest.hookspec(firstresult=True)
def pytest_ccci_warm_view(folder: Path, settings: Settings) -> WarmView | None:
    """The canonical and snapshot of the recipe in ``folder``, for tests outside it."""
