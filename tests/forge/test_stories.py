"""From a person's comment to what the forge shows at the end: the trigger as it is served, on a real Gitea.

Only the runs are scripted: what they come to is of no interest here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from realforge import BOT, ORG, PATIENCE, SECRET, TEAM, Forge, Person, Pull

from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.play import Job, Played, without_run
from pytest_ccci.ops.trigger.service import Trigger
from pytest_ccci.ops.trigger.store import CommandRecord, Status
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

COLD = "ccci/cold"
SCOPES = ("write:issue", "write:repository", "read:organization")
GREEN = Played("pass", "**pass**: green as can be\n", "all well", Status("success", "1.0 to 2.0, 60 s"), "r1", 60.0)
RED = Played("fail", "**fail**: upgrade\n", "it lost data", Status("failure", "upgrade: it lost data"), "r2", 9.0)
ERROR = without_run("cold", "a" * 40, "error: no engine")
QUICK = Played("fail", "**fail**: quick\n", "it lost data", None, "r3", 9.0)


@dataclass
class House:
    """A trigger that is served beside the forge, with a repository of its own that delivers to it."""

    forge: Forge
    state: StateDir
    pull: Pull
    script: list[Played] = field(default_factory=list)
    played: list[Job] = field(default_factory=list)
    may_end: threading.Event = field(default_factory=threading.Event)
    ahead: float = 0.0
    port: int = 0
    trigger: Trigger = field(init=False)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Serve."""
        token = self.forge.person(BOT).with_scopes(*SCOPES).token
        self.trigger = Trigger(
            state=self.state,
            bot=Bot(self.forge.url, token, BOT),
            team=f"{ORG}/{TEAM}",
            secret=SECRET.encode(),
            recipes={self.pull.repository.partition("/")[2]: Path("/recipes/notes")},
            play=self.play,
            now=lambda: time.time() + self.ahead,
            clock=lambda: time.monotonic() + self.ahead,
        )
        ready = threading.Event()

        def at(port: int) -> None:
            self.port = port
            ready.set()

        self.thread = threading.Thread(target=self.trigger.serve, args=("127.0.0.1", self.port), kwargs={"ready": at})
        self.thread.start()
        assert ready.wait(PATIENCE)
        until(self.state.polled.exists, deadline=Deadline(PATIENCE), what="the first poll")

    def stop(self) -> None:
        """Ask it to stop."""
        self.may_end.set()
        self.trigger.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def play(self, job: Job, _stop: threading.Event) -> Played:
        self.played.append(job)
        assert self.may_end.wait(PATIENCE)
        return self.script.pop(0) if self.script else GREEN

    def person(self, name: str) -> Person:
        return self.forge.person(name)

    def comment(self, text: str = "!testme", by: str = "ada") -> int:
        return self.pull.comment(text, self.person(by))

    def record(self, number: int) -> CommandRecord | None:
        return next((one for one in self.trigger.commands.all() if one.facts.comment_id == number), None)

    def when(self, what: str, wanted: Callable[[], bool]) -> None:
        until(
            wanted,
            deadline=Deadline(PATIENCE),
            what=what,
            seen=lambda: "\n".join(f"{one.state} {one.doing} {one.problem}" for one in self.trigger.commands.all()),
        )

    def is_in(self, number: int, state: str) -> None:
        """Wait until the command is in a state, and the forge was told."""

        def there() -> bool:
            found = self.record(number)
            return found is not None and found.state == state and not found.owes

        self.when(f"comment {number} to be {state}", there)

    def answers(self) -> list[str]:
        """What the bot wrote."""
        return [str(one["body"]) for one in self.pull.comments() if one["user"]["login"] == BOT]

    def answer(self) -> str:
        """The one comment of the bot."""
        (body,) = self.answers()
        return body

    def statuses(self, commit: str = "") -> list[tuple[str, str]]:
        """Context and state of all statuses of the commit, the oldest first."""
        path = f"repos/{self.pull.repository}/commits/{commit or self.pull.head}/statuses"
        found: list[dict[str, Any]] = self.forge.boss.get(path, limit=50) or []
        return [(one["context"], one["status"]) for one in sorted(found, key=lambda one: one["id"])]


