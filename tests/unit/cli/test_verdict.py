from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.errors import Verdict
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import write_result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose result says pass, and shows nothing for it."""
    folder = tmp_path / "20261130-012649-be4d33"
    folder.mkdir()
    result = RunResult(
        run_id=folder.name, recipe="page", requested_mode="cold", mode="cold", verdict=Verdict.PASS, started="now"
    )
    write_result(result, folder / "results.json")
    return folder


def test_a_file_or_a_folder_is_judged_and_what_cannot_be_read_is_an_error(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = run / "torn.json"
    torn.write_text((run / "results.json").read_text("utf-8")[:-20], encoding="utf-8")
    assert cli.main(["verdict", str(run), str(torn)]) == 1
    told = capsys.readouterr().out
    assert "unverified page cold\n           it says pass, and its tiers come to unverified" in told
    assert f"error      {torn}\n           the run's result cannot be read: " in told


def test_json_is_one_document(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verdict", "--json", str(run / "results.json"), str(run / "none")]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["verdict"], row["recipe"]) for row in rows] == [("unverified", "page"), ("error", "")]
    assert rows[1]["why"] == "the run left no result: No such file or directory"
