"""``ccci release``: what ``--ccci-keep=failed`` left deployed."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.release import release
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = "remove the apps of a recipe's red runs that --ccci-keep=failed left deployed"
    command = add_command(commands, "release", run, about=about, settings=MACHINE)
    command.add_argument("recipe", type=Path, metavar="DIR", help="the recipe's folder, or its name")


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    done = release(settings, open_state(settings.state_dir), args.recipe.resolve().name)
    for app in done.apps:
        terminal.say(f"released     {app.domain}, kept since {app.since} by run {app.run_id}", "good")
    for problem in done.problems:
        terminal.say(f"problem      {problem}", "bad")
    return 1 if done.problems else 0
