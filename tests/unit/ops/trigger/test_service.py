"""The trigger as a whole: from a comment to what the forge is told, and what becomes of it when things fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest
from standinforge import URL, StandInForge

from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.play import Job, Played, without_run
from pytest_ccci.ops.trigger.service import POLL, Trigger
from pytest_ccci.ops.trigger.store import CommandRecord, Commands, Status
from pytest_ccci.statedir import StateDir
from pytest_ccci.web import Posted

HEAD, OTHER = "a" * 40, "c" * 40
GREEN = Played("pass", "**pass**: green as can be\n", "all well", Status("success", "1.0 to 2.0, 60 s"), "r1", 60.0)
RED = Played(
    "fail", "**fail**: upgrade\n", "upgrade: it lost data", Status("failure", "upgrade: it lost data"), "r2", 9
)
ERROR = without_run("cold", HEAD, "error: no engine")


class Inline:
    """In place of threads: what is submitted waits until the test plays it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, act: Callable[[Job], None], job: Job) -> None:
        self.waiting.append(lambda: act(job))

    def shutdown(self, **_: object) -> None:
        while self.waiting:
            self.waiting.pop(0)()


@dataclass
class House:
    """A trigger with a forge and clocks of its own, and a player whose runs are written down beforehand."""

    state: StateDir
    forge: StandInForge = field(default_factory=StandInForge)
    script: list[Played] = field(default_factory=list)
    played: list[Job] = field(default_factory=list)
    seconds: float = 1_000_000.0
    trigger: Trigger = field(init=False)
    runs: Inline = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start the service, as after a kill."""
        bot = Bot(URL, "a-token-of-the-bot", "ccci", wait=self.pass_time)
        bot._http.mount("https://", self.forge)
        self.trigger = Trigger(
            state=self.state,
            bot=bot,
            team="coop/Testers",
            secret=self.forge.secret,
            recipes={"notes": Path("/recipes/notes")},
            play=self.play,
            now=lambda: self.seconds,
            clock=lambda: self.seconds,
        )
        self.runs = Inline()
        self.trigger._pool = self.runs  # type: ignore[assignment]  # does as one of one thread
        self.trigger.recover()

    def play(self, job: Job, _stop: threading.Event) -> Played:
        self.played.append(job)
        return self.script.pop(0) if self.script else GREEN

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.forge.pass_time(seconds)

    def told(self, number: int, action: str = "created", sender: str = "") -> HTTPStatus:
        """The forge's webhook tells of a comment."""
        body = self.forge.payload(number, action, sender)
        return self.trigger.receive(Posted(self.forge.headers(body), body))

    def turns(self, count: int = 1, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.trigger.turn()
            self.pass_time(seconds)

    def end_runs(self) -> None:
        self.runs.shutdown()
        self.turns()

    def whole(self, text: str = "!testme", by: str = "ada") -> int:
        """A comment by webhook, its run, and its answer."""
        number = self.forge.comment(text, by)
        assert self.told(number) == HTTPStatus.ACCEPTED
        self.turns()
        self.end_runs()
        self.pass_time(10)
        return number

    def record(self, number: int) -> CommandRecord:
        return next(one for one in Commands(self.state).all() if one.facts.comment_id == number)


@pytest.fixture
def house(tmp_path: Path) -> House:
    state = StateDir(tmp_path)
    state.commands.mkdir(parents=True)
    found = House(state)
    found.turns()  # the first poll says what is older than us
    found.pass_time(10)
    return found


@pytest.mark.parametrize(
    ("played", "states", "words"),
    [
        (GREEN, ["pending", "pending", "success"], "**pass**: green as can be"),
        (RED, ["pending", "pending", "failure"], "**fail**: upgrade"),
        (ERROR, ["pending", "pending", "error"], "This says nothing about the recipe (cold, commit `"),
    ],
    ids=["green", "red", "error"],
)
def test_a_command_is_one_run_one_comment_and_the_status_of_its_commit(
    house: House, played: Played, states: list[str], words: str
) -> None:
    house.script = [played]
    number = house.forge.comment("!testme")
    house.told(number)
    house.turns()
    first = house.forge.ours()
    assert len(first) == 1
    assert "Running since" in first[0]
    assert house.forge.states() == states[1:2]  # queued and running came in one turn
    house.end_runs()
    (last,) = house.forge.ours()
    assert words in last
    assert last.startswith(house.record(number).marker)
    assert house.forge.states() == states[1:]
    assert [(job.commit, job.mode, job.url) for job in house.played] == [(HEAD, "cold", f"{URL}/coop/notes.git")]
    house.turns(3, POLL)
    assert (len(house.played), len(house.forge.ours()), house.forge.states()) == (1, 1, states[1:])
