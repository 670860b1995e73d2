from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.cli import demo, parser
from pytest_ccci.cli.arguments import passed_on, settings_of
from pytest_ccci.errors import CcciError, EngineUnavailable, RefError, StoreDamaged
from pytest_ccci.settings import OPTIONS
from pytest_ccci.statedir import open_state
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, write_alert


def commands() -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that is not there yet."""
    path = tmp_path / "none" / "state"
    monkeypatch.setenv("CCCI_STATE_DIR", str(path))
    return path


def test_there_are_the_commands_that_the_design_names() -> None:
    assert set(commands()) >= {"setup", "demo", "status", "doctor", "restore", "reseed", "verify", "prune", "alerts"}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_tells_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"usage: ccci {name}" in told
    assert ("--ccci-state-dir" in told) == (name != "place")  # which reads of other machines, and nothing of this one


def test_a_setting_counts_before_and_behind_the_target_of_prove() -> None:
    for words in (["prove", "--ccci-zone=x.test", "rollback"], ["prove", "rollback", "--ccci-zone=x.test"]):
        assert settings_of(cli.parser().parse_args(words)).zone == "x.test"
    assert settings_of(cli.parser().parse_args(["prove"])).zone == "ci.test"


def test_the_settings_are_those_of_the_table_by_the_same_flags() -> None:
    flags = {option.flag for option in OPTIONS}
    for name, command in commands().items():
        own = {text for action in command._actions for text in action.option_strings if text.startswith("--ccci-")}
        assert own <= flags, name


@pytest.mark.parametrize(
    "words", [[], ["sing"], ["restore"], ["engine"], ["engine", "start"], ["status", "--ccci-mode", "cold"]]
)
def test_what_cannot_be_understood_ends_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: ccci" in capsys.readouterr().err


def test_a_value_that_cannot_be_read_ends_2_and_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--ccci-slots", "many"]) == 2
    assert "--ccci-slots: 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineUnavailable("the engine is gone", seen="nothing", advice="start it"), 1),
        (StoreDamaged("rotten"), 1),
        (RefError("no such ref"), 2),
    ],
)
def test_our_errors_are_shown_as_their_text_and_never_as_a_traceback(
    error: CcciError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("pytest_ccci.cli.status.inspect_situation", fail)
    assert cli.main(["status"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert str(error) in told.err
    assert "Traceback" not in told.err


def test_ctrl_c_is_an_end_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_ccci.cli.status.inspect_situation", interrupt)
    assert cli.main(["status"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_what_was_given_here_is_passed_on_to_pytest_and_nothing_else() -> None:
    args = parser().parse_args(["demo", "--ccci-zone", "ci.example", "--ccci-timeout", "90s"])
    assert passed_on(args) == ["--ccci-zone=ci.example", "--ccci-timeout=90s"]
    assert settings_of(args).timeout == 90
    assert args.recipe == Path("recipes/lasuite-docs")
    assert args.run is demo.run


@pytest.fixture
def alerted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    state = open_state(tmp_path / "state")
    monkeypatch.setenv("CCCI_STATE_DIR", str(state.root))
    yield [write_alert(state, Alert(AlertKind.QUARANTINED, app, notes="[red]look[/red]")) for app in ("docs", "wiki")]
    assert len(list((state.alerts / "seen").glob("*.json"))) + len(open_alerts(state)) == 2


@pytest.mark.usefixtures("alerted")
def test_alerts_are_listed_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alerts"]) == 0
    assert "[red]look[/red]" in capsys.readouterr().out
    assert cli.main(["alerts", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["app"] for row in rows] == ["docs", "wiki"]


def test_an_acknowledged_alert_is_no_longer_open(alerted: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["alerts", "ack", alerted[0].name]) == 0
    assert cli.main(["alerts", "ack", alerted[0].name]) == 2
    capsys.readouterr()
    assert cli.main(["alerts", "--json"]) == 0
    assert [row["app"] for row in json.loads(capsys.readouterr().out)] == ["wiki"]
    assert cli.main(["alerts", "ack"]) == 0
