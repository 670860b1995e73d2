"""``ccci setup``, ``engine`` and ``prune``: the machine made ready, its engine stopped, its space freed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault
from pytest_ccci.ops.provision import (
    MachineFacts,
    Need,
    Step,
    gather,
    install,
    missing,
    provision,
    remove_engine,
    stop_engine,
)
from pytest_ccci.ops.prune import Pruned, prune
from pytest_ccci.ops.status import source_of
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.disk import shown
from pytest_ccci.waiting import Stopwatch

__all__ = ["add_engine", "add_prune", "add_setup", "make_ready", "run_engine", "run_prune", "run_setup"]


def add_setup(commands: Commands) -> None:
    """Declare it."""
    command = add_command(
        commands, "setup", run_setup, about="make this machine ready: packages, engine, images, infra", settings=MACHINE
    )
    command.add_argument("--recipe", type=Path, metavar="DIR", help="make the images of this recipe ready as well")
    command.add_argument("--dry-run", action="store_true", help="only say what would be installed and started")


def run_setup(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    if args.dry_run:
        _announce(settings, terminal)
        terminal.say("dry run: nothing was done")
        return 0
    make_ready(settings, args.recipe, terminal)
    return 0


def make_ready(settings: Settings, recipe: Path | None, terminal: Terminal) -> None:
    """Make the machine ready; what is ready already is reused, and said.

    Raises:
        InfrastructureFault: something cannot be had; says what and what to do.
    """
    watch = Stopwatch()
    spec = load_spec(recipe) if recipe else None
    state = open_state(settings.state_dir)
    facts, needs = _announce(settings, terminal)
    if needs:
        _require_means(facts, needs)
        install(needs)
    steps: list[Step] = []

    def done(step: Step) -> None:
        steps.append(step)
        how = "reused" if step.reused else "made ready"
        terminal.say(f"  {step.name:<10}{how:<12}{step.seconds:6.1f} s  {step.text}", "good")

    provision(settings, state, spec, done=done)
    fresh = [step.name for step in steps if not step.reused]
    what = f"made ready: {', '.join(fresh)}" if fresh else "everything was there and is reused"
    terminal.say(f"this machine is warm ({watch.seconds:.1f} s): {what}", "good")


def _announce(settings: Settings, terminal: Terminal) -> tuple[MachineFacts, tuple[Need, ...]]:
    """Say what there is and what will be done, before anything is."""
    source = source_of(settings, StateDir(settings.state_dir.absolute()))
    facts = gather(source)
    needs = missing(facts)
    terminal.title("setup")
    terminal.say(f"  state     {settings.state_dir}")
    none = "a private one is started, and stopped by `ccci engine stop`" if facts.root else "only root can start one"
    terminal.say(f"  engine    {source or f'none answers: {none}'}")
    registry = "answers" if facts.registry else "does not answer: images that are not there are built"
    terminal.say(f"  registry  {registry}")
    for need in needs:
        terminal.say(f"  install   {need.package}: {need.why}", "warn")
    if not needs:
        terminal.say("  install   nothing, all programs are there")
    return facts, needs


def _require_means(facts: MachineFacts, needs: tuple[Need, ...]) -> None:
    names = ", ".join(need.package for need in needs)
    if not facts.root and not facts.engine:
        raise EngineUnavailable(
            "no Docker engine answers, and a private one cannot be started: only root can start one",
            seen=f"missing: {names}",
            advice="either start a Docker engine (and 'docker swarm init') or point DOCKER_HOST at one; "
            "or run this as root, which installs and starts what a private engine needs",
        )
    if not facts.root or not facts.apt:
        raise InfrastructureFault(
            f"these packages are missing, and cannot be installed {'without root' if facts.apt else 'without apt'}",
            seen=names,
            advice="install them (or what brings the same programs), then run this again",
        )


def add_engine(commands: Commands) -> None:
    """Declare it."""
    about = "stop the private engine (somebody else's is never touched); refused while runs are in flight"
    command = add_command(commands, "engine", run_engine, about=about, settings=("state_dir", "slots"))
    command.add_argument("act", choices=["stop"], metavar="stop")
    command.add_argument(
        "--remove", action="store_true", help="remove its images, volumes and bridges too; canonicals stay"
    )


def run_engine(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Stop it."""
    state = open_state(settings.state_dir)
    if args.remove:
        there = remove_engine(settings, state)
        terminal.say(f"{'removed' if there else 'there was no'} private engine in {state.engine}", "good")
        return 0
    ran = stop_engine(settings, state)
    terminal.say(f"the private engine {'is stopped' if ran else 'was not running'}; its data stays", "good")
    return 0


def add_prune(commands: Commands) -> None:
    """Declare it."""
    about = "remove old runs, proofs, seen alerts, lock files, unused images, leftovers; never anything in use"
    obeyed = (*PLACE, "slots", "keep_runs", "keep_free")
    command = add_command(commands, "prune", run_prune, about=about, settings=obeyed, json=True)
    command.add_argument("--dry-run", action="store_true", help="only say what would go")
    command.add_argument("--verbose", action="store_true", help="list each thing, not only how many of each kind")


def run_prune(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    gone = prune(settings, open_state(settings.state_dir), dry=args.dry_run)
    if args.json:
        terminal.json([dataclasses.asdict(one) for one in gone])
        return 0
    for kind, things in _by_kind(gone):
        terminal.say(f"{shown(sum(one.size for one in things)):>12}  {len(things):>4}  {kind}")
        for one in sorted(things, key=lambda one: -one.size) if args.verbose else ():
            terminal.say(f"{shown(one.size):>18}  {one.what}  ({one.why})", "dim")
    total, verb = shown(sum(one.size for one in gone)), "would be freed" if args.dry_run else "freed"
    terminal.say(f"{total} {verb}, {len(gone)} things" if gone else "nothing to prune", "good")
    return 0


def _by_kind(gone: Iterable[Pruned]) -> list[tuple[str, list[Pruned]]]:
    """What went, by kind, the largest first."""
    kinds: dict[str, list[Pruned]] = {}
    for one in gone:
        kinds.setdefault(one.kind, []).append(one)
    return sorted(kinds.items(), key=lambda item: -sum(one.size for one in item[1]))
