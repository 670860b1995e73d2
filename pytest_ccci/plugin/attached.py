"""Named with ``-p`` by a run that performs the author's tests on its base: the app is there, nothing is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import RecipeRun

__all__: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the app is written down."""
    parser.getgroup("ccci").addoption("--ccci-attached", metavar="FILE", help="the app of a run, as it wrote it down")


def pytest_configure(config: pytest.Config) -> None:
    """Answer for the run in the place of the real back end."""
    config.pluginmanager.register(_Attached(Path(config.getoption("--ccci-attached"))), "ccci-attached-run")


class _Attached:
    def __init__(self, file: Path) -> None:
        self._file = file

    @pytest.hookimpl(tryfirst=True)
    def pytest_ccci_open_run(self) -> RecipeRun:
        """The run that wrote the file."""
        from pytest_ccci.run.attached_run import AttachedRun  # noqa: PLC0415  inert until a recipe is run

        return cast("RecipeRun", AttachedRun(self._file))
