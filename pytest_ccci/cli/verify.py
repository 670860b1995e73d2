"""``ccci verify``: are the known-goods whole?"""

from __future__ import annotations

import argparse
import dataclasses

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.upkeep import Checked, recipes_with_canonical, verify
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = "compare known-goods with their manifests; changes nothing"
    command = add_command(commands, "verify", run, about=about, settings=(*PLACE, "lock_wait"), json=True)
    command.add_argument("recipe", nargs="?", help="only that of this recipe (default: all)")
    command.add_argument(
        "--read-data",
        action="store_true",
        help="read every content anew, also where the kernel shows that it was not touched",
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it; red when one is not whole."""
    state = open_state(settings.state_dir)
    names = (args.recipe,) if args.recipe else recipes_with_canonical(state)
    tell = terminal.silent if args.json else terminal.tell
    found = [verify(settings, state, name, read_data=args.read_data, tell=tell) for name in names]
    if args.json:
        terminal.json([dataclasses.asdict(one) for one in found])
    else:
        _show(found, terminal)
    return 1 if any(one.problem for one in found) else 0


def _show(found: list[Checked], terminal: Terminal) -> None:
    if not found:
        terminal.say("there is no canonical yet", "dim")
    for one in found:
        if one.problem:
            terminal.say(f"{one.recipe}: {one.problem}", "bad")
            continue
        how = "every content read" if one.read_data else "untouched files by the kernel's word, the others read"
        size = f"{one.files} entries, {shown(one.size)}"
        terminal.say(f"{one.recipe}: {one.release} is whole ({size}, {how}, {one.seconds:.1f} s)", "good")
        if one.quarantine:
            terminal.say(f"{one.recipe}: but it is quarantined: {one.quarantine}", "warn")
