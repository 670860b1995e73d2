"""What the seams of `backend` do unless a test plants something else. The heavy imports are here, and late."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from pytest_ccci.plugin.backend import RecipeRun, WarmView
from pytest_ccci.settings import Settings

if TYPE_CHECKING:
    from pytest_ccci.plugin.recipedir import RecipeDir
    from pytest_ccci.recipe.spec import RecipeSpec

__all__: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_ccci_load_spec(path: Path) -> RecipeSpec:
    """Parse strictly; raises RecipeTomlError."""
    from pytest_ccci.recipe.spec import load_spec  # noqa: PLC0415  inert until a recipe is collected

    return load_spec(path)


@pytest.hookimpl(trylast=True)
def pytest_ccci_bases(spec: RecipeSpec, settings: Settings) -> tuple[str, ...]:
    """Look at the record."""
    from pytest_ccci.run import known_good  # noqa: PLC0415  inert until each kept known-good is asked for

    return known_good.kept_releases(settings, spec.name) if spec.canonical else ()


@pytest.hookimpl(trylast=True)
def pytest_ccci_explain(spec: RecipeSpec, settings: Settings) -> tuple[str, ...]:
    """As ``ccci explain``."""
    from pytest_ccci.ops import explain  # noqa: PLC0415  inert until somebody asks what would be done
    from pytest_ccci.statedir import open_state  # noqa: PLC0415  the same

    found = explain.explain(spec, settings, open_state(settings.state_dir))
    return tuple(line.text for line in explain.explained_lines(found))


@pytest.hookimpl(trylast=True)
def pytest_ccci_open_run(
    spec: RecipeSpec,
    settings: Settings,
    tiers_selected: frozenset[str],
    whole: bool,
    folder: RecipeDir,
) -> RecipeRun:
    """Open the real run."""
    from pytest_ccci.ops import prune  # noqa: PLC0415  inert until a recipe is run
    from pytest_ccci.run import session  # noqa: PLC0415  the same
    from pytest_ccci.run.attached import AuthorsTests  # noqa: PLC0415  the same

    run = session.open_run(
        spec,
        settings,
        tiers_selected=tiers_selected,
        whole=whole,
        tests=AuthorsTests(folder.functions, folder.config.rootpath, folder.config.inipath),
        make_room=lambda run_id: prune.make_room(settings, run_id),
    )
    return cast(RecipeRun, run)


@pytest.hookimpl(trylast=True)
def pytest_ccci_lease(settings: Settings) -> AbstractContextManager[object]:
    """Lease on the warm Keycloak."""
    from pytest_ccci.run import fixtures  # noqa: PLC0415  inert until a realm is asked for

    return fixtures.lease_for_tests(settings)


@pytest.hookimpl(trylast=True)
def pytest_ccci_warm_view(folder: Path, settings: Settings) -> WarmView:
    """Read the kept state."""
    from pytest_ccci.run import fixtures  # noqa: PLC0415  inert until a canonical is asked for

    return cast(WarmView, fixtures.warm_view_for_tests(folder, settings))
