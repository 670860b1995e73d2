"""`ccci answer` on a result: the status and the comment, for people and for a job that posts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RefFact, RunResult, TierResult
from pytest_ccci.results.write import write_result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that failed."""
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "state"))
    head = RefFact(ref="pull/7/head", commit="b" * 40, version="bbbbbbbb")
    failed = TierResult(tier="install", verdict=Verdict.FAIL, reason="it crashed")
    made = RunResult(
        run_id="r1", recipe="notes", requested_mode="cold", mode="cold", asked=("install",), verdict=Verdict.FAIL,
        head=head, started="2026-11-01T12:00:00Z", tiers=(failed,),
    )  # fmt: skip
    write_result(made, tmp_path / "results.json")
    return tmp_path


def test_it_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["answer", str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"ccci/cold failure: install: it crashed ({'b' * 40})\n")
    assert "| install | fail | 0.0 | `it crashed` |" in text


def test_a_job_reads_it_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = "https://git.example.org/log"
    assert cli.main(["answer", "--json", "--link", link, str(folder / "results.json")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == {
        "commit": "b" * 40,
        "state": "failure",
        "description": "install: it crashed",
        "context": "ccci/cold",
    }
    assert f"[log]({link})" in told["comment"]


def test_what_is_no_result_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "results.json").write_text("{}", encoding="utf-8")
    assert cli.main(["answer", str(folder)]) == 1
    assert "results.json" in capsys.readouterr().err
