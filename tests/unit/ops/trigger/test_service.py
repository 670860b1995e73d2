"""The trigger as a whole: from a comment to what the forge is told, and what becomes of it when things fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest
from standinforge import URL, Fault, StandInForge

from pytest_ccci.errors import UsageError
from pytest_ccci.ops.trigger import service, store
from pytest_ccci.ops.trigger.bot import Bot
from pytest_ccci.ops.trigger.play import Job, Played, without_run
from pytest_ccci.ops.trigger.service import POLL, Trigger
from pytest_ccci.ops.trigger.store import CommandRecord, Commands, Status
from pytest_ccci.statedir import StateDir, write_atomic
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


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store, service):
        monkeypatch.setattr(module, "write_atomic", partial(write_atomic, durable=False))


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


def test_a_receipt_says_what_is_before_it_and_how_long_it_took(house: House) -> None:
    house.whole()
    for _ in range(2):
        house.told(house.forge.comment("!testme"))
        house.turns()
    assert "Before it: 1. The last runs took 60 to 60 s." in house.forge.ours()[-1]
    assert house.forge.states()[-1] == "pending"


def test_the_id_of_a_run_is_told_from_the_receipt_on_and_is_that_of_the_run(house: House) -> None:
    first, second = (house.forge.comment("!testme") for _ in range(2))
    for number in (first, second):
        house.told(number)
        house.turns()
    ids = [house.record(number).run_id for number in (first, second)]
    running, queued = house.forge.ours()
    assert f"run `{ids[0]}`, cold, commit `{HEAD}`" in running
    assert f"Run `{ids[1]}`. Before it: 1." in queued
    house.start()  # killed: what is queued keeps its id
    house.turns()
    house.end_runs()
    assert [job.run_id for job in house.played] == ids[1:]
    assert len(set(ids)) == 2


def test_a_command_that_is_cancelled_has_no_run(house: House) -> None:
    for _ in range(2):
        house.told(house.forge.comment("!testme"))
        house.turns()
    waits = Commands(house.state).in_state("queued")[0]
    house.forge.push(OTHER)
    house.turns(2, POLL)
    assert (house.record(waits.facts.comment_id).state, house.record(waits.facts.comment_id).run_id) == ("ended", "")


def test_a_quick_run_has_no_status(house: House) -> None:
    house.script = [Played("fail", "**fail**\n", "red", None, "r1", 5)]
    house.whole("!testme --quick")
    assert [job.mode for job in house.played] == ["quick"]
    assert "**fail**" in house.forge.ours()[0]
    assert house.forge.statuses == []


# --- who may, and what is no command


def test_a_stranger_is_told_so_once_and_nothing_runs(house: House) -> None:
    house.whole(by="mallory")
    house.whole(by="mallory")
    assert house.played == []
    assert ["only members of the team may start a run" in one for one in house.forge.ours()] == [True]
    assert house.forge.statuses == []


def test_help_is_given_once(house: House) -> None:
    house.whole("!testme please")
    house.whole("!testme now")
    assert house.played == []
    assert ["| command, as the first line" in one for one in house.forge.ours()] == [True]


@pytest.mark.parametrize("text", ["> !testme", "hello", "    !testme", "```\n!testme"])
def test_what_is_no_command_is_not_even_written_down(house: House, text: str) -> None:
    house.whole(text)
    assert (house.forge.ours(), Commands(house.state).all()) == ([], ())


def test_our_own_comment_is_no_command(house: House) -> None:
    house.whole(by="ccci")
    house.turns(2, POLL)
    assert Commands(house.state).all() == ()


def test_a_closed_pull_request_is_told(house: House) -> None:
    house.forge.pulls[3]["state"] = "closed"
    house.whole()
    assert house.played == []
    assert "the pull request is closed" in house.forge.ours()[0]


def test_a_review_and_other_events_start_nothing(house: House) -> None:
    number = house.forge.comment("!testme")
    body = house.forge.payload(number)
    for event in ("pull_request_comment", "push", "pull_request"):
        assert house.trigger.receive(Posted(house.forge.headers(body, event), body)) == HTTPStatus.ACCEPTED
    house.forge.comments.clear()
    house.turns(3)
    assert Commands(house.state).all() == ()


@pytest.mark.parametrize("headers", ["unsigned", "wrong"])
def test_a_delivery_that_is_not_proved_is_refused(house: House, headers: str) -> None:
    body = house.forge.payload(house.forge.comment("!testme"))
    signed = [one for one in house.forge.headers(body) if one[0] != "x-gitea-signature"]
    if headers == "wrong":
        signed.append(("x-gitea-signature", "0" * 64))
    assert house.trigger.receive(Posted(tuple(signed), body)) == HTTPStatus.BAD_REQUEST
    assert Commands(house.state).all() == ()


def test_without_a_secret_it_does_not_start(house: House) -> None:
    house.forge.secret = b""
    with pytest.raises(UsageError, match="the webhook's secret is empty"):
        house.start()


def test_another_repository_is_none_of_ours(house: House) -> None:
    house.trigger.recipes = {"other": Path("/recipes/other")}
    house.whole()
    house.turns(2, POLL)
    assert Commands(house.state).all() == ()


def test_who_left_the_team_may_not(house: House) -> None:
    house.forge.members.discard("ada")
    house.whole()
    assert house.played == []


# --- one comment is one run


def test_a_delivery_that_comes_again_and_a_poll_that_finds_the_same_run_nothing_more(house: House) -> None:
    number = house.whole()
    house.told(number)  # the same bytes: a replay
    house.turns(3, POLL)
    house.end_runs()
    assert len(house.played) == 1
    assert len(house.forge.ours()) == 1


def test_a_replay_after_years_and_a_new_start_runs_nothing(house: House) -> None:
    number = house.whole()
    house.pass_time(3 * 365 * 24 * 3600)
    house.start()
    house.told(number)
    house.turns(2)
    house.end_runs()
    assert len(house.played) == 1


def test_a_command_whose_file_is_damaged_counts_as_answered(house: House) -> None:
    number = house.whole()
    (house.state.commands / f"{house.record(number).key}.json").write_text("{")
    house.start()
    house.told(number)
    house.turns(2)
    assert house.trigger.commands.damaged
    assert len(house.played) == 1


@pytest.mark.parametrize("how", ["time", "text"])
def test_a_comment_that_was_edited_is_refused(house: House, how: str) -> None:
    number = house.forge.comment("please test it" if how == "time" else "!testme --quick")
    body = house.forge.payload(number)
    if how == "time":
        house.pass_time(5)
    house.forge.edit(number, "!testme")
    if how == "time":
        house.told(number, "edited", sender="writer")
    else:  # within the second of its writing, which only the text shows
        house.trigger.receive(Posted(house.forge.headers(body), body))
    house.turns(2)
    house.end_runs()
    assert house.played == []
    assert "a comment that was edited is no command" in house.forge.ours()[0]


def test_an_answered_command_that_is_edited_stays_as_it_is(house: House) -> None:
    number = house.whole()
    house.forge.edit(number, "!testme --quick")
    house.told(number, "edited")
    house.turns(3, POLL)
    house.end_runs()
    assert (len(house.played), len(house.forge.ours())) == (1, 1)


def test_a_comment_that_is_gone_before_it_was_decided_is_forgotten_in_silence(house: House) -> None:
    number = house.forge.comment("!testme")
    house.told(number)
    house.forge.delete(number)
    house.turns(2)
    assert (house.played, house.forge.ours(), house.record(number).reason) == ([], [], "gone")


# --- the poll


def test_a_comment_that_no_webhook_told_of_is_found_and_bound_by_two_reads(house: House) -> None:
    house.forge.comment("!testme")
    house.turns(1, POLL)
    house.turns(1)
    assert house.forge.ours() == []
    house.turns(8)
    house.end_runs()
    assert [job.commit for job in house.played] == [HEAD]
    assert house.forge.states() == ["pending", "success"]


def test_a_webhook_that_comes_after_the_poll_knows_the_head_for_sure(house: House) -> None:
    house.forge.push(HEAD)
    house.pass_time(2)
    number = house.forge.comment("!testme")  # too near for a poll
    house.turns(1, POLL)
    house.turns(1)
    assert house.record(number).facts.source == "poll"
    house.told(number)
    house.turns(1)
    house.end_runs()
    assert [job.commit for job in house.played] == [HEAD]


def test_a_poll_sees_a_head_that_moved(house: House) -> None:
    house.forge.comment("!testme")
    house.pass_time(60)
    house.forge.push(OTHER)
    house.turns(10)
    assert house.played == []
    (told,) = house.forge.ours()
    assert "there was a push after the comment" in told
    assert f"`!testme {OTHER}`" in told


def test_what_is_older_than_the_first_start_is_no_command(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.commands.mkdir(parents=True)
    forge = StandInForge()
    old = forge.comment("!testme")
    forge.pass_time(3600)
    house = House(state, forge)
    house.turns(3, POLL)
    forge.edit(old, "!testme")
    house.turns(3, POLL)
    assert Commands(state).all() == ()


def test_what_was_written_while_we_were_down_is_found_whatever_the_clocks_say(house: House) -> None:
    house.forge.pass_time(-7200)  # the forge is two hours behind from now on
    house.forge.clock = house.forge.clock.replace(microsecond=0)
    (house.state.polled).unlink()
    house.start()
    house.turns(1)
    house.pass_time(24 * 3600)
    number = house.forge.comment("!testme")
    house.pass_time(24 * 3600)
    house.start()
    house.turns(10)
    house.end_runs()
    assert house.record(number).verdict == "pass"


def test_pages_are_read_to_their_end(house: House) -> None:
    for number in range(4, 11):
        house.forge.open_pull(number, HEAD)
    house.pass_time(5)
    for number in range(3, 11):
        house.forge.comment("!testme", pull=number)
    house.turns(1, POLL)
    house.turns(1)
    assert len(Commands(house.state).all()) == 8


@pytest.mark.parametrize("what", [500, "drop", "cut"])
def test_a_poll_that_fails_loses_nothing(house: House, what: int | str) -> None:
    number = house.forge.comment("!testme")
    house.forge.faults = [Fault(what, part="search", times=3), Fault(what, part="comments", times=4)]
    house.turns(30, 30)
    house.end_runs()
    assert house.record(number).verdict == "pass"


# --- heads that move


def test_a_head_that_moved_since_the_delivery_is_refused_with_the_sure_form(house: House) -> None:
    number = house.forge.comment("!testme")
    body = house.forge.payload(number)
    house.forge.push(OTHER)
    house.trigger.receive(Posted(house.forge.headers(body), body))
    house.turns()
    assert house.played == []
    assert f"`!testme {OTHER}`" in house.forge.ours()[0]


def test_a_push_cancels_what_is_queued_in_words(house: House) -> None:
    first, second = house.forge.comment("!testme"), house.forge.comment("!testme")
    for number in (first, second):
        house.told(number)
    house.turns()
    house.forge.push(OTHER)
    body = b"{}"
    house.trigger.receive(Posted(house.forge.headers(body, "pull_request_sync"), body))
    house.turns()
    assert house.record(second).doing.startswith("cancelled before it began: the head of the pull request is another")
    assert f"`!testme {OTHER}`" in house.forge.ours()[1]
    house.end_runs()
    assert len(house.played) == 1


def test_a_pull_request_that_is_closed_cancels_what_is_queued(house: House) -> None:
    for _ in range(2):
        house.told(house.forge.comment("!testme"))
    house.turns()
    house.forge.pulls[3]["state"] = "closed"
    house.end_runs()
    house.turns()
    house.end_runs()
    assert len(house.played) == 1
    assert "the pull request is closed" in house.forge.ours()[1]
    assert house.forge.states()[-1] == "error"


def test_a_push_during_the_run_is_told_with_its_result(house: House) -> None:
    house.told(house.forge.comment("!testme"))
    house.turns()
    house.forge.push(OTHER)
    house.end_runs()
    (told,) = house.forge.ours()
    assert f"**Not the head any more**: this is about `{HEAD}`; by now the head is `{OTHER}`." in told
    assert "**pass**" in told
    assert house.forge.states() == ["pending", "success"]  # of the commit that was tested
    assert house.forge.states(OTHER) == []


def test_the_sure_form_runs_only_the_head(house: House) -> None:
    house.whole(f"!testme {OTHER}")
    house.whole(f"!testme {HEAD}")
    assert [job.commit for job in house.played] == [HEAD]


# --- the verdict turns


def test_one_more_comment_is_written_only_when_the_verdict_turns(house: House) -> None:
    house.script = [GREEN, RED, ERROR, RED, GREEN]
    counts = []
    for _ in range(5):
        house.whole()
        counts.append(sum("the one before it was" in one for one in house.forge.ours()))
    assert counts == [0, 1, 1, 1, 2]
    assert "is **fail**; the one before it was pass." in house.forge.ours()[2]


# --- a forge that fails


@pytest.mark.parametrize("what", ["lost", "drop", 500, 502, "unchanged"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_answer_that_is_lost_or_refused_is_made_up_for_and_nothing_is_told_twice(
    house: House, what: int | str, method: str
) -> None:
    house.forge.faults = [Fault(what, method, times=2)]
    house.whole()
    house.turns(10, 60)
    assert len(house.forge.ours()) == 1
    assert "**pass**" in house.forge.ours()[0]
    states = house.forge.states()
    assert states[-1] == "success"
    assert states.count("success") == 1
    assert Commands(house.state).all()[0].problem == ""


def test_a_forge_that_is_down_at_the_end_is_told_when_it_is_back_days_later(house: House) -> None:
    house.told(house.forge.comment("!testme"))
    house.turns()
    house.forge.faults = [Fault("drop", times=10**9)]
    house.end_runs()
    for _ in range(40):
        house.turns(1, 3600)
    asked = len(house.forge.asked)
    house.start()  # nor does a new start forget it
    house.turns(3, 1)
    assert len(house.forge.asked) - asked < 30
    assert house.forge.states() == ["pending"]
    house.forge.faults = []
    house.turns(4, 3600)
    assert house.forge.states() == ["pending", "success"]
    assert "**pass**" in house.forge.ours()[0]
    assert len(house.played) == 1


def test_what_cannot_be_told_for_a_week_is_given_up_and_shown(house: House) -> None:
    house.forge.faults = [Fault(403, "POST", times=10**9)]
    number = house.whole()
    house.turns(20, 12 * 3600)
    before = len([one for one in house.forge.asked if one.startswith("POST")])
    house.turns(5, 3600)
    assert len([one for one in house.forge.asked if one.startswith("POST")]) == before
    assert house.record(number).owes


def test_a_forge_that_asks_to_wait_is_not_asked_before(house: House) -> None:
    house.forge.faults = [Fault(429, "POST", times=1, retry_after="600")]
    house.told(house.forge.comment("!testme"))
    house.turns()
    posts = [one for one in house.forge.asked if one.startswith("POST")]
    house.turns(9, 60)
    assert [one for one in house.forge.asked if one.startswith("POST")] == posts
    house.turns(2, 60)
    assert len(house.forge.ours()) == 1


def test_a_status_of_another_account_does_not_count_as_told(house: House) -> None:
    house.forge.account = "somebody-else"  # the token is that of another account
    number = house.whole()
    assert house.record(number).owes
    assert "not as our own" in house.record(number).problem or "as our own" in house.record(number).problem


def test_an_answer_that_somebody_deleted_is_written_anew(house: House) -> None:
    house.told(house.forge.comment("!testme"))
    house.turns()
    house.forge.comments = [one for one in house.forge.comments if one["by"] != "ccci"]
    house.end_runs()
    assert ["**pass**" in one for one in house.forge.ours()] == [True]


def test_an_older_run_of_the_same_commit_does_not_overwrite_the_status_of_a_newer_one(house: House) -> None:
    house.trigger.slots = 2
    house.script = [RED, GREEN]
    for _ in range(2):
        house.told(house.forge.comment("!testme"))
    house.turns()
    house.runs.waiting.reverse()  # the newer ends first, and red
    house.runs.waiting.pop(0)()
    house.turns()
    assert house.forge.states()[-1] == "failure"
    house.end_runs()
    assert house.forge.states()[-1] == "failure"
    assert "success" not in house.forge.states()
    assert sum("**pass**" in one for one in house.forge.ours()) == 1


# --- killed


def test_killed_with_one_running_and_one_queued(house: House) -> None:
    running, queued = house.forge.comment("!testme"), house.forge.comment("!testme")
    for number in (running, queued):
        house.told(number)
    house.turns()
    house.start()
    house.turns()
    house.end_runs()
    assert len(house.played) == 1  # the queued one; the other never told what it came to
    assert (house.record(running).verdict, house.record(queued).verdict) == ("error", "pass")
    assert "the run was interrupted" in house.forge.ours()[0]
    assert house.forge.states()[-1] == "success"


@pytest.mark.parametrize("write", range(1, 9))
def test_killed_at_any_write_nothing_is_lost_and_nothing_done_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    class Killed(BaseException):
        pass

    number = house.forge.comment("!testme")
    real, left = Commands._write, [write]

    def dying(self: Commands, record: CommandRecord) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        real(self, record)

    monkeypatch.setattr(Commands, "_write", dying)
    try:
        house.told(number)
        house.turns(3)
        house.end_runs()
        house.turns(3)
    except Killed:
        pass
    monkeypatch.setattr(Commands, "_write", real)
    house.start()
    house.turns(12, 10)  # where it was not even received, the poll finds it
    house.end_runs()
    house.turns(4, 60)
    assert len(house.played) <= 1
    assert len(house.forge.ours()) == 1
    found = house.record(number)
    assert (found.state, found.owes) == ("ended", False)
    assert house.forge.states()[-1] == ("success" if found.verdict == "pass" else "error")


def test_what_goes_wrong_in_the_player_is_an_error_and_not_the_recipes(house: House) -> None:
    def breaks(_job: Job, _stop: threading.Event) -> Played:
        raise RuntimeError("planted")

    house.trigger.play = breaks
    number = house.whole()
    assert house.record(number).verdict == "error"
    assert "This says nothing about the recipe" in house.forge.ours()[0]
    assert house.forge.states()[-1] == "error"


def test_asked_to_stop_it_ends_what_is_played_and_leaves_what_is_queued(house: House) -> None:
    running, queued = house.forge.comment("!testme"), house.forge.comment("!testme")
    for number in (running, queued):
        house.told(number)
    house.turns()
    house.script = [without_run("cold", HEAD, "error: the run was interrupted")]
    house.trigger.close()
    assert house.trigger.stop.is_set()
    assert (house.record(running).verdict, house.record(queued).state) == ("error", "queued")
    assert "interrupted" in house.forge.ours()[0]


def test_a_command_that_is_deleted_while_it_waits_is_cancelled(house: House) -> None:
    first, second = house.forge.comment("!testme"), house.forge.comment("!testme --quick")
    for number in (first, second):
        house.told(number)
    house.turns()
    gone = house.forge.payload(second, "deleted")
    house.forge.delete(second)
    house.trigger.receive(Posted(house.forge.headers(gone), gone))
    house.turns()
    found = house.record(second)
    assert (found.state, found.reason, found.run_id) == ("ended", "deleted", "")
    house.end_runs()
    assert len(house.played) == 1


def test_a_pull_request_that_cannot_be_seen_for_a_while_keeps_its_command(house: House) -> None:
    number = house.forge.comment("!testme")
    house.told(number)
    hidden = house.forge.pulls.pop(3)
    house.turns()
    found = house.record(number)
    assert (found.state, house.played) == ("received", [])
    assert "cannot be seen" in found.problem
    house.forge.pulls[3] = hidden
    house.pass_time(3600)
    house.turns()
    house.end_runs()
    assert house.record(number).verdict == "pass"
