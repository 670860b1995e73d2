"""``ccci prove infra``: what updates of Traefik and Keycloak may do and must not do, played for real."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.proofground import open_ground
from pytest_ccci.ops.proofscenes import SCENES, Shown, play
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "play updates that go well and that go wrong, on a Traefik and a Keycloak of their own (zone prove.test, ports "
        "18080 and 18443) beside the warm ones, and say what was seen"
    )
    command = add_command(commands, "prove", run, about=about, settings=PLACE)
    command.add_argument("what", choices=["infra"], metavar="infra")
    command.add_argument("scenes", nargs="*", metavar="SCENE", help=f"only these: {', '.join(SCENES)}")
    command.add_argument("--keep", action="store_true", help="leave what was played on for a look")


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Play the scenes; red when a claim does not hold."""
    state = open_state(settings.state_dir)
    shown: list[Shown] = []
    with open_ground(settings, state, terminal.tell, keep=args.keep) as ground:
        for name in args.scenes or [*SCENES]:
            terminal.title(name)
            shown.append(play(ground, name))
            _show(shown[-1], terminal)
    return 0 if all(one.held for one in shown) else 1


def _show(shown: Shown, terminal: Terminal) -> None:
    for claim in shown.claims:
        terminal.say(f"  {'holds ' if claim.held else 'BROKEN'}  {claim.what}", "good" if claim.held else "bad")
        if not claim.held:
            terminal.say(f"          seen: {claim.seen}")
    for line in shown.numbers:
        terminal.say(f"  {line}")
    terminal.say(f"  {shown.name}: {'all holds' if shown.held else 'BROKEN'}, {shown.seconds:.1f} s")
