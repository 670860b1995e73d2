"""Tells the forge what became of each command: comment, commit status, and one more comment where the verdict turned.

What should stand on the forge is written down with the command; the outbox makes it so, and reads it back. So a
receipt that was never delivered is not caught up with when the result is there, and nothing is told twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pytest_ccci.errors import CcciError, ForgeBusy, InfrastructureFault
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.store import CommandRecord, Commands, digest, status_text
from pytest_ccci.redact import SECRETS

__all__ = ["DAYS", "Outbox", "next_pause"]

_LOG = logging.getLogger(__name__)

DAYS = 7
"""So long a delivery is tried again."""
_DAY = 24 * 3600.0
_SHORTEST, _LONGEST = 5.0, 3600.0


def next_pause(tries: int, asked: float = 0.0) -> float:
    """Seconds until the next attempt after ``tries`` that failed: longer each time, at least what was asked for."""
    return max(asked, min(_LONGEST, _SHORTEST * 2.0 ** min(tries, 12)))


@dataclass
class Outbox:
    """Delivers what is owed, in order of coming, each command by itself: one that fails holds up no other.

    Args:
        link: the address below which the folder of each run is served; empty where none is.
        now: seconds since 1970.
    """

    commands: Commands
    bot: Bot
    now: Callable[[], float]
    link: str = ""

    def deliver(self, *, all_now: bool = False) -> int:
        """Try what is due (``all_now``: what is owed); how many commands are still owed something."""
        asked = 0.0
        for record in self.commands.all():
            if not record.owes or self._given_up(record):
                continue
            if record.next_try > self.now() and not all_now:
                continue
            if asked:  # the forge asked all of us to wait
                self._later(record, "the forge asks to wait", asked)
                continue
            try:
                self._tell(record)
            except ForgeBusy as error:
                asked = error.seconds
                self._later(record, str(error), asked)
            except CcciError as error:
                self._later(record, str(error), 0.0)
            else:
                self.commands.change(record.key, tries=0, next_try=0.0, problem="")
        return sum(one.owes and not self._given_up(one) for one in self.commands.all())

    def _given_up(self, record: CommandRecord) -> bool:
        return bool(record.since) and self.now() - record.since > DAYS * _DAY

    def _later(self, record: CommandRecord, problem: str, asked: float) -> None:
        pause = next_pause(record.tries, asked)
        plain = SECRETS.scrub(" ".join(problem.split()))[:500]
        _LOG.log(
            logging_level(record.tries),
            f"{record.facts.repository}#{record.facts.pull}: not delivered, tried again in {pause:.0f} s: {plain}",
        )
        self.commands.change(record.key, tries=record.tries + 1, next_try=self.now() + pause, problem=plain)

    # --- one command

    def _tell(self, record: CommandRecord) -> None:
        """Comment, status, notice: each is tried, and the first problem is raised at the end.

        Raises:
            CcciError: not all of it could be delivered.
        """
        first: CcciError | None = None
        for act in (self._tell_body, self._tell_status, self._tell_notice):
            try:
                act(self.commands.get(record.key))
            except ForgeBusy:
                raise
            except CcciError as error:
                first = first or error
        if first is not None:
            raise first

    def _tell_body(self, record: CommandRecord) -> None:
        if not record.owes_body:
            return
        record = self._with_head(record)
        number = self._placed(record, record.answer_id, record.body, record.marker)
        self.commands.change(record.key, answer_id=number, told_body=digest(record.body))

    def _tell_notice(self, record: CommandRecord) -> None:
        if not record.owes_notice:
            return
        number = self._placed(record, record.notice_id, record.notice, record.notice_marker)
        self.commands.change(record.key, notice_id=number, told_notice=digest(record.notice))

    def _placed(self, record: CommandRecord, number: int, body: str, marker: str) -> int:
        """Put a comment of our own where it belongs, and read it back; its number."""
        place = (record.facts.repository, record.facts.pull)
        # Also before the first attempt as far as we know: we may have been killed after it, or its answer was lost.
        number = number or self.bot.find_comment(*place, marker)
        if number and not self.bot.edit_comment(place[0], number, body):
            number = 0  # somebody deleted it
        number = number or self.bot.write_comment(*place, body)
        there = self.bot.read_own(place[0], number)
        if there is None or digest(there) != digest(body):
            raise InfrastructureFault(
                "a comment that was written is not there as it was written, or not as our own",
                where=f"{self.bot.forge}/{place[0]}/pulls/{place[1]}",
                advice=f"is the token that of {self.bot.login} (--ccci-forge-bot)?",
            )
        return number

    def _with_head(self, record: CommandRecord) -> CommandRecord:
        """A result says where it is not about the head any more: so the head is read when it is told."""
        if record.head_then or record.state != "ended" or record.what != "run" or not record.run_id:
            return record
        pull = self.bot.head(record.facts.repository, record.facts.pull)
        head = pull.head.sha if pull else "gone"
        body = record.body
        if pull is not None and head != record.commit:
            marker, _, rest = body.partition("\n")
            note = f"**Not the head any more**: this is about `{record.commit}`; by now the head is `{head}`."
            body = f"{marker}\n{note}\n\n{rest}"
        return self.commands.change(record.key, head_then=head, body=body)

    def _tell_status(self, record: CommandRecord) -> None:
        status = record.status
        if status is None or not record.owes_status:
            return
        if self.commands.outdone(record):
            self.commands.change(record.key, status=None)
            return
        repository, wanted = record.facts.repository, (status.state, status.description)
        # Read first: an attempt whose answer was lost is not made again.
        if self.bot.read_status(repository, record.commit, status.context) != wanted:
            over = record.state == "ended" and record.run_id
            link = f"{self.link.rstrip('/')}/{record.run_id}/" if self.link and over else ""
            self.bot.write_status(repository, record.commit, status, link)
            if self.bot.read_status(repository, record.commit, status.context) != wanted:
                raise InfrastructureFault(
                    "a commit status that was written is not there as our own",
                    where=f"{self.bot.forge}/{repository}/commit/{record.commit}",
                    advice=f"is the token that of {self.bot.login} (--ccci-forge-bot)?",
                )
        self.commands.change(record.key, told_status=status_text(status))


def logging_level(tries: int) -> int:
    """The first failure is told at once, the others only to who asks for details."""
    return logging.DEBUG if tries else logging.INFO
