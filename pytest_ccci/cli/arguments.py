"""Settings on the command line: the same table, names and help as pytest's own options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.settings import OPTIONS, Settings, resolve

__all__ = ["INFRA", "MACHINE", "PLACE", "Commands", "add_command", "passed_on", "settings_of"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  argparse has no other name
"""What commands are added to."""
Run = Callable[[argparse.Namespace, Settings, Terminal], int]

PLACE = ("state_dir", "zone")
"""Where things are kept, and under which domain."""
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
    group = command.add_argument_group("settings", "each also as an environment variable, e.g. CCCI_STATE_DIR")
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
    return resolve({option.name: getattr(args, option.ini, None) for option in OPTIONS}, {})


def passed_on(args: argparse.Namespace) -> list[str]:
    """The settings given here, as arguments for a pytest that is to obey the same."""
    given = {option.flag: getattr(args, option.ini, None) for option in OPTIONS}
    return [f"{flag}={value}" for flag, value in given.items() if value is not None]
