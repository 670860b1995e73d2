"""``ccci prove infra``: what updates of Traefik and Keycloak may do and must not do, played for real."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.proofs.ground import Ground, open_ground
from pytest_ccci.proofs.scenes import SCENES, play
from pytest_ccci.proofs.shown import Shown
from pytest_ccci.proofs.sized import SIZED, crowded, killed
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add", "run"]

_ALL = (*SCENES, *SIZED)


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "play updates that go well and that go wrong, on a Traefik and a Keycloak of their own (zone prove.test, ports "
        "18080 and 18443) beside the warm ones, and say what was seen"
    )
    command = add_command(commands, "infra", run, about=about, settings=PLACE)
    command.add_argument("scenes", nargs="*", metavar="SCENE", help=f"only these: {', '.join(_ALL)} (default: all)")
    command.add_argument("--trials", type=int, default=40, metavar="N", help="how many kills (default: %(default)s)")
    command.add_argument(
        "--processes", type=int, default=32, metavar="N", help="how many lease at once (default: %(default)s)"
    )
    command.add_argument("--rounds", type=int, default=10, metavar="N", help="how many times (default: %(default)s)")
    command.add_argument("--keep", action="store_true", help="leave what was played on for a look")


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Play the scenes; red when a claim does not hold."""
    unknown = sorted(set(args.scenes) - set(_ALL))
    if unknown:
        raise UsageError(f"no such scene: {', '.join(unknown)}", seen=f"there are: {', '.join(_ALL)}")
    state = open_state(settings.state_dir)
    shown: list[Shown] = []
    with open_ground(settings, state, terminal.tell, keep=args.keep) as ground:
        for name in args.scenes or _ALL:
            terminal.title(name)
            shown.append(_play(ground, name, args))
            _show(shown[-1], terminal)
    _sum_up(shown, terminal)
    return 0 if all(one.held for one in shown) else 1


def _play(ground: Ground, name: str, args: argparse.Namespace) -> Shown:
    if name == "kill":
        return killed(ground, args.trials)
    if name == "leases":
        return crowded(ground, size=args.processes, rounds=args.rounds)
    return play(ground, name)


def _show(shown: Shown, terminal: Terminal) -> None:
    for claim in shown.claims:
        terminal.say(f"  {'holds ' if claim.held else 'BROKEN'}  {claim.what}", "good" if claim.held else "bad")
        if not claim.held:
            terminal.say(f"          seen: {claim.seen}")
    for line in shown.numbers:
        terminal.say(f"  {line}")
    terminal.say(f"  {shown.name}: {'all holds' if shown.held else 'BROKEN'}, {shown.seconds:.1f} s")


def _sum_up(shown: Sequence[Shown], terminal: Terminal) -> None:
    terminal.title("infra proofs")
    rows = []
    for one in shown:
        good = sum(claim.held for claim in one.claims)
        word = ("holds", "good") if one.held else ("BROKEN", "bad")
        rows.append((one.name, word, f"{good}/{len(one.claims)}", f"{one.seconds:.1f} s"))
    terminal.table(("scene", "", "claims", "took"), rows)
