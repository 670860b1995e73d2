"""``ccci delivery``: what a command in a comment comes to, told from a webhook delivery that was saved."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.decision import Known, answer, decide
from pytest_ccci.ops.trigger.delivery import LARGEST, read_delivery, read_request
from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "say what a command in a comment (!testme) comes to, and what is answered, from a saved webhook delivery; "
        "asks no forge and starts nothing; ends with 0 where it would be run"
    )
    command = add_command(commands, "delivery", run, about=about, settings=(), json=True)
    command.set_defaults(only_reads=True)
    command.add_argument(
        "request",
        metavar="FILE",
        help="the HTTP request as it came: headers, an empty line, the body; - is standard input",
    )
    command.add_argument(
        "--secret-file", type=Path, required=True, metavar="FILE", help="holds the webhook's secret, in one line"
    )
    command.add_argument(
        "--bot", required=True, metavar="LOGIN", help="the account that answers: its comments are none"
    )
    command.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="LOGIN",
        help="somebody in the team that may test; may be given more than once",
    )
    command.add_argument("--handled", action="store_true", help="the comment was answered before")
    command.add_argument(
        "--head", default="", metavar="COMMIT", help="the full id of the pull request's head now, if it was read"
    )


def run(args: argparse.Namespace, _settings: Settings, terminal: Terminal) -> int:
    """Decide. 0: it would be run; 1: it would not, or the delivery is not proved; 2: a file cannot be read."""
    secret = _read(args.secret_file, 4096).strip()
    SECRETS.learn(secret.decode("utf-8", "replace"))
    raw = _read(None if args.request == "-" else Path(args.request), 2 * LARGEST)
    facts = read_delivery(read_request(raw), secret)
    if facts is None:
        terminal.json({"facts": None}) if args.json else terminal.say("ignore: it is about no comment")
        return 1
    members = {name.lower() for name in args.member}
    known = Known(args.bot, handled=args.handled, member=facts.author.lower() in members, head_now=args.head)
    decision = decide(facts, known)
    told = answer(decision)
    if args.json:
        said = dataclasses.asdict(decision)
        terminal.json(
            {"facts": dataclasses.asdict(facts), "decision": {**said, "words": decision.words}, "answer": told}
        )
    else:
        if facts.action != "review":
            fork = ", from a fork" if facts.fork else ""
            terminal.say(f"{facts.repository} pull request {facts.pull}{fork}")
            terminal.say(f"comment {facts.comment_id} by {facts.author}, {facts.action} by {facts.sender}")
        terminal.say(f"{decision.what}: {decision.words}", "good" if decision.what == "run" else "warn")
        if told:
            terminal.title("answer")
            terminal.say(told.rstrip())
    return 0 if decision.what == "run" else 1


def _read(path: Path | None, longest: int) -> bytes:
    try:
        if path is None:
            return sys.stdin.buffer.read(longest)
        with path.open("rb") as file:
            return file.read(longest)
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", where=str(path)) from error
