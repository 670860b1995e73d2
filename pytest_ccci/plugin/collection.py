"""What of a recipe's folder becomes a test, and in which order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_ccci.plugin.items import RecipeFile, TierItem, base_of
from pytest_ccci.plugin.protocol import TIERS
from pytest_ccci.plugin.recipedir import RecipeDir, RecipeModule, recipe_dir_of

__all__ = ["in_order"]

_DESELECTED: pytest.StashKey[set[Path]] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A folder with a recipe.toml is a recipe."""
    if (path / "recipe.toml").is_file() and recipe_dir_of(parent) is None:
        return RecipeDir.from_parent(parent, path=path)
    return None


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Its recipe.toml holds the tiers."""
    if file_path.name == "recipe.toml" and isinstance(parent, RecipeDir):
        return RecipeFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Its test modules get names of their own."""
    if isinstance(parent, RecipeDir):
        return RecipeModule.from_parent(parent, path=module_path)
    return None


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember whose run will not be whole."""
    for item in items:
        folder = recipe_dir_of(item)
        if folder is not None:
            item.config.stash.setdefault(_DESELECTED, set()).add(folder.path)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """The last word on the order, after --ff, --lf and plugins that shuffle; before xdist sends the list off."""
    session.items[:] = in_order(session.items)
    partial = session.config.stash.get(_DESELECTED, set())
    for folder, items in _by_recipe(session.items).items():
        folder.tiers_selected = frozenset(item.tier for item in items if isinstance(item, TierItem))
        folder.whole = folder.path not in partial and _is_whole(folder, items)


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """``items`` with all of a recipe in one place, where its first was: tiers, the author's tests, settle.

    Where there is a run from each kept known-good, one run after the other.
    """
    groups = _by_recipe(items)
    done: set[RecipeDir] = set()
    ordered: list[pytest.Item] = []
    for item in items:
        folder = recipe_dir_of(item)
        if folder is None:
            ordered.append(item)
        elif folder not in done:
            done.add(folder)
            ordered.extend(sorted(groups[folder], key=lambda one: _rank(one, folder.bases)))
    return ordered


def _rank(item: pytest.Item, bases: Sequence[str]) -> tuple[int, int]:
    base = base_of(item)
    turn = bases.index(base) if base in bases else 0
    if not isinstance(item, TierItem):
        return turn, len(TIERS) - 1
    return turn, TIERS.index(item.tier) if item.tier != "settle" else len(TIERS)


def _by_recipe(items: Sequence[pytest.Item]) -> dict[RecipeDir, list[pytest.Item]]:
    groups: dict[RecipeDir, list[pytest.Item]] = {}
    for item in items:
        folder = recipe_dir_of(item)
        if folder is not None:
            groups.setdefault(folder, []).append(item)
    return groups


def _is_whole(folder: RecipeDir, items: Sequence[pytest.Item]) -> bool:
    """Nothing of the recipe was left out: asked for by folder, every tier, every test module beside recipe.toml."""
    start = folder.config.invocation_params.dir
    asked = [Path(os.path.abspath(start / argument)) for argument in folder.config.args if "::" not in argument]  # noqa: PTH100  resolve() would follow links
    if not any(path == folder.path or path in folder.path.parents for path in asked):
        return False
    modules = {item.path for item in items}
    patterns: list[str] = folder.config.getini("python_files")
    there = {path for pattern in patterns for path in folder.path.glob(pattern) if path.suffix == ".py"}
    return folder.tiers_selected == frozenset(TIERS) and there <= modules
