"""Imports go down only: cli, plugin → proofs → ops → run → results → warm → store → engine → recipe → doors."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_ccci.process import run as run_program

Sources = tuple[Any, ...]  # of conftest's Source, which a test module cannot import

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "settings", "process", "waiting", "web", "locks", "progress", "redact", "statedir"}),
    frozenset({"recipe"}),
    frozenset({"engine"}),
    frozenset({"store"}),
    frozenset({"warm"}),
    frozenset({"results"}),
    frozenset({"run"}),
    frozenset({"ops"}),
    frozenset({"proofs"}),
    frozenset({"cli", "plugin"}),
)
HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer}


def imported(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every module that is imported, also inside functions: ``from a.b import c`` gives ``a.b.c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((node, f"{dots}{node.module or ''}.{alias.name}") for alias in node.names)


def upward(sources: Sources) -> list[str]:
    """Imports that do not go down, and relative ones."""
    found = []
    for source in sources:
        for node, name in imported(source.tree):
            if name.startswith("."):
                found.append(source.at(node, f"relative import {name}"))
            if not name.startswith("pytest_ccci.") or not source.part:
                continue
            there = name.split(".")[1]
            if there == source.part or there.startswith("__"):
                continue
            doors = HEIGHT.get(there) == 0 and HEIGHT[source.part] == 0
            if not doors and HEIGHT.get(there, 99) >= HEIGHT[source.part]:
                found.append(source.at(node, f"imports {there}, which is not below {source.part}"))
    return found


def unknown_parts(sources: Sources) -> set[str]:
    """Parts of the package that have no place in the order."""
    return {source.part for source in sources if source.part} - set(HEIGHT)


def test_every_part_of_the_package_has_its_place_in_the_order(package: Sources) -> None:
    assert unknown_parts(package) == set()


def test_imports_are_absolute_and_go_down_only(package: Sources) -> None:
    assert upward(package) == []


def test_the_doors_do_not_import_each_other_in_a_circle(package: Sources) -> None:
    below: dict[str, set[str]] = {
        source.name: {name.split(".")[1] for _, name in imported(source.tree) if name.startswith("pytest_ccci.")}
        for source in package
        if HEIGHT.get(source.part) == 0
    }
    while below:
        free = {door for door, needs in below.items() if not needs & set(below)}
        assert free, f"a circle: {below}"
        below = {door: needs for door, needs in below.items() if door not in free}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("store.planted", "from pytest_ccci.run.plan import decide"),
        ("recipe.planted", "def f():\n    import pytest_ccci.engine.client"),
        ("engine.planted", "from pytest_ccci import store"),
        ("process", "from pytest_ccci.recipe import git"),
        ("cli.planted", "from pytest_ccci.plugin import options"),
        ("run.planted", "from . import plan"),
        (
            "results.planted",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pytest_ccci.run import plan",
        ),
    ],
)
def test_a_planted_import_upwards_is_found(planted: Callable[[str, str], Sources], name: str, code: str) -> None:
    assert len(upward(planted(name, code))) == 1


def test_a_planted_part_without_a_place_is_found(planted: Callable[[str, str], Sources]) -> None:
    assert unknown_parts(planted("extras.planted", "")) == {"extras"}


HEAVY = (
    "docker",
    "keycloak",
    "jinja2",
    "requests",
    "urllib3",
    "cryptography",
    "pydantic",
    "yaml",
    "rich",
    "filelock",
    "xdist",
    "websocket",
)


def test_the_plugin_is_light_until_a_recipe_is_collected() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import pytest_ccci.plugin; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    new = set(run_program([sys.executable, "-c", code], timeout=60).stdout.split())
    assert "pytest_ccci" in new
    assert new & set(HEAVY) == set()
