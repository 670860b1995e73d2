"""The command as a program of its own, on machines that lack things. No engine is reached."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from pytest_ccci import process

_ENTRY = "import sys; from pytest_ccci.cli import main; sys.exit(main())"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment whose engine does not answer and whose state directory is not there yet."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "CCCI_STATE_DIR": str(tmp_path / "state"),
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
    }


def ccci(machine: dict[str, str], *words: str) -> process.Finished:
    return process.run([sys.executable, "-c", _ENTRY, *words], timeout=60, env=machine, check=False)


def test_status_says_that_no_engine_answers_and_makes_nothing(machine: dict[str, str]) -> None:
    done = ccci(machine, "status", "--json")
    assert done.rc == 0, done.stderr
    told = json.loads(done.stdout)
    assert "does not answer" in told["engine"]["problem"]
    assert [row["state"] for row in told["infra"]] == ["unknown", "unknown"]
    assert told["canonicals"] == told["runs"] == told["leases"] == []
    assert not Path(machine["CCCI_STATE_DIR"]).exists()


def test_status_for_people_says_the_same(machine: dict[str, str]) -> None:
    done = ccci(machine, "status")
    assert done.rc == 0
    assert "does not answer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_is_red_where_the_engine_that_was_named_does_not_answer(machine: dict[str, str]) -> None:
    done = ccci(machine, "doctor", "--json")
    assert done.rc == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert checks["engine"]["level"] == "bad"
    assert checks["state directory"]["level"] == "ok"
    assert not Path(machine["CCCI_STATE_DIR"]).exists()


def test_a_dry_run_of_setup_says_what_would_be_done_and_does_nothing(machine: dict[str, str]) -> None:
    done = ccci(machine, "setup", "--dry-run")
    assert done.rc == 0, done.stderr
    assert "dry run: nothing was done" in done.stdout
    assert "DOCKER_HOST=" in done.stdout
    assert not Path(machine["CCCI_STATE_DIR"]).exists()


def test_a_state_directory_that_cannot_be_made_is_a_usage_error(machine: dict[str, str], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = ccci({**machine, "CCCI_STATE_DIR": str(blocked / "state")}, "verify")
    assert done.rc == 2
    assert "the state directory cannot be written" in done.stderr


def test_demo_refuses_a_folder_that_is_no_recipe(machine: dict[str, str], tmp_path: Path) -> None:
    done = ccci(machine, "demo", "--recipe", str(tmp_path))
    assert done.rc == 2
    assert "recipe.toml" in done.stderr


def test_stopping_the_engine_where_there_is_none_of_ours_is_well(machine: dict[str, str]) -> None:
    done = ccci(machine, "engine", "stop")
    assert done.rc == 0, done.stderr
    assert "was not running" in done.stdout


@pytest.mark.parametrize(
    ("words", "decision", "reason"),
    [
        (["1.0.0+26.7.0", "1.0.1+26.7.3"], "pass", ""),
        (["1.0.0+26.7.0", "1.0.0+26.7.0"], "current", ""),
        (["1.0.0+26.7.0", "2.0.0+26.7.0"], "hold", "major step"),
        (["1.0.0+26.7.0", "11.0.0+27.0.0", "--accept", "11.0.0+27.0.0"], "pass", "accepted"),
        (["1.0.0+2024.1.0", "1.0.1+2025.1.0", "--versions", "calendar"], "pass", ""),
        (["1.0.0+1.0.0", "1.0.1+1.0.1", "--hold-app", "patch"], "hold", "patch step"),
        (["1.0.0+26.7.0", "1.0.1+26.7.3", "--notes", "{notes}"], "hold", "migrate_x by hand"),
        (["1.0.0+26.7.0", "1.0.1+26.7.3", "--notes", "{fine}"], "pass", ""),
    ],
)
def test_gate_answers_for_any_pair(
    machine: dict[str, str], tmp_path: Path, words: list[str], decision: str, reason: str
) -> None:
    (tmp_path / "notes").write_text("run manage.py migrate_x by hand before upgrading")
    (tmp_path / "fine").write_text("no manual migration needed")
    places = {"notes": str(tmp_path / "notes"), "fine": str(tmp_path / "fine")}

    done = ccci(machine, "gate", *(word.format(**places) for word in words), "--json")

    assert done.rc == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"decision", "reasons"}
    assert told["decision"] == decision
    assert reason in " ".join(told["reasons"])


def test_gate_refuses_notes_that_are_not_there(machine: dict[str, str], tmp_path: Path) -> None:
    done = ccci(machine, "gate", "1.0.0+1", "1.0.1+1", "--notes", str(tmp_path / "none"))
    assert done.rc == 2
    assert "cannot be read" in done.stderr


def test_an_alert_that_cannot_be_sent_is_said_by_every_command_and_stays_open(machine: dict[str, str]) -> None:
    alerts = Path(machine["CCCI_STATE_DIR"], "alerts")
    alerts.mkdir(parents=True, mode=0o700)
    (alerts / "one.json").write_text(json.dumps({"kind": "disk", "app": "engine", "time": "2026-01-01T00:00:00+00:00"}))
    unsent = {**machine, "CCCI_ALERT_URLS": "no-such-service://token"}
    for _ in range(2):
        done = ccci(unsent, "gate", "1.0.0+1", "1.0.1+1")
        assert done.rc == 0
        assert "1 alerts could not be delivered" in done.stderr
        assert "token" not in done.stdout + done.stderr
    listed = json.loads(ccci(machine, "alerts", "--json").stdout)
    assert sorted(alert["kind"] for alert in listed) == ["disk", "undelivered"]


def test_reconcile_says_what_is_missing_where_no_engine_answers(machine: dict[str, str]) -> None:
    done = ccci(machine, "reconcile", "--dry-run")
    assert done.rc == 1
    assert "does not answer" in done.stderr
    assert ccci(machine, "reconcile", "nginx").rc == 2
