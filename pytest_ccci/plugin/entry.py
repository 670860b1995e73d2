"""The plugin's hooks for the whole of pytest's life: options, parts, header."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from pytest_ccci.plugin import backend, collection, options, real_backend, redaction, reporting, summary, timeouts
from pytest_ccci.plugin.helpers import load_conftests_with_helpers
from pytest_ccci.plugin.run_events import BOARD, Board, Printer, Sender
from pytest_ccci.plugin.xdist_support import Controller, relay_of

__all__ = [
    "pytest_addhooks",
    "pytest_addoption",
    "pytest_collection",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_unconfigure",
]

_PARTS = (real_backend, collection, redaction, reporting, summary, timeouts)
_OBJECTS = {"ccci-undisturbed": collection.UNDISTURBED, "ccci-clock": timeouts.WATCH}
_MARKERS = (
    "ccci: the tiers of a recipe",
    "ccci_recipe(folder): the recipe whose canonical and snapshot a test outside its folder asks for",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our seams."""
    pluginmanager.add_hookspecs(backend)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every setting."""
    options.add_long_forms(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, object, object]:
    """Declare the short forms after everybody else."""
    load_conftests_with_helpers(early_config)
    result = yield
    options.add_short_forms(parser, early_config)
    return result


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, put the parts in place."""
    board = Board(options.effective(config), pid=os.getpid())
    config.stash[BOARD] = board
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    for part in _PARTS:
        config.pluginmanager.register(part, f"ccci-{part.__name__.rpartition('.')[2]}")
    for name, plugin in _OBJECTS.items():
        config.pluginmanager.register(plugin, name)
    config.pluginmanager.register(summary.Stops(board), "ccci-stops")
    relay = relay_of(config)
    if relay is not None:
        board.outlet = Sender(relay, str(config.workerinput["workerid"]))  # type: ignore[attr-defined]  # xdist adds it
    elif not hasattr(config, "workerinput"):
        board.outlet = Printer(config)
        if config.pluginmanager.hasplugin("xdist"):
            config.pluginmanager.register(Controller(config), "ccci-controller")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the signals back."""
    board = config.stash.get(BOARD, None)
    if board is not None:
        board.funnel.restore()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is effective."""
    return [options.header(config.stash[BOARD].settings), *options.lost(config)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """The fixtures for everybody, once all plugins have theirs."""
    from pytest_ccci.plugin.fixtures import register_global_fixtures  # noqa: PLC0415  small, but not for --help

    if getattr(session, "_fixturemanager", None) is not None:
        register_global_fixtures(session)
    return (yield)
