"""``ccci delivery`` and ``ccci comment``: what a command in a comment on a pull request comes to."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.decision import CommentFacts, Known, answer, decide
from pytest_ccci.ops.trigger.delivery import read_delivery, read_request
from pytest_ccci.ops.trigger.gitea import Gitea, comment_place, poll_comment
from pytest_ccci.ops.trigger.models import LARGEST
from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings

__all__ = ["add_comment", "add_delivery", "comment", "delivery", "read_secret", "team_named"]

_LONGEST_SECRET = 4096


def add_delivery(commands: Commands) -> None:
    """Declare ``ccci delivery``."""
    about = (
        "say what a command in a comment (!testme) comes to, and what is answered, from a saved webhook delivery; "
        "asks no forge and starts nothing; ends with 0 where it would be run"
    )
    command = add_command(commands, "delivery", delivery, about=about, settings=("state_dir",), json=True)
    command.add_argument(
        "request", metavar="FILE", help="the HTTP request as it came: headers, an empty line, body; - is standard input"
    )
    command.add_argument(
        "--secret-file", type=Path, required=True, metavar="FILE", help="holds the webhook's secret, in one line"
    )
    _common(command)
    command.add_argument(
        "--member",
        action="append",
        default=[],
        metavar="LOGIN",
        help="somebody in the team that may test; may be given more than once",
    )
    command.add_argument(
        "--head", default="", metavar="COMMIT", help="the full id of the pull request's head now, if it was read"
    )


def add_comment(commands: Commands) -> None:
    """Declare ``ccci comment``."""
    about = (
        "say the same of a comment on a Forgejo or Gitea, as a poll finds it: reads it twice, five seconds apart, and "
        "asks whether its author is in the team; starts nothing, answers nothing"
    )
    command = add_command(commands, "comment", comment, about=about, settings=("state_dir",), json=True)
    command.add_argument("url", metavar="URL", help="the comment's address: https://…/pulls/3#issuecomment-1001")
    command.add_argument(
        "--token-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="holds a token, in one line, with the scopes read:issue, read:repository and read:organization",
    )
    command.add_argument("--team", required=True, metavar="ORG/TEAM", help="the team whose members may test")
    _common(command)


def _common(command: argparse.ArgumentParser) -> None:
    command.set_defaults(only_reads=True)
    command.add_argument(
        "--bot", required=True, metavar="LOGIN", help="the account that answers: its comments are none"
    )
    command.add_argument("--handled", action="store_true", help="the comment was answered before")


def delivery(args: argparse.Namespace, _settings: Settings, terminal: Terminal) -> int:
    """Decide on a delivery. 0: it would be run; 1: it would not, or is not proved; 2: a file cannot be read."""
    secret = read_secret(args.secret_file)
    raw = _read(None if args.request == "-" else Path(args.request), 2 * LARGEST)
    facts = read_delivery(read_request(raw), secret.encode())
    if facts is None:
        if args.json:
            terminal.json({"facts": None})
        else:
            terminal.say("ignore: it is about no comment", "warn")
        return 1
    member = facts.author.lower() in {name.lower() for name in args.member}
    return _tell(facts, Known(args.bot, handled=args.handled, member=member, head_now=args.head), args, terminal)


def comment(args: argparse.Namespace, _settings: Settings, terminal: Terminal) -> int:
    """Decide on a comment that is there. 0: it would be run; 1: it would not, or the forge cannot be asked."""
    place = comment_place(args.url)
    organisation, team = team_named(args.team)
    forge = Gitea(place.forge, read_secret(args.token_file))
    facts, head = poll_comment(forge, place)
    member = forge.is_member(organisation, team, facts.author)
    return _tell(facts, Known(args.bot, handled=args.handled, member=member, head_now=head), args, terminal)


def _tell(facts: CommentFacts, known: Known, args: argparse.Namespace, terminal: Terminal) -> int:
    decision = decide(facts, known)
    told = answer(decision)
    if args.json:
        said = {**dataclasses.asdict(decision), "words": decision.words}
        terminal.json({"facts": dataclasses.asdict(facts), "decision": said, "answer": told})
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


def read_secret(path: Path) -> str:
    """The one line of a file, never shown from now on.

    Raises:
        UsageError: it cannot be read, or holds more than that.
    """
    text = _read(path, _LONGEST_SECRET).decode("latin-1").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", text):
        raise UsageError("it holds more than one line of plain characters", where=str(path))
    SECRETS.learn(text)
    return text


def team_named(text: str) -> tuple[str, str]:
    """The organisation and the team in ``ORG/TEAM``.

    Raises:
        UsageError: it is no such name.
    """
    organisation, _, team = text.partition("/")
    if not team or not re.fullmatch(r"[A-Za-z0-9_.-]+", organisation) or organisation in {".", ".."}:
        raise UsageError("a team is named as ORG/TEAM", where=text)
    return organisation, team


def _read(path: Path | None, longest: int) -> bytes:
    try:
        if path is None:
            return sys.stdin.buffer.read(longest)
        with path.open("rb") as file:
            return file.read(longest)
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", where=str(path)) from error
