"""``ccci report``, ``serve``, ``index`` and ``explain``: pages, the index of runs, and what a run would do."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import InfrastructureFault
from pytest_ccci.ops.explain import explain, explained_lines
from pytest_ccci.ops.report import open_page, write_report
from pytest_ccci.process import run as run_program
from pytest_ccci.process import which
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.results.index import ask, rebuild
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.web import PageServer

__all__ = [
    "add_explain",
    "add_index",
    "add_report",
    "add_serve",
    "run_explain",
    "run_index",
    "run_report",
    "run_serve",
]

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


def add_serve(commands: Commands) -> None:
    """Declare it."""
    about = "show the pages to a browser, as they are there; writes nothing, on this machine only unless told otherwise"
    command = add_command(commands, "serve", run_serve, about=about, settings=("state_dir", "serve_at"))
    command.set_defaults(only_reads=True)
    help_text = "a host name under which it is asked for, as behind a reverse proxy (again for more)"
    command.add_argument("--name", action="append", default=[], metavar="HOST", help=help_text)


def run_serve(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Serve until somebody stops it."""
    state = StateDir(settings.state_dir.absolute())
    host, _, port = settings.serve_at.rpartition(":")
    try:
        server = PageServer((host.strip("[]"), int(port)), partial(open_page, state), names=frozenset(args.name))
    except OSError as error:
        raise InfrastructureFault(
            "the pages cannot be served there",
            where=settings.serve_at,
            seen=error.strerror or str(error),
            advice="give another place with --ccci-serve-at",
        ) from error
    with server:
        terminal.raw(server.url)
        if not server.loopback:
            terminal.say("Everybody who reaches this address can read all results.", "warn")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
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


def add_explain(commands: Commands) -> None:
    """Declare it."""
    about = "what a run of a recipe would do: mode, base, head, tiers, images, ports, disk, how long; deploys nothing"
    settings = (*PLACE, "mode", "ref", "base")
    command = add_command(commands, "explain", run_explain, about=about, settings=settings, json=True)
    command.set_defaults(only_reads=True)
    command.add_argument("recipe", type=Path, metavar="DIR", help="the recipe's folder")
    for mode in ("quick", "cold"):
        help_text = f"as pytest --{mode}"
        command.add_argument(f"--{mode}", dest="ccci_mode", action="store_const", const=mode, help=help_text)


def run_explain(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Say it."""
    found = explain(load_spec(args.recipe), settings, open_state(settings.state_dir))
    if args.json:
        versions = {"base": found.base.model_dump() if found.base else None, "head": found.head.model_dump()}
        terminal.json({**dataclasses.asdict(found), **versions})
        return 0
    for line in explained_lines(found):
        terminal.say(line.text, line.tone)
    return 0
