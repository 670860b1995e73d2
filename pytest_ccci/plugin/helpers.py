"""What a recipe's tests import from beside them, each recipe's apart from every other's.

Test modules and conftest files of recipes are imported in pytest's importlib mode, which leaves ``sys.path`` alone: two
recipes may have a ``test_app.py`` each. Their helpers need the same: ``from helpers import x`` finds the recipe's own
``helpers.py``, also where another recipe, or the suite around, has one of that name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["EXCLUDED", "Helpers", "helpers_of"]

# Sub-folders of a recipe that hold the recipe's own source, never tests.
EXCLUDED = frozenset({"images", "releases"})

# Not a helper's: what we import late, while a recipe's helpers can be imported, must stay what it is.
_RESERVED = sys.stdlib_module_names | {
    "apprise",
    "cryptography",
    "docker",
    "execnet",
    "filelock",
    "jinja2",
    "keycloak",
    "playwright",
    "pluggy",
    "pycrdt",
    "pydantic",
    "pyrage",
    "pytest",
    "pytest_ccci",
    "requests",
    "rich",
    "urllib3",
    "websocket",
    "xdist",
    "yaml",
    "zstandard",
}
_HELPERS: pytest.StashKey[dict[Path, Helpers]] = pytest.StashKey()


class Helpers:
    """The modules beside the tests of one recipe; a finder of ``sys.meta_path`` while they can be imported."""

    def __init__(self, folder: Path) -> None:
        self._places = [folder]
        self._modules: dict[str, ModuleType] = {}
        self._depth = 0
        self._names = _modules_in(folder)

    def add(self, folder: Path) -> None:
        """Find modules in a sub-folder with tests as well, after those of the recipe's folder."""
        if folder not in self._places:
            self._places.append(folder)
            self._names |= _modules_in(folder)

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Let the modules be imported meanwhile. Others of the same names are put aside."""
        if self._depth:
            yield
            return
        aside = self._take_out()
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            sys.meta_path.remove(self)
            self._modules = self._take_out()
            sys.modules.update(aside)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a top-level module of the recipe; all that lies within one is found by the usual finders."""
        if path is not None or fullname not in self._names:
            return None
        return PathFinder.find_spec(fullname, [str(place) for place in self._places], target)

    def _take_out(self) -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] in self._names]
        return {name: sys.modules.pop(name) for name in names}


def _modules_in(folder: Path) -> set[str]:
    files = {path.stem for path in folder.glob("*.py")}
    packages = {path.parent.name for path in folder.glob("*/*.py")} - EXCLUDED
    return {name for name in files | packages if name.isidentifier()} - _RESERVED - {"conftest"}


def helpers_of(config: pytest.Config, folder: Path) -> Helpers:
    """The helpers of the recipe in ``folder``, the same object all session long."""
    known = config.stash.setdefault(_HELPERS, {})
    if folder not in known:
        known[folder] = Helpers(folder)
    return known[folder]
