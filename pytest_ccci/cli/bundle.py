"""``ccci bundle`` and ``replay``: a run as one file, and what it comes to on another machine."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, PLACE, Commands, add_command, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.bundle import compare, open_bundle, write_bundle
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add_bundle", "add_replay", "run_bundle", "run_replay"]


def add_bundle(commands: Commands) -> None:
    """Declare it."""
    about = "write a run as one file, without secrets, that ccci replay plays on another machine"
    command = add_command(commands, "bundle", run_bundle, about=about, settings=PLACE)
    command.set_defaults(only_reads=True)
    command.add_argument("run_id", metavar="RUN", help="the run's id")
    command.add_argument("--recipe", type=Path, metavar="DIR", help="the recipe's folder, where it has moved")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: RUN.tar.zst in the current folder")


def run_bundle(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Write it; the last line is where it is."""
    path = args.output or Path(f"{args.run_id}.tar.zst")
    made = write_bundle(settings, open_state(settings.state_dir), args.run_id, path, folder=args.recipe)
    for each in made.left_out:
        terminal.say(f"left out: {each}", "warn")
    for each in made.replaced:
        terminal.say(f"made-up values in the place of given secrets: {each}", "warn")
    for each in made.changed:
        terminal.say(f"changed since the run: {each}", "warn")
    terminal.say(f"{shown(path.stat().st_size)}, searched for the secrets that this machine knows: none in it", "good")
    terminal.raw(str(path))
    return 0


def add_replay(commands: Commands) -> None:
    """Declare it."""
    about = (
        "play the run of a bundle here, by a cold run; that runs the tests in it and deploys its recipe, so that who "
        "made it must be trusted; ends with 0 where the same step comes to the same verdict"
    )
    command = add_command(commands, "replay", run_replay, about=about, settings=MACHINE)
    command.add_argument("bundle", type=Path, metavar="FILE", help="what ccci bundle wrote")
    help_text = "unpack it there, in a new or empty folder, and leave it there"
    command.add_argument("--into", type=Path, metavar="DIR", help=help_text)


def run_replay(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Play it, and say what differs."""
    state = open_state(settings.state_dir)
    with ExitStack() as opened:
        place = args.into or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="ccci-replay-")))
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(place.iterdir()):
            raise UsageError("the folder to unpack into is not empty", where=str(place))
        replay = open_bundle(args.bundle, place)
        terminal.say(f"{replay.bundle.recipe}, run {replay.bundle.run_id}", "title")
        for note in replay.notes:
            terminal.say(f"  {note}", "warn")
        *others, last = replay.targets
        child = run_pytest(
            state,
            Path(last),
            [*replay.words, *others],
            settings=passed_on(args),
            coloured=terminal.coloured,
            line=terminal.raw,
        )
        found = compare(replay.bundle, replay.result, child.result)
    terminal.say(f"  then      {found.then}")
    terminal.say(f"  now       {found.now}")
    for each in found.differs:
        terminal.say(f"  differs   {each}", "warn")
    if not found.differs:
        terminal.say("  differs   nothing: the same versions, images, engine and programs", "dim")
    if found.same:
        terminal.say("The same step came to the same verdict.", "good")
        return 0
    terminal.say("It came to something else here.", "bad")
    return 1
