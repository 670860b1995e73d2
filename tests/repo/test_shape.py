"""What every module declares, and what every ignore owes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sources = tuple[Any, ...]  # of conftest's Source, which a test module cannot import

Function = ast.FunctionDef | ast.AsyncFunctionDef


def undeclared(sources: Sources) -> list[str]:
    """Modules without a docstring, or that do not say what of them is public."""
    found = []
    for source in sources:
        tree = source.tree
        if ast.get_docstring(tree) is None:
            found.append(f"{source.name}: no docstring")
        targets = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        if tree.body[1:] and "__all__" not in targets:
            found.append(f"{source.name}: no __all__")
    return found


def bare_ignores(files: dict[str, str]) -> list[str]:
    """Ignores without a code or without a reason."""
    good_noqa = re.compile(r"#\s*noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*  ?[^\s#,]")
    good_type = re.compile(r"#\s*type: ignore\[[a-z, -]+\]  # \S")
    good_cover = re.compile(r"#\s*pragma: no cover  ?\S")
    rules = (("noqa", good_noqa), ("type: ignore", good_type), ("pragma: no cover", good_cover))
    return [
        f"{name}:{number}: {line.strip()[-80:]}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        for word, good in rules
        if re.search(rf"#\s*{word}", line) and not good.search(line)
    ]


def test_every_module_says_what_it_is_and_what_of_it_is_public(package: Sources) -> None:
    assert undeclared(package) == []


def test_every_public_name_that_is_declared_exists(package: Sources) -> None:
    found = []
    for source in package:
        bound = {node.id for node in ast.walk(source.tree) if isinstance(node, ast.Name)}
        bound |= {node.name for node in source.tree.body if isinstance(node, Function | ast.ClassDef)}
        bound |= {
            alias.asname or alias.name
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        declared = re.search(r"^__all__(?:: [^=]+)? = (\[[^]]*\]|\([^)]*\))", source.text, re.MULTILINE)
        names = ast.literal_eval(declared[1]) if declared else ()
        found += [f"{source.name}: {name}" for name in names if name not in bound]
    assert found == []


def test_annotations_are_not_evaluated_at_import(package: Sources) -> None:
    assert [s.name for s in package if s.tree.body[1:] and "from __future__ import annotations" not in s.text] == []


def test_every_ignore_has_its_code_and_its_reason(tracked: tuple[Path, ...], root: Path) -> None:
    files = {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in tracked
        # What lies in an image is the program inside it; this file has to spell bad examples.
        if path.suffix == ".py" and "images" not in path.relative_to(root).parts[:3] and path != Path(__file__)
    }
    assert bare_ignores(files) == []


@pytest.mark.parametrize(
    "line",
    [
        "import a  # noqa",
        "import a  # noqa: F401",
        "import a  # noqa: F401, E501",
        "a = b  # type: ignore",
        "a = b  # type: ignore[arg-type]",
        "a = b  # pragma: no cover",
    ],
)
def test_a_planted_bare_ignore_is_found(line: str) -> None:
    assert len(bare_ignores({"planted.py": line})) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import a  # noqa: F401  its import is its effect",
        "a = b  # type: ignore[arg-type]  # the stub lags behind",
        "a = b  # type: ignore[arg-type]  # noqa: E501  one table row",
    ],
)
def test_a_reasoned_ignore_is_fine(line: str) -> None:
    assert bare_ignores({"planted.py": line}) == []


@pytest.mark.parametrize(
    ("rule", "name", "code"),
    [
        (undeclared, "store.planted", '"""Promise."""\nx = 1\n'),
        (undeclared, "store.planted", "__all__ = []\nx = 1\n"),
    ],
)
def test_a_planted_misshape_is_found(
    planted: Callable[[str, str], Sources], rule: Callable[[Sources], list[str]], name: str, code: str
) -> None:
    assert len(rule(planted(name, code))) == 1


def test_the_fixtures_on_a_real_engine_are_declared_once() -> None:
    tests = Path(__file__).parents[1]
    declared = [path for path in tests.rglob("conftest.py") if "realfixtures" in path.read_text("utf-8")]
    assert declared == [tests / "conftest.py"], "each conftest that imports them would have a session of its own"