@pytest.fixture
def house(forge: Forge, tmp_path: Path) -> Iterator[House]:
    """A pull request of a stranger's fork; ``ccci/cold`` is a required check."""
    repository = forge.repository()
    mallory = forge.person("mallory")
    rule = {"rule_name": "main", "enable_push": False, "enable_status_check": True}
    forge.boss.post(f"repos/{repository}/branch_protections", {**rule, "status_check_contexts": [COLD]})
    state = StateDir(tmp_path / "state")
    state.commands.mkdir(parents=True)
    found = House(forge, state, forge.pull(repository, by=mallory, fork=forge.fork(repository, mallory)))
    found.start()
    forge.hook(repository, f"http://127.0.0.1:{found.port}/")
    yield found
    found.stop()


@pytest.mark.parametrize(
    ("played", "state", "merged"),
    [(GREEN, "success", 200), (RED, "failure", 405), (ERROR, "error", 405)],
    ids=["green", "red", "error"],
)
def test_a_command_is_run_and_its_verdict_gates(house: House, played: Played, state: str, merged: int) -> None:
    house.script = [played]
    number = house.comment()
    house.is_in(number, "running")
    running = house.record(number)
    assert running is not None
    assert f"run `{running.run_id}`, cold, commit `{house.pull.head}`" in house.answer()
    assert house.statuses()[-1] == (COLD, "pending")
    assert house.pull.merged(house.person("wim")) == 405
    house.may_end.set()
    house.is_in(number, "ended")
    assert played.body.strip() in house.answer()
    assert house.statuses()[-1] == (COLD, state)
    assert {context for context, _ in house.statuses()} == {COLD}
    (job,) = house.played
    assert job.run_id == running.run_id
    assert (job.commit, job.url) == (house.pull.head, f"{house.forge.url}/{house.pull.repository}.git")
    assert house.pull.merged(house.person("wim")) == merged


def test_a_quick_run_posts_no_status(house: House) -> None:
    house.script = [QUICK]
    house.may_end.set()
    house.is_in(house.comment("!testme --quick"), "ended")
    assert "**fail**: quick" in house.answer()
    assert house.statuses() == []


def test_a_verdict_that_turns_is_told_in_a_comment_of_its_own(house: House) -> None:
    house.script = [RED, GREEN]
    house.may_end.set()
    for _ in range(2):
        house.is_in(house.comment(), "ended")
    assert sum("the one before it was fail" in body for body in house.answers()) == 1
    assert len(house.answers()) == 3


@pytest.mark.parametrize(
    ("text", "by", "words"),
    [
        ("!testme", "mallory", "only members of the team may start a run"),
        ("!testme", "wim", "only members of the team may start a run"),
        ("!testme " + "b" * 40, "ada", "the commit that is named is not the head"),
        ("!testme please", "ada", "what follows !testme is not known"),
    ],
    ids=["stranger", "writer", "another commit", "no command"],
)
def test_what_is_refused_is_answered_and_runs_nothing(house: House, text: str, by: str, words: str) -> None:
    house.is_in(house.comment(text, by), "ended")
    assert words in house.answer()
    assert (house.played, house.statuses()) == ([], [])


def test_a_stranger_who_asks_again_is_not_answered_again(house: House) -> None:
    for _ in range(3):
        house.is_in(house.comment(by="mallory"), "ended")
    assert len(house.answers()) == 1


