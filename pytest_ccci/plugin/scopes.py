"""Which tests must stay together when they are spread over workers."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

__all__ = ["recipe_folder", "scope_of"]


def recipe_folder(nodeid: str, root: Path) -> str | None:
    """The recipe folder, relative as in the node id, that a test belongs to; None for all other tests."""
    return _folder(nodeid.partition("::")[0], root)


def scope_of(nodeid: str, root: Path, dist: str) -> str:
    """The scope of a test: its recipe; for other tests what ``--dist`` asks for, by file where it asks for less."""
    folder = recipe_folder(nodeid, root)
    if folder is not None:
        return f"recipe {folder}"
    if dist == "loadscope":
        return nodeid.rpartition("::")[0]
    if dist == "loadgroup" and "@" in nodeid.rpartition("]")[2]:
        return nodeid.rpartition("@")[2]
    return nodeid.partition("::")[0]


@lru_cache(maxsize=4096)
def _folder(file: str, root: Path) -> str | None:
    folder = Path(file).parent
    return folder.as_posix() if (root / folder / "recipe.toml").is_file() else None
