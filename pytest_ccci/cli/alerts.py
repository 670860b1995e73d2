"""``ccci alerts``: what an operator must see, and that it was seen."""

from __future__ import annotations

import argparse

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm.alerts import acknowledge, deliver, open_alerts, through_apprise

__all__ = ["add_alerts", "run_alerts", "send_alerts"]


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
    done = deliver(state, through_apprise(settings.alert_urls), tell=terminal.silent)
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
