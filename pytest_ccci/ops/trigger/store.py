"""What ``ccci trigger`` writes down: each command ever given, what became of it, and what of that the forge was told.

One file per command, kept for ever: a comment is one run. A file that is damaged still means that.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from pytest_ccci.errors import StateDamaged, Verdict
from pytest_ccci.ops.trigger.decision import CommentFacts, Mode
from pytest_ccci.results.forge import CONTEXT
from pytest_ccci.statedir import StateDir, load_state, write_atomic

__all__ = [
    "CommandRecord",
    "Commands",
    "Polled",
    "Status",
    "command_key",
    "command_line",
    "load_command",
    "load_polled",
    "turned",
]

_LINE = 200
"""Characters of a comment that are kept: the longest command has fewer."""


@dataclass(frozen=True)
class Status:
    """The state of a commit, under the only context that there is."""

    state: Literal["pending", "success", "failure", "error"]
    description: str
    context: str = CONTEXT


@dataclass(frozen=True)
class CommandRecord:
    """One command, from its comment to the answer that was delivered.

    Attributes:
        number: in order of coming; a larger one is later.
        state: ``received`` (nothing was decided), ``queued``, ``running``, ``ended`` (also: refused, ignored).
        at, begun, ended: in seconds of our clock since 1970; 0 where it is not so far.
        what, reason, mode, commit: as it was decided.
        run_id: of its run, from when it is queued; empty again where it ended without one.
        doing: why it ended without a run, or what its run came to, in a sentence.
        body: the comment as it should be; ``answer_id`` is its number on the forge, 0 while it is not known.
        status: the commit's status as it should be; ``None`` for none, or where a later run has the say.
        notice: one more comment, since the verdict turned; ``notice_id`` its number on the forge.
        told: what was delivered, and read back: digests of body and notice, the status' state and description.
        head_then: the head of the pull request when its result was delivered; empty before.
        tries, next_try, since: of the delivery: attempts that failed, when to try again, since when it is wanted.
        problem: why the last attempt failed.
    """

    key: str
    number: int
    facts: CommentFacts
    at: float
    recipe: str = ""
    state: Literal["received", "queued", "running", "ended"] = "received"
    begun: float = 0.0
    ended: float = 0.0
    what: str = ""
    reason: str = ""
    mode: Mode = "cold"
    commit: str = ""
    doing: str = ""
    verdict: str = ""
    run_id: str = ""
    seconds: float = 0.0
    body: str = ""
    answer_id: int = 0
    status: Status | None = None
    notice: str = ""
    notice_id: int = 0
    told_body: str = ""
    told_status: str = ""
    told_notice: str = ""
    head_then: str = ""
    tries: int = 0
    next_try: float = 0.0
    since: float = 0.0
    problem: str = ""

    @property
    def marker(self) -> str:
        """What its comment begins with: nobody sees it, and the comment is found again by it."""
        return f"<!-- ccci:{self.key} -->"

    @property
    def notice_marker(self) -> str:
        """The same for the comment that says that the verdict turned."""
        return f"<!-- ccci:turned:{self.key} -->"

    @property
    def owes(self) -> bool:
        """Whether the forge was not told all yet."""
        return self.owes_body or self.owes_status or self.owes_notice

    @property
    def owes_body(self) -> bool:
        """Whether the comment is not as it should be."""
        return bool(self.body) and self.told_body != digest(self.body)

    @property
    def owes_status(self) -> bool:
        """Whether the commit's status is not as it should be."""
        return self.status is not None and self.told_status != status_text(self.status)

    @property
    def owes_notice(self) -> bool:
        """Whether the comment that says that the verdict turned is not there."""
        return bool(self.notice) and self.told_notice != digest(self.notice)


@dataclass(frozen=True)
class Polled:
    """How far the forge was polled, in its own time, ISO 8601 in UTC; what is older than ``begun`` is none of ours."""

    since: str
    begun: str


def digest(text: str) -> str:
    """A name for a text, blanks aside: forges change those."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def status_text(status: Status) -> str:
    """A status as one text, to compare."""
    return f"{status.state}: {status.description}"


def command_line(text: str) -> str:
    """The line of a comment that may be a command. What is too long is none, and is not made one by cutting it."""
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    return line if len(line) <= _LINE else f"{line[:_LINE]}…"


def command_key(forge: str, comment_id: int) -> str:
    """The key of a comment: a name of its forge, and its number there; fit for a file's name."""
    host = re.sub(r"[^a-z0-9.]+", "-", forge.partition("://")[2].lower()).strip("-.")[:60]
    return f"{host}-{hashlib.sha256(forge.encode()).hexdigest()[:8]}-{comment_id}"


