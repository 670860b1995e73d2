"""``ccci index``: the index of runs, which pages and reports ask."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.results.index import ask, rebuild
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add_index", "run_index"]


def add_index(commands: Commands) -> None:
    """Declare it."""
    about = "the index of all runs: what is in it; it is made from the results of the runs, and repairs itself"
    command = add_command(commands, "index", run_index, about=about, settings=("state_dir",))
    command.add_argument("--rebuild", action="store_true", help="make it anew now")


def run_index(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Show or rebuild it."""
    state = open_state(settings.state_dir)
    if args.rebuild:
        rebuild(state)
    runs, recipes = ask(state, lambda index: (index.count(), len(index.recipes())))
    terminal.say(f"{state.index}: {runs} runs of {recipes} recipes", "good")
    return 0
