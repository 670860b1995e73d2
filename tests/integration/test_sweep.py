"""A night by itself on the real engine: what is due is tested, what hangs is ended, and the next one finds nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from page import COMPOSE, write_page
from realruns import ccci, of_stack, own_name

from pytest_ccci.engine.client import Engine
from pytest_ccci.ops.inflight import runs_in_flight
from pytest_ccci.ops.sweep_record import SweepRecord, load_sweep
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, until

pytestmark = [pytest.mark.alone, pytest.mark.slow]

GREEN = "def test_nothing_else():\n    pass\n"
HANGS = "import threading\n\n\ndef test_it_never_ends():\n    threading.Event().wait(3600)\n"
COMMAND = """\
    command: ["sh", "-c", "test $$RELEASE = 1.0.0+1.22 && exec nginx -g 'daemon off;'"]
    networks:"""
DIES = COMPOSE.replace("    networks:", COMMAND, 1)
"""The head's program ends at once."""


def newest(state: StateDir) -> SweepRecord:
    record = load_sweep(max(state.sweeps.glob("*/sweep.json")))
    assert record is not None
    return record


def test_a_night_over_recipes_that_are_good_broken_hanging_and_not_enrolled(
    tmp_path: Path, warm_state: StateDir, engine: Engine
) -> None:
    folder = tmp_path / "recipes"
    good, broken, hangs, late, off = (own_name() for _ in range(5))
    write_page(folder / good, tests=GREEN)
    write_page(folder / broken, tests=GREEN, compose=DIES)
    write_page(folder / hangs, tests=HANGS)
    write_page(folder / off, tests=GREEN)
    toml = folder / off / "recipe.toml"
    toml.write_text(toml.read_text("utf-8").replace("canonical = true", "canonical = false"), "utf-8")

    first = ccci("sweep", folder, "--patience=90s")
    assert first.rc == 1, first.stdout + first.stderr
    night = newest(warm_state)
    assert {name: night.verdict(name) for name in night.tested} == {good: "pass", broken: "fail", hangs: "error"}
    assert [one.outcome for one in night.infra] == ["current", "current"]
    assert "1 of 3 recipes green" in first.stdout
    (red,) = [one for one in night.attempts if one.recipe == broken]
    assert red.reason.startswith("upgrade: ")
    (ended,) = [one for one in night.attempts if one.recipe == hangs]
    assert ended.reason == "it was not over after 90 s, and was ended"
    record = CanonicalStore(warm_state.canonical(good), good).record()
    assert record is not None
    assert record.release == "1.1.0+1.22"
    assert [one.recipe for one in night.verified] == [good]
    for name in (good, broken, hangs):
        assert of_stack(engine, f"{name[:4]}-") == [], "each run put everything back, the one that was ended too"

    second = ccci("sweep", folder)
    assert second.rc == 0, second.stdout + second.stderr
    assert "nothing was due" in second.stdout
    assert newest(warm_state).tested == ()

    _killed_and_gone_on_with(folder, late, warm_state)


def _killed_and_gone_on_with(folder: Path, late: str, state: StateDir) -> None:
    """A sweep that is killed in the middle of a run: the next one waits for that run, and goes on."""
    write_page(folder / late, tests=GREEN)
    words = [
        sys.executable,
        "-c",
        "import sys; from pytest_ccci.cli import main; sys.exit(main())",
        "sweep",
        str(folder),
    ]
    sweep = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: runs_in_flight(state), deadline=Deadline(60), what="its run to begin", every=0.1)
    finally:
        os.kill(sweep.pid, signal.SIGKILL)
        sweep.wait()
    assert newest(state).ended == ""
    done = ccci("sweep", folder, "--json")
    assert done.rc == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["resumed"] == 1
    assert [one["recipe"] for one in found["attempts"]] == [late]
    assert newest(state).ended
