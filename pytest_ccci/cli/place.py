"""``ccci place`` and ``dispatch``: on which of several machines a run belongs, and have it played there."""

from __future__ import annotations

import argparse
import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command, duration
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.cli.trigger import read_secret
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.dispatch import AWAY, ForgeActions, JobState, Placement, Receipt, Request, load_machines, place
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.decision import Mode
from pytest_ccci.ops.trigger.gitea import check_forge
from pytest_ccci.run.run_dir import new_run_id
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.alerts import Alert, AlertKind, raise_alert

__all__ = ["add", "add_dispatch", "dispatch", "run"]

_LOOK = 5.0
"""Seconds from one question how a job stands to the next."""


def add(commands: Commands) -> None:
    """Declare ``ccci place``."""
    about = (
        "on which of several machines a run belongs, by what ccci status --json printed on each; ends with 1 where "
        "it must wait; starts nothing"
    )
    command = add_command(commands, "place", run, about=about, settings=(), json=True)
    command.set_defaults(only_reads=True)
    _add_question(command)


def add_dispatch(commands: Commands) -> None:
    """Declare ``ccci dispatch``."""
    about = (
        "have a run played on the machine where it belongs, by the Actions of a Forgejo or Gitea (docs/ci.md); ends "
        "with 1 where it must wait, or with --wait was not green"
    )
    settings = ("state_dir", "forge", "forge_bot", "forge_token_file")
    command = add_command(commands, "dispatch", dispatch, about=about, settings=settings, json=True)
    _add_question(command)
    command.add_argument("--repository", required=True, metavar="OWNER/NAME", help="has the workflow dispatch.yml")
    command.add_argument("--ref", default="latest", help="what to test (default: latest)")
    command.add_argument("--wait", type=duration, metavar="TIME", help="wait up to so long until it has ended")


def _add_question(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", help="the recipe's name")
    command.add_argument("machines", type=Path, metavar="DIR", help="a folder with <machine>.json of each")
    command.add_argument("--quick", action="store_true", help="a quick run (default: a cold one)")
    command.add_argument(
        "--away",
        type=duration,
        default=AWAY.total_seconds(),
        metavar="TIME",
        help="a machine that was not heard of for so long is away (default: 10m)",
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:  # noqa: ARG001  as all commands
    """Decide. 0: there; 1: it waits."""
    found = _placed(args)
    if args.json:
        terminal.json(dataclasses.asdict(found))
    else:
        _tell(found, terminal)
        if not found.promotes:
            terminal.say("it must not promote: --ccci-promote=false", "warn")
    return 0 if found.machine else 1


def _placed(args: argparse.Namespace) -> Placement:
    return place(
        args.recipe,
        _mode(args),
        load_machines(args.machines),
        now=datetime.now(UTC),
        away=timedelta(seconds=args.away),
    )


def _mode(args: argparse.Namespace) -> Mode:
    return "quick" if args.quick else "cold"


def _tell(found: Placement, terminal: Terminal) -> None:
    terminal.say(f"{found.machine or 'waits'}: {found.why}", "plain" if found.machine else "warn")
    if found.alert:
        terminal.say(found.alert, "bad")


def dispatch(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Hand the run over. 0: it is there, with ``--wait`` green; 1: it waits for its machine, or was not green."""
    actions = _actions(args, settings)
    found = _placed(args)
    if found.alert:
        alert = Alert(AlertKind.UNAVAILABLE, args.recipe, attempted=f"a {_mode(args)} run", notes=found.alert)
        raise_alert(open_state(settings.state_dir), alert)
    receipt = actions.submit(_request(args, found), found.machine) if found.machine else None
    if not args.json:
        _tell(found, terminal)
        if receipt is not None:
            terminal.say(f"run {receipt.run_id}: {receipt.link}", "good")
    state = _ended(actions, receipt, args.wait) if receipt is not None and args.wait else JobState("waits")
    green = receipt is not None and (state.at == "waits" or state.said == "success")
    if args.json:
        job = {"receipt": receipt and dataclasses.asdict(receipt), "state": dataclasses.asdict(state)}
        terminal.json({**dataclasses.asdict(found), **job})
    elif state.at != "waits":
        terminal.say(f"it ended: {state.said}" if state.at == "ended" else "it is lost", "good" if green else "bad")
    return 0 if green else 1


def _request(args: argparse.Namespace, found: Placement) -> Request:
    """A green cold run of the latest release may promote, where no other machine has the canonical."""
    promotes = found.promotes and not args.quick and args.ref == "latest"
    return Request(args.recipe, _mode(args), args.ref, new_run_id(), promotes)


def _actions(args: argparse.Namespace, settings: Settings) -> ForgeActions:
    if not (settings.forge and settings.forge_token_file):
        raise UsageError("a run is handed over by a forge", advice="give --ccci-forge and --ccci-forge-token-file")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repository, re.ASCII):
        raise UsageError("it is no OWNER/NAME", where=f"--repository {args.repository}")
    check_forge(settings.forge)
    token = read_secret(settings.forge_token_file)
    return ForgeActions(Bot(settings.forge, token, settings.forge_bot), args.repository)


def _ended(actions: ForgeActions, receipt: Receipt, seconds: float) -> JobState:
    def look() -> JobState | None:
        now = actions.state(receipt)
        return now if now.at in {"ended", "lost"} else None

    what = f"run {receipt.run_id} to end on {receipt.machine}"
    return until(look, deadline=Deadline(seconds), what=what, every=_LOOK)
