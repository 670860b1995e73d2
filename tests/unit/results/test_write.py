from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import pydantic
import pytest

from pytest_ccci.errors import StoreDamaged, Verdict
from pytest_ccci.results.model import RunResult, TierResult
from pytest_ccci.results.write import load_result, schema_text, write_result

RESULT = RunResult(
    run_id="r1",
    recipe="one",
    requested_mode="cold",
    mode="cold",
    verdict=Verdict.PASS,
    started="2026-01-01T00:00:00Z",
    tiers=(TierResult(tier="install", verdict=Verdict.PASS, facts={"image": "nginx:1"}),),
)


def test_what_was_written_is_read_back_as_the_same_value(tmp_path: Path) -> None:
    path = write_result(RESULT, tmp_path / "runs" / "r1" / "results.json")
    assert load_result(path) == RESULT
    assert json.loads(path.read_text())["schema_version"] == 1


def test_the_file_is_for_its_owner_only_and_nothing_partial_stays(tmp_path: Path) -> None:
    path = write_result(RESULT, tmp_path / "results.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["results.json"]  # noqa: PTH208  names only


def test_a_write_that_fails_keeps_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(RESULT, tmp_path / "results.json")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_result(RESULT.model_copy(update={"run_id": "r2"}), path)
    assert load_result(path).run_id == "r1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


def test_a_missing_result_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged, match=r"results\.json: the run left no result"):
        load_result(tmp_path / "results.json")


@pytest.mark.parametrize("text", ["", "{", "{}", '{"schema_version": 2}'])
def test_a_result_that_is_none_of_ours_is_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(StoreDamaged, match="cannot be read"):
        load_result(path)


def test_the_exported_schema_is_current() -> None:
    assert (files("pytest_ccci.results") / "schema.json").read_text(encoding="utf-8") == schema_text()


def test_results_are_frozen_and_strict_about_names() -> None:
    with pytest.raises(pydantic.ValidationError):
        setattr(RESULT, "verdict", Verdict.FAIL)  # noqa: B010  mypy knows that it is read-only
    with pytest.raises(pydantic.ValidationError):
        TierResult.model_validate({"tier": "install", "verdict": "pass", "colour": "red"})
