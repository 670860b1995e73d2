"""``ccci prove``: what this project promises, shown on the user's own machine; the rollback where nothing is named."""

from __future__ import annotations

from pytest_ccci.cli import prove_infra, prove_rollback
from pytest_ccci.cli.arguments import Commands, add_command

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Declare it, and what can be proved."""
    about = "prove promises on this machine: rollback (bad pull requests against a person's documents), infra (updates)"
    command = add_command(commands, "prove", prove_rollback.run, about=about, settings=prove_rollback.SETTINGS)
    command.set_defaults(**prove_rollback.DEFAULTS)
    targets = command.add_subparsers(title="targets", metavar="TARGET", description="default: rollback")
    prove_rollback.add(targets)
    prove_infra.add(targets)
