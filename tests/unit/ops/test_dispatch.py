"""On which machine a run belongs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_ccci.cli import main
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.dispatch import ForgeActions, JobState, MachineState, Receipt, Request, load_machines, place
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import AlertKind, open_alerts

NOW = datetime(2026, 7, 1, 3, tzinfo=UTC)


def machine(text: str) -> MachineState:
    """Of ``name taken/slots free keeps``, and ``away`` or ``low``."""
    name, slots, free, *rest = text.split()
    taken, _, there = slots.partition("/")
    heard = NOW - timedelta(minutes=11 if "away" in rest else 9)
    keeps = frozenset(rest) - {"away", "low"}
    return MachineState(name, heard, int(there), int(taken), int(free), keeps, low="low" in rest)


@pytest.mark.parametrize(
    ("mode", "machines", "where", "promotes", "alert"),
    [
        # Where the canonical is, also where that is full: elsewhere is no known-good.
        ("cold", ["a 0/2 9", "b 2/2 1 docs"], "b", True, ""),
        ("quick", ["a 0/2 9", "b 5/2 1 docs"], "b", True, ""),
        ("quick", ["a 0/2 9", "b 0/2 1 docs low"], "b", True, ""),
        # Else where room is: free slots, then free bytes, then by name.
        ("cold", ["a 1/2 9 wiki", "b 0/2 1"], "b", True, ""),
        ("cold", ["a 1/2 5", "b 1/2 6"], "b", True, ""),
        ("quick", ["b 0/2 5", "a 0/2 5"], "a", True, ""),
        ("cold", ["a 0/2 5 low", "b 2/2 1"], "b", True, ""),
        # Its machine is away: a quick run waits, a cold one goes elsewhere, and makes no second canonical there.
        ("quick", ["a 0/2 9", "b 0/2 9 docs away"], "", True, "b, with the canonical of docs, is away"),
        ("cold", ["a 0/2 9", "b 0/2 9 docs away"], "a", False, "b, with the canonical of docs, is away"),
        # Two keep one: the one that is there.
        ("quick", ["a 0/2 9 docs away", "b 0/2 9 docs"], "b", True, ""),
        ("cold", ["a 0/2 9 away"], "", True, "no machine is there"),
        ("cold", ["a 0/2 9 low"], "", True, "too little is free on every machine"),
        ("cold", ["a 0/2 9 docs away", "b 0/2 9 low"], "", True, "a, with the canonical of docs, is away"),
        ("cold", [], "", True, "no machine is there"),
    ],
)
def test_where_a_run_belongs(mode: str, machines: list[str], where: str, promotes: bool, alert: str) -> None:
    found = place("docs", mode, map(machine, machines), now=NOW)
    assert (found.machine, found.promotes) == (where, promotes)
    assert found.alert.startswith(alert)
    assert bool(found.alert) is bool(alert)


def told(folder: Path, name: str, settings: Settings, *, age: float = 0, keeps: str = "") -> None:
    """What that machine printed, so long ago."""
    path = folder / f"{name}.json"
    facts = dataclasses.asdict(inspect_situation(settings))
    facts["canonicals"] = [{"recipe": keeps, "release": "1.0.0+1"}] if keeps else []
    path.write_text(json.dumps(facts, default=str))
    os.utime(path, (datetime.now(UTC).timestamp() - age,) * 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machines tell; the current folder has no configuration."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "machines"
    place.mkdir()
    return place


def test_what_status_prints_is_understood(folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    told(folder, "one", settings)
    told(folder, "two", settings, age=3600)
    one, two = load_machines(folder)
    assert (one.name, one.slots, one.taken, one.keeps) == ("one", 2, 0, frozenset())
    assert two.is_away(datetime.now(UTC), timedelta(minutes=10))
    assert main(["place", "docs", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"] == "one"
    assert main(["place", "docs", str(folder), "--away=0s"]) == 1
    assert "no machine is there" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{}", "[]", "no", ""])
def test_what_a_machine_did_not_tell_is_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="no machine told"):
        load_machines(tmp_path)
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(UsageError, match="cannot be used"):
        load_machines(tmp_path)


def test_all_machines_stand_in_one_table_and_one_that_is_away_is_red(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    told(folder, "one", settings, keeps="docs")
    assert main(["status", "--all", str(folder)]) == 0
    assert re.search(r"one .* ago +0 of 2 .* docs", capsys.readouterr().out)
    told(folder, "two", settings, age=3600)
    assert main(["status", "--all", str(folder)]) == 1
    assert re.search(r"two +AWAY, 1 h .* nothing", capsys.readouterr().out)
    assert main(["status", "docs", "--all", str(folder), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["machines"]
    assert (row["name"], row["keeps"], row["away"], row["taken"]) == ("one", ["docs"], False, 0)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, str]]:
    """What was handed to a forge that takes all, and where each run ends red."""
    seen: list[tuple[Request, str]] = []

    def submit(_: ForgeActions, request: Request, machine: str) -> Receipt:
        seen.append((request, machine))
        return Receipt(request.run_id, machine, "7", "https://git.example.org/7")

    monkeypatch.setattr(ForgeActions, "submit", submit)
    monkeypatch.setattr(ForgeActions, "state", lambda *_: JobState("ended", "failure"))
    return seen


@pytest.fixture
def dispatched(folder: Path, settings: Settings) -> Callable[..., int]:
    """``ccci dispatch`` of ``docs``, whose canonical is on ``one``, heard of so many seconds ago."""
    token = folder.with_name("token")
    token.write_text("t0ken\n")
    token.chmod(0o600)

    def dispatch(*words: str, age: float = 0) -> int:
        told(folder, "one", settings, age=age, keeps="docs")
        told(folder, "two", settings)
        forge = ("--ccci-forge=https://git.example.org", f"--ccci-forge-token-file={token}", "--repository=ci/runs")
        place = f"--ccci-state-dir={settings.state_dir}"
        return main(["dispatch", "docs", str(folder), *forge, place, *words])

    return dispatch


def test_a_run_is_handed_to_the_machine_of_its_canonical_and_its_end_is_told(
    dispatched: Callable[..., int], handed: list[tuple[Request, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatched() == 0
    assert "https://git.example.org/7" in capsys.readouterr().out
    assert dispatched("--wait=5s", "--ref=tip") == 1
    assert "failure" in capsys.readouterr().out
    (latest, where), (tip, _) = handed
    assert (where, latest.mode, latest.ref, latest.promotes) == ("one", "cold", "latest", True)
    assert (tip.ref, tip.promotes) == ("tip", False)


def test_a_machine_that_is_away_is_an_alert_and_a_quick_run_waits_for_it(
    dispatched: Callable[..., int], handed: list[tuple[Request, str]], state: StateDir
) -> None:
    assert dispatched("--quick", age=3600) == 1
    assert handed == []
    ((_, alert),) = open_alerts(state)
    assert (alert.kind, alert.app) == (AlertKind.UNAVAILABLE, "docs")
    assert alert.notes.startswith("one, with the canonical of docs, is away")
    assert dispatched(age=3600) == 0
    ((request, where),) = handed
    assert (where, request.promotes) == ("two", False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repository=x"], "no OWNER/NAME"),
        (["--repository=../x/y"], "no OWNER/NAME"),
        (["--ccci-forge="], "handed over by a forge"),
        (["--ccci-forge=git.example.org"], "git.example.org"),
    ],
)
def test_what_cannot_be_handed_over_is_refused_before_anything_is(
    dispatched: Callable[..., int],
    handed: list[tuple[Request, str]],
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert dispatched(*words) == 2
    assert said in capsys.readouterr().err
    assert handed == []
