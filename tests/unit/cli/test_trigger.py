"""`ccci trigger`, `delivery` and `comment`: what they print, how they end, and that they give no secret away."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from pytest_ccci import cli
from pytest_ccci.ops.trigger.decision import CommentFacts, bind_head
from pytest_ccci.ops.trigger.gitea import CommentPlace, Gitea
from pytest_ccci.ops.trigger.service import Trigger
from pytest_ccci.ops.trigger.store import Commands
from pytest_ccci.statedir import StateDir

SECRET = "shared-by-forge-and-trigger"
PAYLOAD = Path(__file__).resolve().parents[1] / "ops" / "trigger" / "gitea_comment.json"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a delivery as Gitea sends it, and the secret."""
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    body = PAYLOAD.read_bytes()
    tag = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /hook HTTP/1.1\r\nContent-Type: application/json\r\nX-Gitea-Event: issue_comment\r\n"
        f"Content-Length: {len(body)}\r\nX-Gitea-Signature: {tag}\r\n\r\n"
    )
    (tmp_path / "request").write_bytes(head.encode() + body)
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    return tmp_path


def delivery(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = cli.main(["delivery", "--secret-file", "secret", "--bot", "ccci", *words])
    told = capsys.readouterr()
    return status, told.out + told.err


def test_a_members_command_would_be_run(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = delivery(capsys, "request", "--member", "Ada")
    assert status == 0
    assert "coop/notes pull request 3, from a fork\ncomment 1001 by ada, created by ada\n" in text
    assert "run: a member of the team asked for it" in text
    assert f"Queued: cold, commit `{'a' * 40}`." in text
    assert not (saved / "state").exists()


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("request",), "refuse: only members of the team may start a run"),
        (("request", "--member", "ada", "--handled"), "ignore: this comment was answered before"),
        (("request", "--member", "ada", "--head", "c" * 40), f"`!testme {'c' * 40}`"),
    ],
)
def test_all_else_would_not(words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = delivery(capsys, *words)
    assert status == 1
    assert expected in text


def test_it_is_read_from_standard_input_and_told_as_json(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = (saved / "request").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    status, text = delivery(capsys, "-", "--member", "ada", "--json")
    told = json.loads(text)
    assert (status, told["decision"]["what"], told["facts"]["head"]) == (0, "run", "a" * 40)


def test_another_secret_proves_nothing_and_is_not_shown(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (saved / "secret").write_text("quite-another-secret", encoding="utf-8")
    status, text = delivery(capsys, "request", "--member", "ada")
    assert status == 1
    assert "its signature is wrong (x-gitea-signature)" in text
    assert "quite-another" not in text


@pytest.mark.usefixtures("saved")
def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = delivery(capsys, "nothing")
    assert status == 2
    assert "nothing: it cannot be read: No such file or directory" in text


def poll_without_waiting(forge: Gitea, place: CommentPlace) -> tuple[CommentFacts, str]:
    first = forge.read_pull(place)
    return bind_head(first, replace(first, at=first.at + timedelta(seconds=6))), first.head


@pytest.mark.parametrize(("membership", "status", "words"), [(200, 0, "run: "), (404, 1, "refuse: only members")])
def test_a_comment_on_a_forge_is_decided_as_a_poll_finds_it(
    membership: int,
    status: int,
    words: str,
    saved: Path,
    httpserver: HTTPServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = json.loads(PAYLOAD.read_text(encoding="utf-8"))
    for path, value in (
        ("repos/coop/notes/pulls/3", sent["pull_request"]),
        ("repos/coop/notes/issues/comments/1001", sent["comment"]),
        ("repos/coop/notes/issues/3/timeline", None),
        ("orgs/coop/teams", [{"id": 7, "name": "testers"}]),
    ):
        httpserver.expect_request(f"/api/v1/{path}").respond_with_json(value)
    httpserver.expect_request("/api/v1/teams/7/members/ada").respond_with_json({}, status=membership)
    monkeypatch.setattr("pytest_ccci.cli.trigger.poll_comment", poll_without_waiting)
    url = httpserver.url_for("/coop/notes/pulls/3#issuecomment-1001")
    (saved / "token").write_text("a-token-of-the-bot\n", encoding="utf-8")
    ended = cli.main(["comment", url, "--token-file", "token", "--team", "coop/testers", "--bot", "ccci"])
    told = capsys.readouterr()
    assert (ended, words in told.out) == (status, True), told
    assert "a-token-of-the-bot" not in told.out + told.err


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("team", ["testers", "../testers", "a b/testers", "coop/"])
def test_a_team_is_named_with_its_organisation(team: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://git.example.org/coop/notes/pulls/3#issuecomment-1001"
    assert cli.main(["comment", url, "--token-file", "secret", "--team", team, "--bot", "ccci"]) == 2
    assert "a team is named as ORG/TEAM" in capsys.readouterr().err


# --- the service


def set_up(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """The settings of a service, in the environment, as a systemd unit gives them."""
    (folder / "token").write_text("a-token-of-the-bot\n", encoding="utf-8")
    (folder / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    (folder / "empty").touch()
    (folder / "recipes" / "notes").mkdir(parents=True)
    (folder / "recipes" / "notes" / "recipe.toml").touch()
    given = {
        "STATE_DIR": str(folder / "state"),
        "FORGE": "https://git.example.org",
        "FORGE_TEAM": "coop/testers",
        "FORGE_BOT": "ccci",
        "FORGE_TOKEN_FILE": "token",
        "FORGE_SECRET_FILE": "secret",
        "FORGE_RECIPES": "recipes",
        "FORGE_LISTEN": "127.0.0.1:0",
        **changes,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"CCCI_{name}", value)
    monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FORGE": "", "FORGE_BOT": ""}, "not given: --ccci-forge, --ccci-forge-bot"),
        ({"FORGE": "http://git.example.org"}, "a token is sent over https only"),
        ({"FORGE_TEAM": "coop"}, "a team is named as ORG/TEAM"),
        ({"FORGE_SECRET_FILE": "empty"}, "the webhook's secret is empty"),
        ({"FORGE_TOKEN_FILE": "empty"}, "the token is empty"),
        ({"FORGE_TOKEN_FILE": "nowhere"}, "No such file"),
        ({"FORGE_RECIPES": "state"}, "there is no recipe.toml in it"),
        ({"FORGE_LISTEN": "8474"}, "it is no ADDRESS:PORT"),
        ({"FORGE_LISTEN": "127.0.0.1:99999"}, "it is no ADDRESS:PORT"),
    ],
)
def test_a_service_that_was_asked_wrongly_does_not_start(
    changes: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up(tmp_path, monkeypatch, **changes)
    assert cli.main(["trigger", "serve"]) == 2
    told = capsys.readouterr()
    assert words in told.out + told.err
    assert SECRET not in told.out + told.err


def test_the_service_serves_until_it_is_asked_to_stop_and_shows_neither_token_nor_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, monkeypatch)
    turns: list[Trigger] = []

    def turn(self: Trigger) -> None:
        turns.append(self)
        self.stop.set()

    monkeypatch.setattr(Trigger, "turn", turn)
    assert cli.main(["trigger", "serve"]) == 0
    assert "taking webhooks at 127.0.0.1:" in (text := capsys.readouterr().out)
    assert "a-token-of-the-bot" not in text + repr(turns[0])
    assert SECRET not in text + repr(turns[0])


def test_what_was_asked_is_shown_with_what_the_forge_was_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(tmp_path, monkeypatch)
    assert cli.main(["trigger", "status"]) == 0
    assert "no command was given yet" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()
    known = Commands(StateDir(tmp_path / "state"))
    known.receive("k1", CommentFacts("coop/notes", 3, 1001, "!testme", "ada", "ada"), now=1.0, recipe="notes")
    known.change("k1", state="ended", what="refuse", doing="only members", body="words", problem="status 500")
    (tmp_path / "state" / "trigger" / "commands" / "k2.json").write_text("{", encoding="utf-8")
    assert cli.main(["trigger", "status"]) == 1
    text = capsys.readouterr().out
    assert re.search(r"coop/notes#3 +ended +refuse +only members", text)
    assert "status 500" in text
    assert "k2: its file is damaged" in text
    assert cli.main(["trigger", "status", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert ([one["key"] for one in told["commands"]], told["damaged"]) == (["k1"], ["k2"])
