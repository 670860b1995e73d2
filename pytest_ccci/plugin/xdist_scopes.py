"""Under pytest-xdist: which tests must stay together, told from their node ids alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

__all__ = ["RECIPE", "recipe_folder", "scope_of"]

# What the scope of a recipe's tests begins with.
RECIPE = "recipe "


def recipe_folder(nodeid: str, root: Path) -> str | None:
    """The recipe folder, relative as in the node id, that a test belongs to; None for all other tests."""
    return _folder(nodeid.partition("::")[0], root)


def scope_of(nodeid: str, root: Path, dist: str) -> str:
    """The scope of a test: its recipe; for other tests what ``--dist`` asks for, by file where it asks for less."""
    folder = recipe_folder(nodeid, root)
    if folder is not None:
        return f"{RECIPE}{folder}"
    if dist == "loadscope":
        return nodeid.rpartition("::")[0]
    if dist == "loadgroup" and "@" in nodeid.rpartition("]")[2]:
        return nodeid.rpartition("@")[2]
    return nodeid.partition("::")[0]


@lru_cache(maxsize=4096)
def _folder(file: str, root: Path) -> str | None:
    # The outermost: a recipe's tests may lie in sub-folders, and a recipe within a recipe is not collected.
    up = Path(file).parts.count("..")
    above = [folder for folder in Path(file).parents if len(folder.parts) >= up]
    inside_out = [folder for folder in above if (root / folder / "recipe.toml").is_file()]
    return inside_out[-1].as_posix() if inside_out else None
