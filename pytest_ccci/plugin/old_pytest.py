"""What we are to a pytest that is too old for us: all that uses it elsewhere goes on, a recipe says what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_ccci.settings import OPTIONS

__all__ = ["pytest_addoption", "pytest_collect_file", "pytest_pycollect_makemodule"]


class _Refused(pytest.File):
    """A recipe that cannot be run."""

    def collect(self) -> Iterable[pytest.Item]:
        """Say why."""
        raise self.CollectError(
            f"recipe {self.path.parent.name}: pytest-ccci needs pytest 9.1 or newer, and this is {pytest.__version__}"
        )


class _Silent(pytest.File):
    """A test module beside it, which could not be run either."""

    def collect(self) -> Iterable[pytest.Item]:
        """Hold nothing."""
        return []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take our options, so that a recipe can say what is wrong and not argparse."""
    group = parser.getgroup("ccci", "Co-op Cloud recipes on a real Swarm (need pytest 9.1 or newer)")
    for option in OPTIONS:
        group.addoption(option.flag, dest=option.ini, default=None)
        parser.addini(option.ini, option.help, type="string", default="")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A recipe.toml is collected, to be refused."""
    return _Refused.from_parent(parent, path=file_path) if file_path.name == "recipe.toml" else None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A test module of a recipe is refused when it is asked for alone, and silent beside its recipe.toml."""
    if not (module_path.parent / "recipe.toml").is_file():
        return None
    kind = _Refused if parent.session.isinitpath(module_path) else _Silent
    return kind.from_parent(parent, path=module_path)
