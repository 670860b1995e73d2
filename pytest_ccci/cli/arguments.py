"""Settings on the command line: the same table, names and help as pytest's own options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.settings import OPTIONS, Configured, Settings, configured, current_environment, resolve, seconds

__all__ = [
    "INFRA",
    "MACHINE",
    "PLACE",
    "TRIGGER",
    "Commands",
    "add_command",
    "count",
    "duration",
    "passed_on",
    "settings_of",
]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  argparse has no other name
"""What commands are added to."""
Run = Callable[[argparse.Namespace, Settings, Terminal], int]

PLACE = ("state_dir", "zone")
"""Where things are kept, and under which domain."""
_OF_A_RUN = ("mode", "ref", "base", "reseed", "promote", "keep", "run_id", "reach", "grant")
"""What a configuration says of runs is for those that pytest is asked for; a command of ours says it itself."""
TRIGGER = tuple(option.name for option in OPTIONS if option.name.partition("_")[0] == "forge")
"""What ``ccci trigger`` alone obeys: no run is told of it."""
_WAYS = ("zone_address", "http_port", "https_port", "external_proxy", "zone_ca")
MACHINE = (*PLACE, *_WAYS, "timeout", "lock_wait", "slots", "infra_recipes")
"""What brings the machine up."""
INFRA = (*MACHINE, "realms", "alert_again")
"""What changes the live-warm apps."""


def add_command(
    commands: Commands, name: str, run: Run, *, about: str, settings: tuple[str, ...], json: bool = False
) -> argparse.ArgumentParser:
    """Add the command ``name``; ``settings`` are the names of those it obeys."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    command.set_defaults(run=run)
    if json:
        command.add_argument("--json", action="store_true", help="one JSON document instead of text")
    group = command.add_argument_group(
        "settings", "each also as an environment variable, e.g. CCCI_STATE_DIR, or in pytest's configuration"
    )
    group.add_argument(
        "-c",
        "--config-file",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="pytest's configuration, which is obeyed here too (default: what pytest finds from the current folder)",
    )
    for option in OPTIONS:
        if option.name in settings:
            note = f" (default: {option.default})" if option.default else ""
            text = f"{option.help}{note}".replace("%", "%%")
            # Nothing where it is not given: a target of `ccci prove` would else wipe out what stands before it.
            group.add_argument(
                option.flag, dest=option.ini, default=argparse.SUPPRESS, metavar=option.metavar, help=text
            )
    return command


def settings_of(args: argparse.Namespace) -> Settings:
    """The effective settings.

    Raises:
        OptionError: a value cannot be read.
    """
    found = _configured(args)
    given = {option.name: getattr(args, option.ini, None) for option in OPTIONS}
    obeyed = {name: value for name, value in found.options.items() if name not in _OF_A_RUN}
    ini = {name: value for name, value in found.ini.items() if name not in _OF_A_RUN}
    return resolve({**obeyed, **{name: value for name, value in given.items() if value is not None}}, ini)


def _configured(args: argparse.Namespace) -> Configured:
    file = getattr(args, "config_file", None)
    return configured(Path.cwd(), current_environment(), file=Path(file) if file else None)


def passed_on(args: argparse.Namespace) -> list[str]:
    """The settings given here, as arguments for a pytest that is to obey the same."""
    found, environment = _configured(args), current_environment()
    told = []
    for option in OPTIONS:
        if option.name in TRIGGER:
            continue
        value = getattr(args, option.ini, None)
        # That pytest may find another configuration file from where its recipe is.
        if value is None and option.name not in _OF_A_RUN and not option.secret:
            below = None if environment.get(option.env) else found.ini.get(option.name)
            value = found.options.get(option.name, below)
        if value:
            told.append(f"{option.flag}={value}")
    return told


def count(text: str) -> int:
    """The number of things that an argument names: 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def duration(text: str) -> float:
    """The seconds that an argument like ``90``, ``5m`` or ``1h30m`` names."""
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error
