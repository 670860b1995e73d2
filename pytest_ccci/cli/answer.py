"""``ccci answer``: what a forge is told of a run, for a CI job that posts it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.results.forge import comment_of, status_of
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = "print what a forge is told of a run: the comment, and the status of its commit; posts nothing"
    command = add_command(commands, "answer", run, about=about, settings=("state_dir",), json=True)
    command.set_defaults(only_reads=True)
    command.add_argument("results", type=Path, metavar="FILE", help="a results.json, or the run's folder")
    command.add_argument("--link", default="", metavar="URL", help="the address of the log, over https")


def run(args: argparse.Namespace, _settings: Settings, terminal: Terminal) -> int:
    """Print. 0: it is printed; 1: the result cannot be read."""
    path: Path = args.results
    result = load_result(path / "results.json" if path.is_dir() else path)
    status, comment = status_of(result), comment_of(result, link=args.link)
    if args.json:
        terminal.json({"status": dataclasses.asdict(status) if status else None, "comment": comment})
        return 0
    told = f"{status.context} {status.state}: {status.description} ({status.commit})" if status else "no commit status"
    terminal.say(told, "good" if status and status.state == "success" else "warn")
    terminal.say()
    terminal.say(comment.rstrip())
    return 0
