"""``ccci reconcile``: Traefik and Keycloak to their recipes' latest releases, behind both gates."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pytest_ccci.cli.arguments import INFRA, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.reconcile import exit_status, reconcile
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, worst

__all__ = ["add_reconcile", "run_reconcile"]

_TONE = {
    Outcome.CURRENT: "good",
    Outcome.UPGRADED: "good",
    Outcome.HELD: "warn",
    Outcome.ROLLED_BACK: "bad",
    Outcome.ERROR: "bad",
    Outcome.ROLLBACK_FAILED: "bad",
}


def add_reconcile(commands: Commands) -> None:
    """Declare it."""
    command = add_command(
        commands,
        "reconcile",
        run_reconcile,
        about="bring Traefik and Keycloak to their latest releases, or hold them, or put them back; "
        "exit status 0 current or upgraded, 1 error, 3 held, 4 rolled back, 5 a rollback failed",
        settings=INFRA,
        json=True,
    )
    command.add_argument("apps", nargs="*", metavar="APP", help="only these: traefik, keycloak (default: both)")
    command.add_argument("--accept", default="", metavar="RELEASE", help="let this very release pass the safety gate")
    command.add_argument("--again", action="store_true", help="try a rollback that failed once more")
    command.add_argument("--trust", action="store_true", help="a person put right what a failed rollback left")
    command.add_argument("--dry-run", action="store_true", help="only say what would happen, and why")


def run_reconcile(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    tell = terminal.silent if args.json else terminal.tell
    wish = Wish(accept=args.accept, again=args.again, trust=args.trust)
    done = reconcile(settings, open_state(settings.state_dir), args.apps, wish, dry=args.dry_run, tell=tell)
    if args.json:
        terminal.json([asdict(one) for one in done])
    else:
        for one in done:
            _show(one, terminal, dry=args.dry_run)
    return exit_status(worst(one.outcome for one in done))


def _show(one: Reconciled, terminal: Terminal, *, dry: bool) -> None:
    step = one.before if one.before == one.target or not one.target else f"{one.before or 'nothing'} → {one.target}"
    word = f"would be {one.outcome}" if dry else str(one.outcome)
    terminal.say(f"{one.app:<10}{word:<18}{step}", _TONE[one.outcome])
    rows = [*one.reasons, *one.problem.splitlines()]
    if one.since:
        rows.append(f"held since {one.since}")
    if one.outcome is Outcome.HELD and one.target:
        rows.append(f"to let it pass: ccci reconcile {one.app} --accept {one.target}")
    if one.silent is not None:
        ports = "" if one.shut is None else f", its ports were closed for {one.shut:.2f} s"
        rows.append(f"{one.seconds:.1f} s in all; its route did not answer for {one.silent:.2f} s{ports}")
    if one.outcome in {Outcome.ROLLED_BACK, Outcome.ROLLBACK_FAILED}:
        rows.append(f"runs now: {one.now}" if one.now else "nothing runs now")
    for row in rows:
        terminal.say(f"          {row}")
