"""A recipe's own tests without pytest: called one after another, their fixtures made by hand."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["run_checks"]


def run_checks(folder: Path, app: Any, realm: Any) -> None:
    """Run the tests of the recipe in ``folder``; the first that fails raises."""
    shared = _module(folder / "conftest.py")
    for path in sorted(folder.glob("test_*.py")):
        for name, test in vars(_module(path)).items():
            if name.startswith("test_"):
                with ExitStack() as opened:
                    made: dict[str, Any] = {"app": app, "keycloak_realm": realm}
                    test(**_arguments(test, shared, made, opened))


def _arguments(call: Callable[..., Any], shared: ModuleType, made: dict[str, Any], opened: ExitStack) -> dict[str, Any]:
    return {name: _fixture(name, shared, made, opened) for name in inspect.signature(call).parameters}


def _fixture(name: str, shared: ModuleType, made: dict[str, Any], opened: ExitStack) -> Any:
    if name not in made:
        function = getattr(shared, name)._get_wrapped_function()  # noqa: SLF001  pytest's own way to the function
        arguments = _arguments(function, shared, made, opened)
        if inspect.isgeneratorfunction(function):
            made[name] = opened.enter_context(contextmanager(function)(**arguments))
        else:
            made[name] = function(**arguments)
    return made[name]


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"floor_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
