"""`ccci delivery` on a request that was saved: what it prints, how it ends, and that it gives no secret away."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from pathlib import Path

import pytest

from pytest_ccci import cli

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
