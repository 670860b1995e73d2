"""Options: everything from the one table in `settings`, the two short forms, and what is effective."""

from __future__ import annotations

import argparse
import contextlib

import pytest

from pytest_ccci.errors import OptionError
from pytest_ccci.settings import OPTIONS, Settings, resolve

__all__ = ["SETTINGS", "add_long_forms", "add_short_forms", "effective", "header", "lost"]

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
"""What is effective in this pytest process, read when it was configured."""

_LOST: pytest.StashKey[list[str]] = pytest.StashKey()
_GROUP = "ccci", "Co-op Cloud recipes on a real Swarm"
_SHORT = {
    "--quick": ("quick", "short for --ccci-mode=quick"),
    "--cold": ("cold", "short for --ccci-mode=cold"),
}


def add_long_forms(parser: pytest.Parser) -> None:
    """``--ccci-…`` and ``ccci_…`` for every setting."""
    group = parser.getgroup(*_GROUP)
    for option in OPTIONS:
        note = f"default: {option.default}; " if option.default else ""
        text = f"{option.help} ({note}ini {option.ini}, environment {option.env})".replace("%", "%%")
        group.addoption(option.flag, dest=option.ini, default=None, metavar=option.metavar, help=text)
        parser.addini(option.ini, option.help, type="string", default="")


def add_short_forms(parser: pytest.Parser, config: pytest.Config) -> None:
    """``--quick`` and ``--cold``, each unless somebody else owns the name.

    A bare name that another plugin owns aborts pytest at start (pytest#11514), so this comes after all other plugins
    and the first conftest files had their turn.
    """
    group = parser.getgroup(*_GROUP)
    for flag, (mode, text) in _SHORT.items():
        try:
            group.addoption(flag, dest=f"ccci_short_{mode}", action="store_true", default=False, help=text)
        except (ValueError, argparse.ArgumentError):
            _warn(config, f"{flag} belongs to another plugin here; use --ccci-mode={mode} for recipes")


def effective(config: pytest.Config) -> Settings:
    """The effective settings.

    Raises:
        pytest.UsageError: a value cannot be read, or the options contradict each other.
    """
    given = {option.name: config.getoption(option.ini, None) for option in OPTIONS}
    ini = {option.name: str(config.getini(option.ini)) for option in OPTIONS}
    short = [mode for mode, _ in _SHORT.values() if config.getoption(f"ccci_short_{mode}", default=False)]
    asked = {*short, *([str(given["mode"])] if given["mode"] is not None else [])}
    if len(asked) > 1:
        raise pytest.UsageError(
            f"a run is either cold or quick, not both: {_spelled(short, given['mode'])} were given together; keep one"
        )
    if short:
        given["mode"] = short[0]
    try:
        settings = resolve(given, ini)
        _require_mode(settings)
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None
    return settings


def _require_mode(settings: Settings) -> None:
    """Refuse what the mode does not know.

    Raises:
        OptionError: names the option, and the mode that knows it.
    """
    if settings.base == "all" and settings.mode != "quick":
        raise OptionError(
            "a cold run has one base; only of quick runs there is one from each kept known-good",
            where="--ccci-base=all",
            advice="name a release, or add --quick",
        )
    if settings.reseed and settings.mode != "cold":
        raise OptionError(
            "a quick run never makes a known-good", where="--ccci-reseed", advice="ccci reseed with the recipe's folder"
        )


def _warn(config: pytest.Config, message: str) -> None:
    config.stash.setdefault(_LOST, []).append(message)
    # Where warnings are errors this one must not abort pytest at start: that is what giving way is there to prevent.
    with contextlib.suppress(pytest.PytestWarning):
        config.issue_config_time_warning(pytest.PytestWarning(message), stacklevel=2)


def lost(config: pytest.Config) -> list[str]:
    """What is to be said about short forms that another plugin owns."""
    return [f"ccci: warning: {message}" for message in config.stash.get(_LOST, [])]


def header(settings: Settings) -> str:
    """One line of what is effective: mode and ref always, the rest where it is not the default."""
    shown = (
        f"{name}={value}" + ("" if source == "default" else f" ({source})") for name, value, source in settings.shown()
    )
    line = "ccci: " + ", ".join(shown)
    return line if line.isprintable() else ascii(line)[1:-1]  # a branch of somebody's, in a terminal


def _spelled(short: list[str], mode: object) -> str:
    return " and ".join([f"--{name}" for name in short] + ([f"--ccci-mode={mode}"] if mode is not None else []))
