"""``ccci prove``: what this project promises, shown on the user's own machine; the rollback where nothing is named."""

from __future__ import annotations

import argparse

from pytest_ccci.cli import prove_infra, prove_rollback
from pytest_ccci.cli.arguments import Commands

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare it, and what can be proved."""
    about = "prove promises on this machine: rollback (bad pull requests against a person's documents), infra (updates)"
    command: argparse.ArgumentParser = commands.add_parser("prove", help=about, description=about)
    command.set_defaults(run=prove_rollback.run, **prove_rollback.DEFAULTS)
    targets = command.add_subparsers(title="targets", metavar="TARGET", description="default: rollback")
    prove_rollback.add(targets)
    prove_infra.add(targets)
