"""The hooks of python sentinels, found in the conftest.py beside recipe.toml."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from pytest_ccci.errors import RecipeTomlError
from pytest_ccci.run.sentinels import Hooks

__all__ = ["load_hooks"]


def load_hooks(folder: Path) -> Hooks:
    """The hooks in ``folder/conftest.py`` (``ccci_seed``, ``ccci_check`` and so on), as far as they are there.

    Raises:
        RecipeTomlError: the file cannot be imported.
    """
    path = folder / "conftest.py"
    if not path.is_file():
        return Hooks()
    module = _already_imported(path) or _imported(path)
    found = {name: getattr(module, f"ccci_{name}", None) for name in ("seed", "check", "spoil", "documents")}
    return Hooks(**{name: hook for name, hook in found.items() if callable(hook)})


def _already_imported(path: Path) -> ModuleType | None:
    """The module as pytest imported it, so that the author's code runs once."""
    known = (module for module in tuple(sys.modules.values()) if getattr(module, "__file__", None))
    return next((module for module in known if Path(str(module.__file__)) == path), None)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ccci_hooks_of_{path.parent.name.replace('-', '_')}", path)
    if spec is None or spec.loader is None:
        raise RecipeTomlError("conftest.py cannot be imported", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeTomlError("conftest.py cannot be imported", where=str(path), seen=repr(error)) from error
    return module
