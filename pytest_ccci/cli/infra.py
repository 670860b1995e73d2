"""``ccci reconcile``, ``gate`` and ``alerts``: the live-warm apps."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from pytest_ccci.cli.arguments import INFRA, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.reconcile import exit_status, reconcile
from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.alerts import acknowledge, deliver, open_alerts, through_apprise
from pytest_ccci.warm.gate import Decision, gate
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, worst

__all__ = ["add_alerts", "add_gate", "add_reconcile", "run_alerts", "run_gate", "run_reconcile", "send_alerts"]

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
    wish = Wish(accept=args.accept, again=args.again, trust=args.trust)
    done = reconcile(settings, open_state(settings.state_dir), args.apps, wish, dry=args.dry_run)
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
    if one.touched:
        rows.append(f"{one.seconds:.1f} s in all")
    if one.outcome in {Outcome.ROLLED_BACK, Outcome.ROLLBACK_FAILED}:
        rows.append(f"runs now: {one.now}" if one.now else "nothing runs now")
    for row in rows:
        terminal.say(f"          {row}")


_DECISION_TONE = {Decision.PASS: "good", Decision.HOLD: "warn", Decision.CURRENT: "good"}
_STRICT = ("major", "minor", "patch", "never")


def add_gate(commands: Commands) -> None:
    """Declare it."""
    about = "say what the safety gate would do with an update, and why; the same code that reconcile uses"
    command = add_command(commands, "gate", run_gate, about=about, settings=("state_dir",), json=True)
    command.add_argument("current", metavar="CURRENT", help="the release that runs, such as 1.0.0+26.7.0")
    command.add_argument("target", metavar="TARGET", help="the release that would be rolled out")
    command.add_argument(
        "--notes",
        nargs="*",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE",
        help="release notes of the target and of every release that is passed over",
    )
    command.add_argument("--accept", default="", metavar="RELEASE", help="as if an operator let this release pass")
    command.add_argument("--versions", choices=["semver", "calendar"], default="semver", help="as [policy] versions")
    for half in ("recipe", "app"):
        command.add_argument(f"--hold-{half}", choices=_STRICT, default="major", help=f"as [policy] hold_{half}")


def run_gate(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Say it. The answer is the output: a hold is no failure."""
    del settings
    policy = Policy(versions=args.versions, hold_recipe=args.hold_recipe, hold_app=args.hold_app)
    notes = [Note(path.name, _read(path)) for path in args.notes]
    answer = gate(args.current, args.target, notes=notes, policy=policy, accepted=args.accept)
    if args.json:
        reasons = [reason.text for reason in answer.reasons]
        terminal.json({"decision": str(answer.decision), "reasons": reasons})
        return 0
    terminal.say(f"{answer.decision}: {args.current} → {args.target}", _DECISION_TONE[answer.decision])
    for reason in answer.reasons:
        terminal.say(f"  {reason.cause}: {reason.text}")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError("these notes cannot be read", where=str(path), seen=error.strerror or str(error)) from error


def add_alerts(commands: Commands) -> None:
    """Declare it."""
    about = "list what an operator must see; `ccci alerts ack` puts alerts away as seen"
    command = add_command(commands, "alerts", run_alerts, about=about, settings=("state_dir", "alert_urls"), json=True)
    command.add_argument("act", nargs="?", choices=["list", "ack"], default="list", metavar="list|ack")
    command.add_argument("names", nargs="*", metavar="ALERT", help="files of the alerts to put away (ack without: all)")


def send_alerts(settings: Settings, terminal: Terminal) -> int:
    """Send what is open to the addresses of ``ccci_alert_urls``, and say what was not sent; how many."""
    state = StateDir(settings.state_dir.absolute())
    if not settings.alert_urls or not any(state.alerts.glob("*.json")):
        return 0
    done = deliver(state, through_apprise(settings.alert_urls))
    if done.undelivered:
        terminal.problem(f"{done.undelivered} alerts could not be delivered: {done.problem}; tried again next time")
    return done.undelivered


def run_alerts(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """List, or acknowledge."""
    state = open_state(settings.state_dir)
    alerts = open_alerts(state)
    if args.act == "ack":
        known = {path.name: path for path, _ in alerts}
        wanted = args.names or list(known)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise UsageError(f"no such open alert: {', '.join(unknown)}", seen=f"open: {', '.join(known) or 'none'}")
        for name in wanted:
            terminal.say(f"seen: {acknowledge(state, known[name])}")
        return 0
    if args.names:
        raise UsageError("names of alerts go with `ccci alerts ack`")
    if args.json:
        terminal.json([{"file": path.name, **vars(alert)} for path, alert in alerts])
        return 0
    for path, alert in alerts:
        terminal.say(f"{alert.kind}: {alert.app} {alert.attempted}".rstrip(), "bad")
        terminal.say(f"  since {alert.time}, run {alert.run_id or 'none'}, file {path.name}")
        if alert.notes:
            terminal.say(f"  {alert.notes}")
    if not alerts:
        terminal.say("no open alert", "good")
    return 0