def load_command(path: Path) -> CommandRecord | None:
    """A command that was written down at ``path``; ``None`` where there is none.

    Raises:
        StateDamaged: it cannot be used.
    """
    advice = "leave it: the comment counts as answered, and its author can write a new one"
    return load_state(path, CommandRecord, advice=advice, check=lambda one: _check_key(one, path))


def _check_key(record: CommandRecord, path: Path) -> None:
    if record.key != path.stem:
        raise ValueError(f"it is of the command {record.key!r}")


def load_polled(path: Path) -> Polled | None:
    """How far the forge was polled; ``None`` before the first time.

    Raises:
        StateDamaged: it cannot be used.
    """
    return load_state(path, Polled, advice="remove it: the next poll begins from now", check=_check_times)


def _check_times(polled: Polled) -> None:
    for text in (polled.since, polled.begun):
        if datetime.fromisoformat(text).tzinfo is None:
            raise ValueError(f"{text!r} has no time zone")


class Commands:
    """All commands, in memory as on disk. Threads share it: a change is whole, and written before it counts."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._guard = threading.RLock()
        self._known: dict[str, CommandRecord] = {}
        self.damaged: set[str] = set()
        self.reload()

    def reload(self) -> None:
        """Read all of them anew: for who has just become the only one that writes them."""
        self._known.clear()
        self.damaged.clear()
        for path in sorted(self._state.commands.glob("*.json")):
            try:
                found = load_command(path)
            except StateDamaged:
                self.damaged.add(path.stem)
            else:
                if found is not None:
                    self._known[path.stem] = found

    def all(self) -> tuple[CommandRecord, ...]:
        """All of them, in order of coming."""
        with self._guard:
            return tuple(sorted(self._known.values(), key=lambda one: one.number))

    def get(self, key: str) -> CommandRecord:
        """One of them, as it is now."""
        with self._guard:
            return self._known[key]

    def has(self, key: str) -> bool:
        """Whether this command is known, be its file damaged."""
        with self._guard:
            return key in self._known or key in self.damaged

    def receive(self, key: str, facts: CommentFacts, *, now: float, recipe: str = "") -> bool:
        """Write a new command down; whether it is new."""
        with self._guard:
            if self.has(key):
                return False
            number = max((one.number for one in self._known.values()), default=0) + 1
            self._write(CommandRecord(key, number, replace(facts, text=command_line(facts.text)), now, recipe=recipe))
            return True

    def tell_more(self, key: str, facts: CommentFacts) -> bool:
        """Take what a webhook tells of a command that a poll found and nobody decided yet: it knows the head."""
        with self._guard:
            known = self._known.get(key)
            if known is None or known.state != "received" or (known.facts.source, facts.source) != ("poll", "webhook"):
                return False
            self._write(replace(known, facts=replace(facts, text=command_line(facts.text)), tries=0, next_try=0.0))
            return True

    def change(self, key: str, **values: Any) -> CommandRecord:
        """Change one, on disk first."""
        with self._guard:
            fresh = replace(self._known[key], **values)
            if fresh != self._known[key]:
                self._write(fresh)
            return fresh

    def in_state(self, *states: str) -> tuple[CommandRecord, ...]:
        """Those in one of ``states``, in order of coming."""
        return tuple(one for one in self.all() if one.state in states)

    def outdone(self, record: CommandRecord) -> bool:
        """Whether a later run of the same commit has the say of its status."""
        return any(
            one.number > record.number
            and (one.what, one.mode, one.commit) == ("run", "cold", record.commit)
            and one.facts.repository == record.facts.repository
            for one in self.all()
        )

    def last_verdict(self, record: CommandRecord) -> str:
        """What the run before this one came to, of the same pull request and mode, where it said pass or fail.

        Empty where there is none, or where a later command has had the last word already.
        """
        place = (record.facts.repository, record.facts.pull, record.mode)
        before = [
            one
            for one in self.in_state("ended")
            if (one.facts.repository, one.facts.pull, one.mode) == place
            and one.key != record.key
            and one.verdict in {Verdict.PASS, Verdict.FAIL}
        ]
        last = max(before, key=lambda one: one.number, default=None)
        return last.verdict if last is not None and last.number < record.number else ""

    def _write(self, record: CommandRecord) -> None:
        data = _adapter().dump_json(record, indent=1)
        write_atomic(self._state.commands / f"{record.key}.json", data)
        self._known[record.key] = record


@cache
def _adapter() -> TypeAdapter[CommandRecord]:
    """How a command is written: made at the first one, since that takes longer than to write it."""
    return TypeAdapter(CommandRecord)


def turned(before: str, after: str) -> bool:
    """Whether a verdict turned against the one before it: from pass to fail, or back. What is neither turns nothing."""
    said: Callable[[str], bool] = {Verdict.PASS, Verdict.FAIL}.__contains__
    return said(before) and said(after) and before != after
