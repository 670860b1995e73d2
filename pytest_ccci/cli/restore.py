"""``ccci restore``: an operator puts a canonical back to its known-good."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.canonicals import restore
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add_restore", "run_restore"]


def add_restore(commands: Commands) -> None:
    """Declare it."""
    about = "put a recipe's canonical back to its known-good, verify it, and lift a quarantine"
    command = add_command(commands, "restore", run_restore, about=about, settings=MACHINE)
    command.add_argument("recipe", help="the recipe's name, as its folder is called")
    command.add_argument(
        "--release", default="", metavar="R", help="the kept known-good of that release (default: the newest)"
    )


def run_restore(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    state = open_state(settings.state_dir)
    done = restore(settings, state, args.recipe, tell=terminal.tell, release=args.release)
    for line in done.recovered:
        terminal.say(f"recovered    {line}")
    terminal.say(f"undeployed   {', '.join(done.undeployed) or 'nothing, none of it was deployed'}")
    report = done.report
    terminal.say(
        f"restored     {report.release}, snapshot {report.snapshot_id}: {report.files} entries, {shown(report.size)} "
        f"in {report.seconds:.1f} s by {report.backend}",
        "good",
    )
    terminal.say("verified     every content read anew and equal to the manifest", "good")
    if done.earlier:
        terminal.say("drifted      what is live is not the newest known-good: the next run puts that one back", "warn")
    if done.was_quarantined:
        terminal.say(f"quarantine   lifted; it was there because {done.was_quarantined}", "warn")
        terminal.say("             the next quick run shows whether the app comes up on it")
    return 0
