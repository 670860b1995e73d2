"""``ccci trigger``, ``delivery`` and ``comment``: commands in comments on pull requests, served or only looked at."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
import threading
from pathlib import Path

from pytest_ccci.cli.arguments import INFRA, TRIGGER, Commands, add_command, duration, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.decision import CommentFacts, Known, answer, decide
from pytest_ccci.ops.trigger.delivery import read_delivery, read_request
from pytest_ccci.ops.trigger.gitea import Gitea, check_forge, comment_place, poll_comment
from pytest_ccci.ops.trigger.models import LARGEST
from pytest_ccci.ops.trigger.play import Player, find_recipes
from pytest_ccci.ops.trigger.service import Trigger
from pytest_ccci.ops.trigger.store import CommandRecord
from pytest_ccci.ops.trigger.store import Commands as KnownCommands
from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state

__all__ = [
    "add_comment",
    "add_delivery",
    "add_trigger",
    "comment",
    "delivery",
    "read_secret",
    "serve",
    "status",
    "team_named",
]

_LONGEST_SECRET = 4096
_LAST = 10


def add_trigger(commands: Commands) -> None:
    """Declare ``ccci trigger``."""
    about = (
        "serve: take commands (!testme) in comments on pull requests of a Forgejo or Gitea from webhooks and by "
        "polling, run them, and answer; status: what was asked, and what the forge was not told yet"
    )
    command = add_command(
        commands, "trigger", _trigger, about=about, settings=(*INFRA, "keep_runs", *TRIGGER), json=True
    )
    command.add_argument("act", choices=["serve", "status"])
    command.add_argument(
        "--patience", type=duration, default=3600.0, metavar="TIME", help="how long one run may take (default: 1h)"
    )


def _trigger(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    return {"serve": serve, "status": status}[args.act](args, settings, terminal)


def serve(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Serve until asked to stop. 0: asked to stop; 2: it was asked wrongly."""
    needed = ("forge", "forge_team", "forge_bot", "forge_token_file", "forge_secret_file")
    missing = [name for name in needed if not getattr(settings, name)]
    if missing:
        flags = ", ".join(f"--ccci-{name.replace('_', '-')}" for name in missing)
        raise UsageError("the trigger needs more settings", seen=f"not given: {flags}", advice="see docs/trigger.md")
    check_forge(settings.forge)
    team_named(settings.forge_team)
    address, port = _listen(settings.forge_listen)
    token, secret = read_secret(settings.forge_token_file or Path()), read_secret(settings.forge_secret_file or Path())
    if not token:
        raise UsageError("the token is empty", where=str(settings.forge_token_file))
    recipes = find_recipes(settings.forge_recipes)
    stop = threading.Event()

    def waited(seconds: float) -> None:
        stop.wait(seconds)

    state = open_state(settings.state_dir)
    state.commands.mkdir(parents=True, exist_ok=True, mode=0o700)
    trigger = Trigger(
        state=state,
        bot=Bot(settings.forge, token, settings.forge_bot, wait=waited),
        team=settings.forge_team,
        secret=secret.encode(),
        recipes=recipes,
        play=Player(settings, state, passed_on(args), args.patience, settings.forge_link).play,
        slots=settings.slots,
        link=settings.forge_link,
        stop=stop,
    )
    trigger.serve(
        address,
        port,
        ready=lambda at: terminal.say(f"taking webhooks at {address}:{at}, for {len(recipes)} recipes", "good"),
    )
    terminal.say("asked to stop: nothing is played any more")
    return 0


def status(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Show what was asked. 0: the forge was told all; 1: not yet, or a file is damaged."""
    known = KnownCommands(StateDir(settings.state_dir))
    owed = [one for one in known.all() if one.owes]
    if args.json:
        rows = [{**dataclasses.asdict(one), "owes": one.owes} for one in known.all()]
        terminal.json({"commands": rows, "damaged": sorted(known.damaged)})
        return 1 if owed or known.damaged else 0
    live = [one for one in known.all() if one.state != "ended" or one.owes]
    for one in live or known.all()[-_LAST:]:
        terminal.say(_row(one), "warn" if one.owes else "dim")
        if one.problem:
            terminal.say(f"    {one.problem}", "bad")
    for key in sorted(known.damaged):
        terminal.say(f"{key}: its file is damaged; the comment counts as answered", "bad")
    told = f"{len(known.all())} commands, {len(owed)} of which the forge was not told all"
    terminal.say(told if known.all() else "no command was given yet", "bad" if owed or known.damaged else "good")
    return 1 if owed or known.damaged else 0


def _row(one: CommandRecord) -> str:
    what = f"{one.what} {one.mode} {one.commit[:12]}".strip() if one.what == "run" else one.what or "not decided"
    place = f"{one.facts.repository}#{one.facts.pull}"
    said = f"{one.verdict}: {one.doing}" if one.verdict else one.doing
    return f"{place:<32}{one.state:<10}{what:<30}{said}"


def _listen(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:  # noqa: PLR2004  TCP's own range
        raise UsageError("it is no ADDRESS:PORT", where=f"--ccci-forge-listen {text}")
    return address.strip("[]"), int(port)


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
