"""``ccci report`` and ``index``: pages of runs, recipes and the machine, and the index of runs behind them."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import InfrastructureFault
from pytest_ccci.ops.report import write_report
from pytest_ccci.process import run as run_program
from pytest_ccci.process import which
from pytest_ccci.results.index import ask, rebuild
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add_index", "add_report", "run_index", "run_report"]

_OPENING = 30.0


def add_report(commands: Commands) -> None:
    """Declare it."""
    about = "write the page of a run or a recipe, or of all recipes and the machine, and say where it is"
    command = add_command(commands, "report", run_report, about=about, settings=MACHINE)
    what = command.add_mutually_exclusive_group()
    what.add_argument("what", nargs="?", default="", metavar="RUN|RECIPE", help="a run's id, or a recipe that was run")
    what.add_argument("--all", action="store_true", help="the pages of all recipes and of all runs that are kept, too")
    command.add_argument("--open", action="store_true", help="open it in a browser")


def run_report(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Write it; the last line is where it is."""
    path = write_report(settings, open_state(settings.state_dir), args.what, everything=args.all)
    terminal.raw(str(path))
    if args.open:
        program = which("xdg-open") or which("open")
        if program is None:
            raise InfrastructureFault(
                "there is no program that opens a page (xdg-open)", advice=f"open {path.as_uri()}"
            )
        run_program([program, path.as_uri()], timeout=_OPENING)
    return 0


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
