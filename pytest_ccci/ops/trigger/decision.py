"""The command in a comment, and whether it makes a run: run, refuse, help or ignore, from what is known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

__all__ = [
    "Command",
    "CommentFacts",
    "Decision",
    "Known",
    "Mode",
    "PullRead",
    "Push",
    "Source",
    "answer",
    "bind_head",
    "decide",
    "parse_command",
]

Mode = Literal["cold", "quick"]
Source = Literal["webhook", "poll"]
_APART = timedelta(seconds=5)
"""A forge notes a push up to about a second after its commit can be seen: so much later nothing is missing."""
_FULL_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_WORD = "!testme"
_MODES: Mapping[str, Mode] = {"": "cold", " --quick": "quick"}
_NAMED = re.compile(r" [0-9a-f]{40}", re.ASCII)
_CODE = 4
"""So many blanks at the beginning of a line make it code, in Markdown."""


@dataclass(frozen=True)
class Command:
    """What a comment asks for. ``problem`` is why it is no command though it begins like one; empty where it is one.

    ``commit`` is the full id that the comment names; empty for the pull request's head.
    """

    mode: Mode = "cold"
    commit: str = ""
    problem: str = ""


def parse_command(text: str) -> Command | None:
    """The command in the first line of ``text``; ``None`` where the comment does not begin like one.

    Blanks at the line's end do not matter; all else does. A quote (``>``) or code never begins like a command.
    """
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    plain = line.lstrip(" \t")
    indent = line[: len(line) - len(plain)].expandtabs(_CODE)
    if not plain.lower().startswith(_WORD) or len(indent) >= _CODE:
        return None
    if not line.startswith(_WORD):
        return Command(problem="the command is written in small letters, at the very beginning of the comment")
    words = line.rstrip(" \t").removeprefix(_WORD)
    if words in _MODES:
        return Command(mode=_MODES[words])
    if _NAMED.fullmatch(words):
        return Command(commit=words[1:])
    if re.fullmatch(r" [0-9a-fA-F]{4,64}", words):
        return Command(problem="a commit is named by its full id: 40 digits of 0-9 and a-f, in small letters")
    return Command(problem="what follows !testme is not known")


@dataclass(frozen=True)
class CommentFacts:
    """What a forge says of one comment.

    Attributes:
        repository: ``owner/name`` of the pull request's base.
        action: what happened to the comment: created, edited, deleted; ``review`` where it is part of a review.
        author: who wrote the comment; ``sender``: who did what happened.
        head: the full id of the head that the comment is about; empty where the forge does not tell it.
        doubt: why ``head`` cannot be told, in words for the author of the comment.
    """

    repository: str
    pull: int
    comment_id: int
    text: str
    author: str
    sender: str
    action: str = "created"
    source: Source = "webhook"
    is_pull: bool = True
    is_open: bool = True
    edited: bool = False
    head: str = ""
    doubt: str = ""
    fork: bool = False


@dataclass(frozen=True)
class Known:
    """What we know beside the comment.

    ``handled``: the comment was decided before; it stays so for ever. ``member``: its author is in the team that may
    test, as the forge says now; ``None`` where it could not be asked. ``head_now``: the pull request's head, read after
    the comment came; empty where it was not read.
    """

    bot: str
    handled: bool = False
    member: bool | None = None
    head_now: str = ""


@dataclass(frozen=True)
class Decision:
    """What follows from a comment. Only ``run`` has a ``commit``, always a full id.

    ``reason`` is a short name that stays, ``detail`` what is special this time; ``sure`` the sure form's commit.
    """

    what: Literal["run", "refuse", "help", "ignore"]
    reason: str
    mode: Mode = "cold"
    commit: str = ""
    detail: str = ""
    sure: str = ""

    @property
    def words(self) -> str:
        """The reason in a sentence."""
        return _REASONS[self.reason] + (f": {self.detail}" if self.detail else "")


_REASONS: Mapping[str, str] = {
    "asked": "a member of the team asked for it",
    "handled": "this comment was answered before: one comment is one run",
    "own-comment": "it is a comment of our own",
    "no-pull-request": "it is no comment on a pull request",
    "review": "it is part of a review, which is no command",
    "not-created": "only a comment that is new is a command",
    "no-command": "it does not begin with !testme",
    "edited": "a comment that was edited is no command, since others may have edited it; write a new one",
    "not-its-author": "it was sent by somebody else than its author",
    "closed": "the pull request is closed or merged",
    "deleted": "the comment that asked for it was deleted",
    "unknown-command": "this is no command",
    "stranger": "only members of the team may start a run",
    "member-unknown": "the forge did not say whether you are a member of the team; try again later",
    "head-unknown": "nobody can say for sure which commit the comment is about",
    "head-moved": "the head of the pull request is another commit by now",
    "not-the-head": "the commit that is named is not the head of the pull request",
}


def decide(facts: CommentFacts, known: Known) -> Decision:
    """What follows from one comment. What is not known for sure never runs."""
    command = parse_command(facts.text)
    silent = _silent(facts, known, command)
    if silent or command is None:
        return Decision("ignore", silent or "no-command")
    sure = known.head_now or facts.head
    refused = _refused(facts, known, command)
    if refused == "unknown-command":
        return Decision("help", refused, detail=command.problem)
    if refused:
        detail = facts.doubt if refused == "head-unknown" else ""
        return Decision("refuse", refused, detail=detail, sure=sure if _FULL_SHA.fullmatch(sure) else "")
    return Decision("run", "asked", mode=command.mode, commit=command.commit or facts.head)


def _silent(facts: CommentFacts, known: Known, command: Command | None) -> str:
    """Why nothing is done and nobody is answered; empty where there is more to ask."""
    reasons = (
        ("no-pull-request", not facts.is_pull),
        ("review", facts.action == "review"),
        ("not-created", facts.action not in {"created", "edited"}),
        ("no-command", command is None),
        ("own-comment", known.bot.lower() in {facts.author.lower(), facts.sender.lower()}),
        ("handled", known.handled),
    )
    return next((reason for reason, holds in reasons if holds), "")


def _refused(facts: CommentFacts, known: Known, command: Command) -> str:
    """Why it is no run; empty where it is one."""
    head = known.head_now or facts.head
    unsure = not _FULL_SHA.fullmatch(head) or bool(facts.doubt and not command.commit)
    reasons = (
        ("edited", facts.action == "edited" or facts.edited),
        ("not-its-author", facts.sender.lower() != facts.author.lower()),
        ("closed", not facts.is_open),
        ("unknown-command", bool(command.problem)),
        ("member-unknown", known.member is None),
        ("stranger", not known.member),
        ("head-unknown", unsure or not (facts.head or command.commit)),
        ("not-the-head", bool(command.commit) and command.commit != head),
        ("head-moved", not command.commit and facts.head != head),
    )
    return next((reason for reason, holds in reasons if holds), "")


@dataclass(frozen=True)
class Push:
    """A push to a pull request, as its timeline notes it. Its number is of the same row as those of comments."""

    number: int
    at: datetime


@dataclass(frozen=True)
class PullRead:
    """A pull request with one of its comments, read at one moment (``at``: our clock, only for the time in between)."""

    at: timedelta
    comment: CommentFacts
    commented: datetime
    head: str
    pushes: tuple[Push, ...]
    complete: bool = True
    """Whether all pages of comments and timeline were read."""


def bind_head(first: PullRead, second: PullRead) -> CommentFacts:
    """The facts of a polled comment with its head, from two reads; where they leave a doubt, it is told instead.

    A forge's list says neither which head a comment was written for nor, for about a second, that there was a push. So
    the head counts only if it was the same in two reads at least five seconds apart, and no push is noted that is near
    the comment, or came after it.
    """
    facts = replace(second.comment, source="poll", head="", doubt=_doubt(first, second))
    if first.comment.text != second.comment.text or first.comment.edited:
        facts = replace(facts, edited=True)
    return facts if facts.doubt else replace(facts, head=second.head)


def _doubt(first: PullRead, second: PullRead) -> str:
    same = (first.comment.repository, first.comment.pull, first.comment.comment_id) == (
        second.comment.repository,
        second.comment.pull,
        second.comment.comment_id,
    )
    pushes = {(push.number, push.at) for push in (*first.pushes, *second.pushes)}
    near = [at for _, at in pushes if abs(at - second.commented) <= _APART]
    reasons = (
        ("the forge was not read twice, five seconds apart", not same or second.at - first.at < _APART),
        ("the forge did not show all of it", not (first.complete and second.complete)),
        ("the head moved while it was read", first.head != second.head),
        ("there was a push within five seconds of the comment; write it again", bool(near)),
        ("there was a push after the comment", any(number > second.comment.comment_id for number, _ in pushes)),
    )
    return next((words for words, holds in reasons if holds), "")


_HELP = """\
| command, as the first line of a comment | what it does |
| --- | --- |
| `!testme` | tests the head of this pull request: a fresh app, upgraded from the newest release |
| `!testme --quick` | the same from the kept known-good; it never gates |
| `!testme <full commit id>` | tests this commit, and nothing if it is not the head |
"""


def answer(decision: Decision) -> str:
    """What is answered to the author of the comment, as Markdown; empty for what is ignored.

    Nothing of the comment is repeated in it.
    """
    if decision.what == "ignore":
        return ""
    if decision.what == "run":
        return f"Queued: {decision.mode}, commit `{decision.commit}`.\n"
    if decision.what == "help":
        return f"Not run: {decision.words}.\n\n{_HELP}"
    way = f"\nThe sure form, if this is what you mean: `!testme {decision.sure}`\n" if decision.sure else ""
    return f"Not run: {decision.words}.\n{way}"
