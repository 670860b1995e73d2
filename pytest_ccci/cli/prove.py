"""``ccci prove``: what this project promises, shown on the user's own machine."""

from __future__ import annotations

import argparse
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command, count, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.proofs.rollback import Evidence, readable
from pytest_ccci.proofs.rounds import Proof, Wanted
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.run.known_good import kept_goods
from pytest_ccci.run.prepare import network
from pytest_ccci.run.run_dir import new_run_id
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state

__all__ = ["DEFAULTS", "SETTINGS", "add", "add_rollback", "run_rollback"]

_LOG = logging.getLogger(__name__)

SETTINGS = (*MACHINE, "fast_health")
DEFAULTS: Mapping[str, object] = {
    "folder": Path("recipes/lasuite-docs"),
    "rounds": 20,
    "heads": "",
    "seed": None,
    "documents": 3,
}
"""What is played when nothing else is asked for."""


def add_rollback(commands: Commands) -> None:
    """Declare it."""
    about = "play bad pull requests against a person's documents, in random order, and keep the evidence in a file"
    command = add_command(commands, "rollback", run_rollback, about=about, settings=SETTINGS)
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="DIR", help=f"the recipe's folder (default: {DEFAULTS['folder']})"
    )
    command.add_argument("--rounds", type=count, metavar="N", help=f"how many rounds (default: {DEFAULTS['rounds']})")
    command.add_argument(
        "--heads", metavar="REF,REF", help="the bad heads (default: every branch pr/… that is not green)"
    )
    command.add_argument("--seed", type=int, metavar="N", help="of the random order (default: a new one, printed)")
    command.add_argument(
        "--documents",
        type=count,
        metavar="N",
        help=f"how many documents a person plants (default: {DEFAULTS['documents']})",
    )
    command.set_defaults(**DEFAULTS)


def run_rollback(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Bad heads against documents that a person wrote: each time all of it is put back."""
    spec, state = load_spec(args.folder), open_state(settings.state_dir)
    if not spec.canonical:
        raise UsageError(f"{spec.name} is not enrolled", where=str(spec.file), advice="set canonical = true there")
    heads = _heads(args, spec, settings, state)
    engine = find_engine(settings, state)
    seed = args.seed if args.seed is not None else secrets.randbelow(1_000_000)
    terminal.say(f"{spec.name}: {args.rounds} rounds of {', '.join(heads)} in the order of seed {seed}", "title")
    if not kept_goods(state, spec.name):
        _first_known_good(args, spec, state, terminal)
    place = state.proofs / new_run_id()
    proof = Proof(
        spec=spec,
        settings=settings,
        state=state,
        engine=engine,
        folder=place,
        wanted=Wanted(heads, args.rounds, seed, args.documents),
        passed_on=passed_on(args),
        line=terminal.raw,
        coloured=terminal.coloured,
    )
    return _last_screen(proof.play(), place, terminal)


def _heads(args: argparse.Namespace, spec: RecipeSpec, settings: Settings, state: StateDir) -> tuple[str, ...]:
    """The heads to try, each one that the recipe has."""
    mirror = open_mirror(spec, cache=state.recipes, env=network(settings.environment))
    given = [head.strip() for head in args.heads.split(",") if head.strip()]
    heads = given or sorted(name for name in mirror.branches() if name.startswith("pr/"))
    if not heads:
        raise UsageError(
            f"{spec.name} has no branch pr/… that could go wrong",
            where=str(spec.file),
            advice="name bad heads with --heads: branches, tags or commits whose upgrade fails",
        )
    for head in heads:
        mirror.resolve(head)
    return tuple(dict.fromkeys(heads))


def _first_known_good(args: argparse.Namespace, spec: RecipeSpec, state: StateDir, terminal: Terminal) -> None:
    _LOG.info("there is no known-good yet: a cold run of the latest release makes one")
    run_pytest(
        state,
        spec.folder,
        ["--cold", "--ccci-ref", "latest"],
        settings=passed_on(args),
        coloured=terminal.coloured,
        line=terminal.raw,
    )


def _last_screen(found: Evidence, place: Path, terminal: Terminal) -> int:
    terminal.say()
    terminal.say(readable(found), "good" if found.held else "bad")
    terminal.say(f"evidence   {place / 'rollback.json'}, and for people {place / 'rollback.txt'}")
    return 0 if found.held else 1


def add(commands: Commands) -> None:
    """Declare it, and what can be proved."""
    about = "prove promises on this machine: rollback (bad pull requests against a person's documents)"
    command = add_command(commands, "prove", run_rollback, about=about, settings=SETTINGS)
    command.set_defaults(**DEFAULTS)
    targets = command.add_subparsers(title="targets", metavar="TARGET", description="default: rollback")
    add_rollback(targets)
