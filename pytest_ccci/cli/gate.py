"""``ccci gate``: what the safety gate says to a step from one release to another, and why. Touches nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Note
from pytest_ccci.settings import Settings
from pytest_ccci.warm.gate import Decision, gate

__all__ = ["add_gate", "run_gate"]

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
