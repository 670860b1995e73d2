"""``ccci prune``: frees what nobody needs any more."""

from __future__ import annotations

import argparse
import dataclasses

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.prune import prune
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add_prune", "run_prune"]


def add_prune(commands: Commands) -> None:
    """Declare it."""
    about = "remove old runs' results, dangling images of ours, and leftovers; never anything in use"
    command = add_command(commands, "prune", run_prune, about=about, settings=(*PLACE, "slots", "keep_runs"), json=True)
    command.add_argument("--dry-run", action="store_true", help="only say what would go")


def run_prune(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    tell = terminal.silent if args.json else terminal.tell
    gone = prune(settings, open_state(settings.state_dir), dry=args.dry_run, tell=tell)
    if args.json:
        terminal.json([dataclasses.asdict(one) for one in gone])
        return 0
    for one in gone:
        terminal.say(f"{shown(one.size):>12}  {one.what}  ({one.why})")
    total, verb = shown(sum(one.size for one in gone)), "would be freed" if args.dry_run else "freed"
    terminal.say(f"{total} {verb}, {len(gone)} things" if gone else "nothing to prune", "good")
    return 0
