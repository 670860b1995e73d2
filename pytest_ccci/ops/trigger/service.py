"""``ccci trigger serve``: takes commands from webhooks and polls, decides, plays them, and sees that they are answered.

One thread does all that asks the forge, turn by turn. Webhooks are written down in threads of their own, and runs are
played in others. All that counts is on disk before it is acted upon: killed anywhere and started again, nothing is
lost and nothing is done twice.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_ccci.errors import CcciError, InfrastructureFault, Refused, StateDamaged, UsageError
from pytest_ccci.locks import hold
from pytest_ccci.ops.trigger.bot import Bot, PolledComment
from pytest_ccci.ops.trigger.decision import CommentFacts, Decision, Known, PullRead, answer, bind_head, decide
from pytest_ccci.ops.trigger.delivery import Delivery, read_delivery
from pytest_ccci.ops.trigger.gitea import CommentPlace
from pytest_ccci.ops.trigger.outbox import DAYS, Outbox, next_pause
from pytest_ccci.ops.trigger.play import Job, Played, without_run
from pytest_ccci.ops.trigger.store import (
    CommandRecord,
    Commands,
    Polled,
    Status,
    command_key,
    command_line,
    load_polled,
    turned,
)
from pytest_ccci.run.run_dir import new_run_id
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.web import Posted, PostServer

__all__ = ["POLL", "Trigger"]

_LOG = logging.getLogger(__name__)

POLL = 60.0
"""Seconds between two polls, for what no webhook told."""
_OVERLAP = timedelta(seconds=120)
_APART = 5.2
_TICK = 1.0
_ESTIMATES = 5

Play = Callable[[Job, threading.Event], Played]


@dataclass
class Trigger:
    """The service.

    Args:
        bot: the forge, and the account that answers.
        team: organisation and team, ``ORG/TEAM``: its members may test, and all of the organisation is polled.
        secret: of the webhooks.
        recipes: the folder of the recipe of each repository, by the repository's name in small letters.
        play: plays a command, in a thread of its own.
        slots: how many are played at once; a run takes its slot of the machine itself, beside other runs.
        now: seconds since 1970. ``clock``: seconds of a clock that is never set.
    """

    state: StateDir
    bot: Bot
    team: str
    secret: bytes = field(repr=False)
    recipes: Mapping[str, Path]
    play: Play
    slots: int = 1
    link: str = ""
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    stop: threading.Event = field(default_factory=threading.Event)
    commands: Commands = field(init=False)
    outbox: Outbox = field(init=False)
    _wake: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(init=False)
    _first: dict[str, tuple[float, PullRead]] = field(default_factory=dict)
    _next_poll: float = 0.0
    _check_heads: bool = False

    def __post_init__(self) -> None:
        if not self.secret:
            raise UsageError(
                "the webhook's secret is empty, so that nothing would prove where a delivery comes from",
                advice="write a long random line into the file of --ccci-forge-secret-file, and into the webhook",
            )
        self.commands = Commands(self.state)
        self.outbox = Outbox(self.commands, self.bot, self.now, self.link)
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="play")

    @property
    def organisation(self) -> str:
        """Whose repositories are looked at."""
        return self.team.partition("/")[0]

    # --- its life

    def serve(self, address: str, port: int, *, ready: Callable[[int], None] = lambda _port: None) -> None:
        """Do it until asked to stop (SIGTERM, SIGINT, or ``stop``). ``ready`` is told the port.

        Raises:
            LockBusy: another one is at work with this state directory.
            UsageError: it cannot listen there.
        """
        with hold(self.state.trigger_lock, wait=0, owner={"doing": "ccci trigger serve"}), self._stoppable():
            try:
                server = PostServer(address, port, self.receive, largest=1024 * 1024)
            except OSError as error:
                raise UsageError(
                    "webhooks cannot be taken there", where=f"{address}:{port}", seen=error.strerror or str(error)
                ) from error
            try:
                self.recover()
                server.start()
                ready(server.port)
                while not self.stop.is_set():
                    self._wake.clear()
                    self.turn()
                    self._wake.wait(_TICK)
            finally:
                server.close()
                self.close()

    def recover(self) -> None:
        """Tell of runs that were going on when we were killed; what is queued stays so.

        Called when nobody else is at work any more: what was read before may have been changed since.
        """
        self.commands.reload()
        for record in self.commands.in_state("running"):
            why = "error: the run was interrupted: the service that played it was ended"
            self._ended(record.key, without_run(record.mode, record.commit, why))

    def close(self) -> None:
        """End what is played, wait until each has put everything back, and try once to tell what it came to."""
        self.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.outbox.deliver()

    def turn(self) -> None:
        """Whatever is due now, once."""
        for act in (self._decide_all, self._poll, self._cancel_moved, self._start, self.outbox.deliver):
            if self.stop.is_set():
                return
            try:
                act()
            except (CcciError, OSError) as error:
                _LOG.warning(f"the trigger goes on after this: {' '.join(str(error).split())}")

    # --- what comes in

    def receive(self, posted: Posted) -> HTTPStatus:
        """Write down the command in a webhook's delivery. Quick, and without asking anybody."""
        try:
            facts = read_delivery(Delivery(posted.headers, posted.body), self.secret)
        except Refused as error:
            _LOG.warning(f"a delivery is refused: {error.what}")
            return HTTPStatus.BAD_REQUEST
        if facts is None:  # a push, perhaps
            self._check_heads = True
        else:
            self._check_heads |= facts.action == "deleted"
            self._take(facts)
        self._wake.set()
        return HTTPStatus.ACCEPTED

    def _take(self, facts: CommentFacts) -> None:
        owner, _, name = facts.repository.partition("/")
        if owner.lower() != self.organisation.lower() or name.lower() not in self.recipes:
            return
        key = command_key(self.bot.forge, facts.comment_id)
        if facts.action == "created" and self.commands.tell_more(key, facts):
            return
        known = Known(self.bot.login, handled=self.commands.has(key))
        if decide(facts, known).what != "ignore" and self.commands.receive(
            key, facts, now=self.now(), recipe=self.recipes[name.lower()].name
        ):
            _LOG.info(f"{facts.repository}#{facts.pull}: a command in comment {facts.comment_id} ({facts.source})")

    def _poll(self) -> None:
        """Find commands that no webhook told of, in all pull requests that something happened to."""
        if self.clock() < self._next_poll:
            return
        self._next_poll = self.clock() + POLL
        self._check_heads = True
        try:
            polled = load_polled(self.state.polled)
        except StateDamaged as error:
            _LOG.warning(str(error))
            polled = None
        if polled is None:
            began = _iso(self.bot.now())
            polled = Polled(since=began, begun=began)
            self._note_polled(polled)
        since, begun = datetime.fromisoformat(polled.since), datetime.fromisoformat(polled.begun)
        moved = self.bot.moved_pulls(self.organisation, _iso(since - _OVERLAP))
        for pull in moved:
            name = pull.repository.full_name
            if name.partition("/")[2].lower() not in self.recipes:
                continue
            for one in self.bot.comments(name, pull.number, _iso(since - _OVERLAP)):
                if one.created_at >= begun:
                    self._take(_polled_facts(name, pull.number, one))
        newest = max((pull.updated_at for pull in moved), default=since)
        if newest > since:
            self._note_polled(replace(polled, since=_iso(newest)))

    def _note_polled(self, polled: Polled) -> None:
        write_atomic(self.state.polled, TypeAdapter(Polled).dump_json(polled, indent=1))

    # --- what follows from it

    def _decide_all(self) -> None:
        for record in self.commands.in_state("received"):
            if record.next_try > self.now():
                continue
            try:
                self._decide(record)
            except CcciError as error:
                pause = next_pause(record.tries, getattr(error, "seconds", 0.0))
                problem = " ".join(str(error).split())[:500]
                _LOG.info(f"{record.key}: not decided, tried again in {pause:.0f} s: {problem}")
                self.commands.change(record.key, tries=record.tries + 1, next_try=self.now() + pause, problem=problem)

    def _decide(self, record: CommandRecord) -> None:
        facts = record.facts
        polled = facts.source == "poll"
        first = self._first.get(record.key)
        if polled and first is not None and self.clock() - first[0] < _APART:
            return
        place = CommentPlace(self.bot.forge, facts.repository, facts.pull, facts.comment_id)
        try:
            read = self.bot.read_pull(place)
        except UsageError as error:
            self._first.pop(record.key, None)
            young = self.now() - record.at < DAYS * 24 * 3600.0
            if young and self.bot.head(facts.repository, facts.pull) is None:
                # Not seen is not deleted: a token may have lost what it was allowed, and get it back.
                raise InfrastructureFault(
                    f"pull request {facts.repository}#{facts.pull} cannot be seen",
                    advice="may the token still read it (ccci doctor --forge)?",
                ) from error
            _LOG.warning(f"a command is forgotten: {' '.join(str(error).split())}")
            self.commands.change(
                record.key, state="ended", what="ignore", reason="gone", doing="the comment is not there any more"
            )
            return
        if polled and first is None:
            self._first[record.key] = (self.clock(), read)
            return
        if polled and first is not None:
            facts = bind_head(first[1], replace(read, at=first[1].at + timedelta(seconds=self.clock() - first[0])))
        else:
            # An edit within the second of its writing shows in the text only.
            changed = read.comment.edited or command_line(read.comment.text) != facts.text
            facts = replace(facts, edited=facts.edited or changed, is_open=facts.is_open and read.comment.is_open)
        member = self._is_member(facts.author)
        decision = decide(facts, Known(self.bot.login, member=member, head_now=read.head))
        if self.commands.get(record.key).facts == record.facts:  # else a webhook told more of it meanwhile
            self._first.pop(record.key, None)
            self._decided(record, decision)

    def _is_member(self, login: str) -> bool | None:
        organisation, _, team = self.team.partition("/")
        try:
            return self.bot.is_member(organisation, team, login)
        except UsageError as error:
            _LOG.warning(str(error))
            return None

    def _decided(self, record: CommandRecord, decision: Decision) -> None:
        _LOG.info(f"{record.facts.repository}#{record.facts.pull}: {decision.what}: {decision.words}")
        common: dict[str, Any] = {
            "what": decision.what,
            "reason": decision.reason,
            "mode": decision.mode,
            "commit": decision.commit,
            "doing": decision.words,
            "tries": 0,
            "next_try": 0.0,
            "problem": "",
            "since": self.now(),
        }
        if decision.what != "run":
            body = "" if self._was_told(record, decision) else f"{record.marker}\n{answer(decision)}"
            silent = decision.what == "ignore"
            self.commands.change(record.key, **common, state="ended", ended=self.now(), body="" if silent else body)
            return
        waiting = len(self.commands.in_state("queued", "running"))
        run_id = new_run_id(datetime.fromtimestamp(self.now(), UTC))
        receipt = f"Run `{run_id}`. {self._receipt(record, decision, waiting)}"
        body = f"{record.marker}\n{answer(decision)}\n{receipt}\n"
        status = Status("pending", "queued") if decision.mode == "cold" else None
        self.commands.change(record.key, **common, state="queued", run_id=run_id, body=body, status=status)

    def _was_told(self, record: CommandRecord, decision: Decision) -> bool:
        """Whether the same was answered in this pull request before: help once, a stranger once."""
        return decision.reason in {"unknown-command", "stranger"} and any(
            (one.facts.repository, one.facts.pull, one.reason, one.facts.author.lower())
            == (record.facts.repository, record.facts.pull, decision.reason, record.facts.author.lower())
            and bool(one.body)
            for one in self.commands.all()
        )

    def _receipt(self, record: CommandRecord, decision: Decision, waiting: int) -> str:
        place = f"Before it: {waiting}." if waiting else "It is the next."
        took = [
            one.seconds
            for one in self.commands.in_state("ended")
            if (one.recipe, one.mode) == (record.recipe, decision.mode) and one.seconds and one.verdict == "pass"
        ][-_ESTIMATES:]
        usual = f" The last runs took {min(took):.0f} to {max(took):.0f} s." if took else ""
        return f"{place}{usual} This comment will hold the result."

    # --- what is queued

    def _cancel_moved(self) -> None:
        if self._check_heads:
            self._check_heads = False
            for record in self.commands.in_state("queued"):
                self._still_wanted(record)

    def _still_wanted(self, record: CommandRecord) -> bool:
        """Whether a queued command is there, and about the head of an open pull request; if not, it is cancelled."""
        pull = self.bot.head(record.facts.repository, record.facts.pull)
        is_open = pull is not None and pull.state == "open"
        there = self.bot.has_comment(record.facts.repository, record.facts.comment_id)
        if pull is not None and is_open and pull.head.sha == record.commit and there:
            return True
        why = "closed" if not is_open else "deleted" if not there else "head-moved"
        sure = pull.head.sha if pull is not None and is_open else ""
        decision = Decision("refuse", why, sure=sure)
        words = f"cancelled before it began: {decision.words}"
        _LOG.info(f"{record.facts.repository}#{record.facts.pull}: {words}")
        self.commands.change(
            record.key,
            state="ended",
            ended=self.now(),
            reason=why,
            doing=words,
            run_id="",
            body=f"{record.marker}\n{answer(decision)}",
            status=Status("error", words[:140]) if record.mode == "cold" else None,
            **self._afresh(),
        )
        return False

    def _start(self) -> None:
        free = self.slots - len(self.commands.in_state("running"))
        for record in self.commands.in_state("queued"):
            if free <= 0 or self.stop.is_set():
                return
            if self._still_wanted(record):
                free -= 1
                self._begin(record)

    def _begin(self, record: CommandRecord) -> None:
        name = record.facts.repository.partition("/")[2].lower()
        folder = self.recipes.get(name)
        if folder is None:
            why = "error: this repository is no longer one of those that are tested"
            self._ended(record.key, without_run(record.mode, record.commit, why))
            return
        since = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%d %H:%M")
        run = f"run `{record.run_id}`, {record.mode}, commit `{record.commit}`"
        self.commands.change(
            record.key,
            state="running",
            begun=self.now(),
            body=f"{record.marker}\nRunning since {since} UTC: {run}.\n",
            status=Status("pending", "running") if record.mode == "cold" else None,
            **self._afresh(),
        )
        _LOG.info(f"{record.facts.repository}#{record.facts.pull}: {record.mode} run of {record.commit} begins")
        url = f"{self.bot.forge}/{record.facts.repository}.git"
        self._pool.submit(self._played, Job(record.key, folder, url, record.commit, record.mode, record.run_id))

    def _played(self, job: Job) -> None:
        try:
            played = self.play(job, self.stop)
        except Exception as error:  # noqa: BLE001  whatever it is, the command is answered
            _LOG.exception("a run could not be played")
            played = without_run(job.mode, job.commit, f"error: {type(error).__name__}: {error}".partition("\n")[0])
        self._ended(job.key, played)
        self._wake.set()

    def _ended(self, key: str, played: Played) -> None:
        record = self.commands.get(key)
        before = self.commands.last_verdict(record)
        notice = ""
        if turned(before, played.verdict):
            notice = (
                f"{record.notice_marker}\nThe {record.mode} run of `{record.commit}` is **{played.verdict}**; "
                f"the one before it was {before}. The comment of its command has the details.\n"
            )
        _LOG.info(f"{record.facts.repository}#{record.facts.pull}: {played.verdict}: {played.doing}")
        self.commands.change(
            key,
            state="ended",
            ended=self.now(),
            verdict=played.verdict,
            doing=played.doing,
            run_id=played.run_id,
            seconds=played.seconds,
            body=f"{record.marker}\n{played.body}",
            status=played.status,
            notice=notice,
            **self._afresh(),
        )

    def _afresh(self) -> dict[str, Any]:
        """What is owed is something new: it is tried at once, and for days."""
        return {"tries": 0, "next_try": 0.0, "problem": "", "since": self.now()}

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        def ask(*_: object) -> None:
            self.stop.set()
            self._wake.set()

        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before[number] = signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                with suppress(ValueError):
                    signal.signal(number, handler)


def _polled_facts(repository: str, pull: int, one: PolledComment) -> CommentFacts:
    return CommentFacts(
        repository=repository,
        pull=pull,
        comment_id=one.id,
        text=one.body,
        author=one.user.login,
        sender=one.user.login,
        source="poll",
        edited=one.updated_at != one.created_at,
    )


def _iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
