"""What a recipe's folder holds of its author's tests, as no selection, cache or plugin can shrink it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pytest_ccci.plugin.backend import BASE
from pytest_ccci.plugin.helpers import EXCLUDED

__all__ = ["Contents", "Listed", "base_param", "modules_in"]

_NAMING = ("python_files", "python_classes", "python_functions", "norecursedirs")
_USUAL = ("test_*.py", "*_test.py")


@dataclass(frozen=True)
class Listed:
    """One test that is there. ``marked``: its author skips it, or expects it to fail, by a marker with a reason."""

    nodeid: str
    base: str = ""
    marked: bool = False


class Contents:
    """Keeps what each collector of a folder found, before anybody could take something away from it.

    That is earlier than ``--lf`` and ``pytest_collection_modifyitems``. A collector that was never asked, such as a
    class beside the one that a node id names, is told as not collected.
    """

    def __init__(self) -> None:
        # By kind and node id: files that are named one by one make pytest collect their folder anew for each.
        self._found: dict[tuple[type, str], tuple[pytest.Collector | Listed, ...] | str] = {}

    def collected(self, collector: pytest.Collector, report: pytest.CollectReport) -> None:
        """Note what ``collector`` found; ``report`` is the first one made of it."""
        if not hasattr(report, "call"):
            return  # somebody answered in its place: it was not asked
        if report.outcome == "passed":
            self._found[type(collector), collector.nodeid] = tuple(_noted(node) for node in report.result)
        else:
            self._found[type(collector), collector.nodeid] = f"could not be collected ({report.outcome})"

    def listed(self, folder: pytest.Collector) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        """The author's tests in ``folder``; and what of it could not be listed."""
        tests: dict[str, Listed] = {}
        problems = [*_narrowed(folder)]
        files: set[Path] = set()
        told: set[Path] = set()
        todo: list[pytest.Collector] = [folder]
        while todo:
            collector = todo.pop(0)
            found = self._found.get((type(collector), collector.nodeid))
            if found is None and isinstance(collector, pytest.Directory):
                continue  # it may hold no tests; of those that it holds the modules are missing below
            if found is None or isinstance(found, str):
                whole = isinstance(collector, pytest.File | pytest.Directory)
                name = _below(folder, collector.path) if whole else collector.name
                problems.append(f"{name} {found or 'was not collected'}")
                told.add(collector.path)
                continue
            files.add(collector.path)
            tests.update((one.nodeid, one) for one in found if isinstance(one, Listed))
            todo.extend(one for one in found if isinstance(one, pytest.Collector) and one.name != "recipe.toml")
        there = modules_in(folder, {*folder.config.getini("python_files"), *_USUAL}) - files - told
        problems.extend(f"{_below(folder, path)} was not collected" for path in sorted(there))
        return tuple(tests.values()), tuple(problems)


def base_param(item: pytest.Item) -> str:
    """The kept known-good that a test of the author's is parametrized with; empty where there is only one run."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get(BASE, "")) if callspec is not None else ""


def _noted(node: pytest.Item | pytest.Collector) -> pytest.Collector | Listed:
    if isinstance(node, pytest.Collector):
        return node
    return Listed(node.nodeid, base_param(node), any(_reasons(node)))


def _reasons(item: pytest.Item) -> Iterator[str]:
    """The reasons with which the item's author skips it or expects it to fail. Nobody else has marked it yet."""
    params: dict[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    if any(type(value).__name__ == "NotSetType" for value in params.values()):
        return  # an empty list of parameters, which pytest itself marks as skipped
    for name in ("skip", "skipif", "xfail"):
        for marker in item.iter_markers(name):
            given = marker.kwargs.get("reason") or (marker.args[0] if name == "skip" and marker.args else "")
            yield str(given).strip()


def modules_in(folder: pytest.Collector, patterns: Iterable[str]) -> set[Path]:
    """The test modules that lie in ``folder`` and below it, collected or not; never the recipe's own source."""
    never: list[str] = [*folder.config.getini("norecursedirs"), *EXCLUDED]
    found: set[Path] = set()
    for place, below, files in os.walk(folder.path):
        below[:] = [name for name in below if not any(fnmatch(name, pattern) for pattern in never)]
        below[:] = [name for name in below if not Path(place, name, "pyvenv.cfg").is_file()]
        modules = [Path(place, name) for name in files if name.endswith(".py")]
        found.update(path for path in modules if any(path.match(pattern) for pattern in patterns))
    return found


def _below(folder: pytest.Collector, path: Path) -> str:
    return path.relative_to(folder.path).as_posix()


def _narrowed(folder: pytest.Collector) -> Iterator[str]:
    """Options that make tests fewer or weaker without taking any of them away."""
    option = folder.config.option
    for given in getattr(option, "override_ini", None) or ():
        if given.partition("=")[0].strip() in _NAMING:
            yield f"the names of tests were changed by -o {given}"
    if getattr(option, "noconftest", False) and (folder.path / "conftest.py").is_file():
        yield "conftest.py was left out by --noconftest"
    if sys.flags.optimize and getattr(option, "assertmode", "") == "plain":
        yield "assertions were off (python -O with --assert=plain)"
