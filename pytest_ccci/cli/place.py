"""``ccci place``: on which of several machines a run of a recipe belongs."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command, duration
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.dispatch import AWAY, load_machines, place
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "on which of several machines a run belongs, by what ccci status --json printed on each; ends with 1 where "
        "it must wait; starts nothing"
    )
    command = add_command(commands, "place", run, about=about, settings=(), json=True)
    command.set_defaults(only_reads=True)
    command.add_argument("recipe", help="the recipe's name")
    command.add_argument("machines", type=Path, metavar="DIR", help="a folder with <machine>.json of each")
    command.add_argument("--quick", action="store_true", help="a quick run (default: a cold one)")
    command.add_argument(
        "--away",
        type=duration,
        default=AWAY.total_seconds(),
        metavar="TIME",
        help="a machine that was not heard of for so long is away (default: 10m)",
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:  # noqa: ARG001  as all commands
    """Decide. 0: there; 1: it waits."""
    found = place(
        args.recipe,
        "quick" if args.quick else "cold",
        load_machines(args.machines),
        now=datetime.now(UTC),
        away=timedelta(seconds=args.away),
    )
    if args.json:
        terminal.json(dataclasses.asdict(found))
    else:
        terminal.say(f"{found.machine or 'waits'}: {found.why}", "plain" if found.machine else "warn")
        if found.alert:
            terminal.say(found.alert, "bad")
        if not found.promotes:
            terminal.say("it must not promote: --ccci-promote=false", "warn")
    return 0 if found.machine else 1
