"""What the house rules look at: the package's modules as syntax trees, and the files that git tracks."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from pytest_ccci.process import run, which

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "pytest_ccci"
DATA = {"images", "infra"}


@dataclass(frozen=True)
class Source:
    """One module: its dotted name below the package (empty for the package itself), text and syntax tree."""

    name: str
    path: Path
    text: str

    @property
    def part(self) -> str:
        """The first step of the name: a part such as ``engine``, or a door such as ``web``."""
        return self.name.partition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, str(self.path))

    def at(self, node: ast.AST, text: str) -> str:
        """A finding, with its place."""
        return f"{self.path.name if not self.name else self.name}:{getattr(node, 'lineno', 1)}: {text}"


def sources_below(folder: Path) -> tuple[Source, ...]:
    """Every module below ``folder``, without the data folders, whose content is other programs' own."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        steps = path.relative_to(folder).with_suffix("").parts
        if steps[0] not in DATA and "__pycache__" not in steps:
            name = ".".join(step for step in steps if step != "__init__")
            found.append(Source(name, path, path.read_text(encoding="utf-8")))
    return tuple(found)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def package() -> tuple[Source, ...]:
    """Every module of the package."""
    found = sources_below(ROOT / PACKAGE)
    assert len(found) > 50, "the rules would be green on nothing"
    return found


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str, str], tuple[Source, ...]]:
    """Makes a package of one module, ``(dotted name, code)``: a violation that a rule must find."""

    def plant(name: str, code: str) -> tuple[Source, ...]:
        path = tmp_path / Path(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        return sources_below(tmp_path)

    return plant


@pytest.fixture(scope="session")
def tracked() -> tuple[Path, ...]:
    """The files that git tracks; where there is no repository (an unpacked sdist), all that is there."""
    if which("git") and (ROOT / ".git").exists():
        names = run(["git", "ls-files", "-z"], timeout=30, cwd=ROOT).stdout.split("\0")
        return tuple(ROOT / name for name in names if name and (ROOT / name).is_file())
    return tuple(path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
