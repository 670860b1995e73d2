"""``ccci prove``: what this project promises, shown on the user's own machine, with the evidence in a file."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.child import run_pytest
from pytest_ccci.ops.proving import Proof, Wanted
from pytest_ccci.ops.rollback import Evidence, readable
from pytest_ccci.recipe.source import open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.run.bases import kept_goods
from pytest_ccci.run.diary import new_run_id
from pytest_ccci.run.entrance import network
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state

__all__ = ["TARGETS", "add", "run"]

_DEFAULT = Path("recipes/lasuite-docs")


def add(commands: Commands) -> None:
    """Declare it."""
    about = "prove a promise on this machine: rollback (bad pull requests against a person's documents)"
    command = add_command(commands, "prove", run, about=about, settings=(*MACHINE, "fast_health"))
    command.add_argument(
        "words",
        nargs="*",
        metavar="[TARGET] [DIR]",
        help=f"what to prove ({', '.join(TARGETS)}; default: rollback), and the recipe's folder (default: {_DEFAULT})",
    )
    command.add_argument("--rounds", type=_count, default=20, metavar="N", help="how many rounds (default: 20)")
    command.add_argument(
        "--heads", default="", metavar="REF,REF", help="the bad heads (default: every branch pr/… that is not green)"
    )
    command.add_argument("--seed", type=int, metavar="N", help="of the random order (default: a new one, printed)")
    command.add_argument(
        "--documents", type=_count, default=3, metavar="N", help="how many documents a person plants (default: 3)"
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Prove what is named first, else the rollback."""
    words = list(args.words)
    target = words.pop(0) if words and words[0] in TARGETS else "rollback"
    if len(words) > 1:
        raise UsageError(
            f"one recipe's folder, not {len(words)}: {', '.join(words)}",
            advice=f"ccci prove [TARGET] [DIR]; targets are {', '.join(TARGETS)}",
        )
    return TARGETS[target](args, Path(words[0]) if words else _DEFAULT, settings, terminal)


def _rollback(args: argparse.Namespace, folder: Path, settings: Settings, terminal: Terminal) -> int:
    """Bad heads against documents that a person wrote: each time all of it is put back."""
    spec, state = load_spec(folder), open_state(settings.state_dir)
    if not spec.canonical:
        raise UsageError(f"{spec.name} is not enrolled", where=str(spec.file), advice="set canonical = true there")
    heads = _heads(args, spec, settings, state, terminal)
    engine = find_engine(settings, state, terminal.tell)
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
        tell=terminal.tell,
        line=terminal.raw,
        coloured=terminal.coloured,
    )
    return _last_screen(proof.play(), place, terminal)


def _heads(
    args: argparse.Namespace, spec: RecipeSpec, settings: Settings, state: StateDir, terminal: Terminal
) -> tuple[str, ...]:
    """The heads to try, each one that the recipe has."""
    mirror = open_mirror(spec, cache=state.recipes, tell=terminal.tell, env=network(settings.environment))
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
    terminal.tell("there is no known-good yet: a cold run of the latest release makes one")
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


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


TARGETS: Mapping[str, Callable[[argparse.Namespace, Path, Settings, Terminal], int]] = {"rollback": _rollback}
"""What can be proved: each obeys what the command was given, and the folder."""
