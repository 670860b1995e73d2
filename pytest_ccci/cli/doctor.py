"""``ccci doctor``: is this machine fit, and what to do where it is not."""

from __future__ import annotations

import argparse
import dataclasses

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.doctor import examine
from pytest_ccci.settings import Settings

__all__ = ["add_doctor", "run_doctor"]

_CHECK_TONE = {"ok": "good", "note": "warn", "bad": "bad"}


def add_doctor(commands: Commands) -> None:
    """Declare it."""
    add_command(
        commands, "doctor", run_doctor, about="check this machine and say what to do", settings=MACHINE, json=True
    )


def run_doctor(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Check; red when something stops runs."""
    checks = examine(settings)
    if args.json:
        terminal.json([dataclasses.asdict(check) for check in checks])
    else:
        for check in checks:
            terminal.say(f"{check.level:<5} {check.name:<18} {check.seen}", _CHECK_TONE[check.level])
            if check.advice and check.level != "ok":
                terminal.say(f"      {'':<18} try: {check.advice}")
    return 1 if any(check.level == "bad" for check in checks) else 0
