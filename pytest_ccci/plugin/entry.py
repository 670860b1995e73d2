"""The hooks that every pytest has: options, header, and what brings in the rest of the plugin when it is needed.

Every pytest in the environment pays for what is imported here, whether it has recipes or not: all else is imported by
`plugin.activation`, when there is a use for it.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_ccci.plugin import hookspecs, options
from pytest_ccci.plugin.global_fixtures import register_global_fixtures

__all__ = [
    "pytest_addhooks",
    "pytest_addoption",
    "pytest_collect_directory",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_runtest_setup",
    "pytest_sessionstart",
]

_MARKERS = (
    "ccci: the tiers of a recipe",
    "ccci_recipe(folder): the recipe whose canonical and snapshot a test outside its folder asks for",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our seams."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every setting."""
    options.add_long_forms(parser)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, object, object]:
    """Recipes' conftest files find their helpers. The short forms are declared after everybody else's."""
    _give_conftests_their_helpers(early_config)
    result = yield
    options.add_short_forms(parser, early_config)
    return result


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the settings: what cannot be used is refused at start."""
    config.stash[options.SETTINGS] = options.effective(config)
    for line in _MARKERS:
        config.addinivalue_line("markers", line)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is effective."""
    return [options.header(config.stash[options.SETTINGS]), *options.lost(config)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, object, object]:
    """Follow xdist's workers from before they start; give everybody our fixtures, once all plugins have theirs."""
    if session.config.pluginmanager.hasplugin("dsession"):
        _activate(session.config)  # this process collects nothing
    result = yield
    if getattr(session, "_fixturemanager", None) is not None:
        register_global_fixtures(session)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A folder with a recipe.toml is a recipe."""
    if not (path / "recipe.toml").is_file():
        return None
    _activate(parent.config)
    from pytest_ccci.plugin.collection import collect_recipe  # noqa: PLC0415  with the first recipe

    return collect_recipe(path, parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """A fixture that is nowhere may be a recipe's, asked for outside of its folder: the report then says so."""
    try:
        return (yield)
    except pytest.FixtureLookupError:
        _activate(item.config)
        raise


def _activate(config: pytest.Config) -> None:
    from pytest_ccci.plugin.activation import activate  # noqa: PLC0415  with the first use, not with every pytest

    activate(config)


def _give_conftests_their_helpers(config: pytest.Config) -> None:
    """Let the conftest files of recipes import helpers too, and give them names of their own.

    Those on the command line are imported before there is any node to ask, by a method that has no hook.
    """
    manager: Any = config.pluginmanager
    original = getattr(manager, "_importconftest", None)
    if original is None:
        return

    def import_conftest(conftestpath: Path, importmode: object, *args: Any, **kwargs: Any) -> ModuleType:
        above = (folder for folder in reversed(conftestpath.parents) if (folder / "recipe.toml").is_file())
        folder = next(above, None)  # the outermost: a recipe within a recipe is not collected
        if folder is None:
            return original(conftestpath, importmode, *args, **kwargs)  # type: ignore[no-any-return]  # pytest's own
        from pytest_ccci.plugin.helpers import helpers_of  # noqa: PLC0415  with a recipe only

        helpers = helpers_of(config, folder)
        helpers.add(conftestpath.parent)
        with helpers.importable():
            return original(conftestpath, "importlib", *args, **kwargs)  # type: ignore[no-any-return]  # the same

    manager._importconftest = import_conftest  # noqa: SLF001  there is no public way
