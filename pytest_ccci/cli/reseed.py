"""``ccci reseed``: a new known-good from nothing; the old one stands until the new one is proved."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.run.known_good import view_canonical
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add_reseed", "run_reseed"]


def add_reseed(commands: Commands) -> None:
    """Declare it."""
    about = "seed a recipe's canonical afresh, by a green cold run of its latest release"
    command = add_command(commands, "reseed", run_reseed, about=about, settings=MACHINE)
    command.add_argument("recipe", type=Path, metavar="DIR", help="the recipe's folder")


def run_reseed(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Run it; green only when the record, read again, is a fresh seed."""
    spec = load_spec(args.recipe)
    if not spec.canonical:
        raise UsageError(
            f"{spec.name} is not enrolled, so that no known-good is kept of it",
            where=str(spec.file),
            advice="set canonical = true there",
        )
    state = open_state(settings.state_dir)
    child = run_pytest(
        state,
        args.recipe,
        ["--cold", "--ccci-ref=latest", "--ccci-reseed=true"],
        settings=passed_on(args),
        coloured=terminal.coloured,
        line=terminal.raw,
    )
    change, now = child.result.known_good, view_canonical(state, spec.name)
    fresh = change.action == "seeded" and change.snapshot_after != change.snapshot_before
    if child.rc == 0 and fresh and now.exists and now.snapshot_id == change.snapshot_after:
        terminal.say(f"seeded afresh: {now.release}, snapshot {now.snapshot_id}, re-read from disk", "good")
        return 0
    why = now.problem or change.reason or f"the run ended {child.result.verdict}"
    terminal.problem(f"not seeded afresh, the known-good is {now.release or change.after or 'none'}: {why}")
    return 1
