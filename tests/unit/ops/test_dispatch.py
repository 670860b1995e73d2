"""On which machine a run belongs."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_ccci.cli import main
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.dispatch import JobState, LocalSlots, MachineState, Request, load_machines, place
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

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


def told(folder: Path, name: str, settings: Settings, *, age: float = 0) -> None:
    """What that machine printed, so long ago."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(dataclasses.asdict(inspect_situation(settings)), default=str))
    os.utime(path, (datetime.now(UTC).timestamp() - age,) * 2)


def test_what_status_prints_is_understood(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "machines"
    folder.mkdir()
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


def test_this_machine_plays_a_request_that_no_shell_reads_and_tells_one_that_died_as_lost(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.runs.mkdir()
    written = tmp_path / "seen"
    asked = Request("docs", "quick", "$(touch x)`", "20261130-224451-3f2c1a")
    script = f'echo "$1 $CCCI_MODE $CCCI_REF $CCCI_RUN_ID $CCCI_PROMOTE" >{written}'
    slots = LocalSlots(state, Path("/srv"), {"PATH": os.environ["PATH"]}, ("sh", "-c", script, "-"))
    receipt = slots.submit(asked, "here")
    until(lambda: slots.state(receipt) == JobState("lost"), deadline=Deadline(20), what="it to end", every=0.05)
    assert written.read_text("utf-8") == f"/srv/docs quick $(touch x)` {asked.run_id} false\n"
