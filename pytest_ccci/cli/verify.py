"""``ccci verify``: are the known-goods whole?"""

from __future__ import annotations

import argparse
import dataclasses

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.canonicals import Checked, recipes_with_canonical, verify_all
from pytest_ccci.settings import Settings, seconds
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add_verify", "run_verify"]


def add_verify(commands: Commands) -> None:
    """Declare it."""
    about = "compare known-goods with their manifests, all or for a time; changes nothing of them"
    command = add_command(commands, "verify", run_verify, about=about, settings=(*PLACE, "lock_wait"), json=True)
    command.add_argument("recipe", nargs="?", help="only that of this recipe (default: all)")
    command.add_argument(
        "--read-data",
        action="store_true",
        help="read every content anew, also where the kernel shows that it was not touched",
    )
    command.add_argument(
        "--budget",
        type=_seconds,
        metavar="TIME",
        help="read contents for this long (5m) and go on from there the next time, what was read longest ago first",
    )


def run_verify(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it; red when one is not whole."""
    state = open_state(settings.state_dir)
    names = (args.recipe,) if args.recipe else recipes_with_canonical(state)
    tell = terminal.silent if args.json else terminal.tell
    found = verify_all(settings, state, names, read_data=args.read_data, budget=args.budget, tell=tell)
    if args.json:
        terminal.json([dataclasses.asdict(one) for one in found])
    else:
        _show(found, terminal)
    return 1 if any(one.problem for one in found) else 0


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from error


def _show(found: tuple[Checked, ...], terminal: Terminal) -> None:
    if not found:
        terminal.say("there is no canonical yet", "dim")
    for one in found:
        if one.problem:
            terminal.say(f"{one.recipe}: {one.problem}", "bad")
        elif not one.reached:
            terminal.say(f"{one.recipe}: {one.release} was not looked at, the time was up; {_round(one)}", "warn")
        else:
            size = f"{one.files} entries, {shown(one.size)}"
            terminal.say(f"{one.recipe}: {one.release} {_state(one)} ({size}, {one.seconds:.1f} s)", "good")
        if one.quarantine:
            terminal.say(f"{one.recipe}: but it is quarantined: {one.quarantine}", "warn")


def _state(one: Checked) -> str:
    if not one.read_data:
        return "is whole: untouched files by the kernel's word, the others read"
    if one.complete:
        return "is whole: every content read"
    read = f"{shown(one.read_size)} in {one.read_files} files read"
    return f"is whole as far as it was looked at: {read}, the next look goes on from there; {_round(one)}"


def _round(one: Checked) -> str:
    return f"all of it was read until {one.whole_since}" if one.whole_since else "never yet all of it was read"