def test_a_delivery_that_comes_again_is_one_run(house: House) -> None:
    house.may_end.set()
    path = f"repos/{house.pull.repository}"
    again = house.forge.hook(house.pull.repository, f"http://127.0.0.1:{house.port}/again")
    number = house.comment()
    house.is_in(number, "ended")
    house.is_in(house.comment(), "ended")
    assert len(house.played) == 2
    assert len(house.answers()) == 2
    assert house.forge.boss.status("DELETE", f"{path}/hooks/{again}") == 204


def test_an_edited_comment_runs_nothing(house: House) -> None:
    number = house.comment("looks fine")
    assert house.pull.edit(number, "!testme", house.person("wim")) == 200
    house.is_in(number, "ended")
    # None where the delivery of its creation comes after the poll that found it: it was no command when it was written.
    assert all("a comment that was edited is no command" in one for one in house.answers())
    assert house.played == []


def test_a_review_and_a_closed_pull_request_run_nothing(house: House) -> None:
    house.person("ada").post(f"{house.pull.path}/reviews", {"body": "!testme", "event": "COMMENT", "comments": []})
    house.pull.close()
    number = house.comment()
    house.is_in(number, "ended")
    assert "the pull request is closed" in house.answer()
    assert house.played == []


def test_a_command_that_is_deleted_while_it_waits_runs_nothing(house: House) -> None:
    first = house.comment()
    house.is_in(first, "running")
    second = house.comment("!testme --quick")
    house.is_in(second, "queued")
    place = f"repos/{house.pull.repository}/issues/comments/{second}"
    assert house.person("ada").status("DELETE", place) == 204
    house.is_in(second, "ended")
    house.may_end.set()
    house.is_in(first, "ended")
    assert "the comment that asked for it was deleted" in house.answers()[-1]
    assert len(house.played) == 1


def test_a_push_cancels_what_waits_and_the_result_of_what_runs_says_so(house: House, tmp_path: Path) -> None:
    first = house.comment()
    house.is_in(first, "running")
    second = house.comment()
    house.is_in(second, "queued")
    clone = house.forge.clone(house.pull.source, tmp_path / "clone", house.person("mallory"))
    head = clone.commit(house.pull.branch, "swapped")
    assert clone.push("--force", house.pull.branch)
    house.is_in(second, "ended")
    house.may_end.set()
    house.is_in(first, "ended")
    result, cancelled = house.answers()
    assert "**Not the head any more**" in result
    assert head in result
    assert "the head of the pull request is another commit by now" in cancelled
    assert f"!testme {head}" in cancelled
    assert house.statuses(head) == []
    house.is_in(house.comment(f"!testme {head}"), "ended")
    assert [job.commit for job in house.played] == [house.pull.head, head]


def test_a_forge_that_is_down_when_a_run_ends_is_told_when_it_is_back(house: House) -> None:
    number = house.comment()
    house.is_in(number, "running")
    house.forge.stop()
    try:
        house.may_end.set()
        house.when("an attempt to fail", lambda: bool((found := house.record(number)) and found.problem))
    finally:
        house.forge.start()
    house.ahead += 3600
    house.is_in(number, "ended")
    assert "**pass**: green as can be" in house.answer()
    assert house.statuses()[-1] == (COLD, "success")


def test_a_trigger_that_is_started_again_finds_what_it_missed_and_runs_nothing_twice(house: House) -> None:
    house.may_end.set()
    before = house.comment()
    house.is_in(before, "ended")
    house.stop()
    missed = house.comment()
    house.start()
    house.ahead += 3600
    house.is_in(missed, "ended")
    assert [one.facts.comment_id for one in house.trigger.commands.all()] == [before, missed]
    assert len(house.played) == 2


def test_nothing_that_is_kept_or_said_holds_the_token(house: House) -> None:
    house.may_end.set()
    house.is_in(house.comment(), "ended")
    token = house.trigger.bot._token.encode()
    kept = [path.read_bytes() for path in house.state.root.rglob("*") if path.is_file()]
    assert kept
    assert not any(token in each or SECRET.encode() in each for each in kept)
    assert token.decode() not in json.dumps(house.pull.comments())
