"""``ccci engine stop``: the private engine ends when an operator says so."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.provision import remove_engine, stop_engine
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add_engine", "run_engine"]


def add_engine(commands: Commands) -> None:
    """Declare it."""
    about = "stop the private engine (somebody else's is never touched); refused while runs are in flight"
    command = add_command(commands, "engine", run_engine, about=about, settings=("state_dir", "slots"))
    command.add_argument("act", choices=["stop"], metavar="stop")
    command.add_argument(
        "--remove", action="store_true", help="remove its images, volumes and bridges too; canonicals stay"
    )


def run_engine(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Stop it."""
    state = open_state(settings.state_dir)
    if args.remove:
        there = remove_engine(settings, state, tell=terminal.tell)
        terminal.say(f"{'removed' if there else 'there was no'} private engine in {state.engine}", "good")
        return 0
    ran = stop_engine(settings, state)
    terminal.say(f"the private engine {'is stopped' if ran else 'was not running'}; its data stays", "good")
    return 0
