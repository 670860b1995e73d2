"""A night by itself on the real engine: what is due is tested, what hangs is ended, and the next one finds nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from page import COMPOSE, write_page
from realruns import ccci, of_stack, own_name

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.ops.inflight import runs_in_flight
from pytest_ccci.ops.sweep_record import SweepRecord, load_sweep, load_swept
from pytest_ccci.results.verdict import recompute
from pytest_ccci.results.write import load_result
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
    good, broken, hangs, off = (own_name() for _ in range(4))
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


KILLED = """\
import itertools, os, signal, sys
from pytest_ccci.cli import main
from pytest_ccci.ops import sweep
at, real, done = int(sys.argv.pop(1)), sweep.write_atomic, itertools.count()

def write(path, data):
    if next(done) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, data)

sweep.write_atomic = write
sys.exit(main())
"""
"""A sweep that kills itself before it writes for a number of times, which is given."""
NEVER = 99
FULL = pytest.mark.full
PLACES = {
    "begun": 1,
    "infra": 2,
    "decided": 3,
    "tested, not noted": 4,
    "noted": 5,
    "both tested, one not noted": 6,
    "verified": 7,
    "pruned": 8,
    "in flight": NEVER,
    "promoting": NEVER,
}
"""Before which of its writes; the last two while a run is, until its journal has got so far."""
WORST = {"tested, not noted", "in flight"}


@pytest.mark.parametrize("place", [one if one in WORST else pytest.param(one, marks=FULL) for one in PLACES])
def test_a_sweep_that_is_killed_is_gone_on_with(
    place: str, tmp_path: Path, warm_state: StateDir, engine: Engine
) -> None:
    folder = tmp_path / "recipes"
    good, broken = own_name(), own_name()
    write_page(folder / good, tests=GREEN)
    write_page(folder / broken, tests=GREEN, compose=DIES)
    known = set(warm_state.runs.glob("*"))
    words = [sys.executable, "-c", KILLED, str(PLACES[place]), "sweep", str(folder)]
    log = tmp_path / "killed.log"
    sweep = process.spawn(words, log=log, env=dict(os.environ))

    def so_far() -> bool:
        assert PLACES[place] < NEVER or process.alive(sweep), log.read_text("utf-8")[-4000:]
        if place == "in flight":
            return bool(runs_in_flight(warm_state))
        if place == "promoting":
            journals = [path / "journal.jsonl" for path in set(warm_state.runs.glob("*")) - known]
            return any('"begin promote' in path.read_text("utf-8") for path in journals if path.is_file())
        return not process.alive(sweep)

    until(so_far, deadline=Deadline(300), what=place, every=0.02)
    process.terminate(sweep, force=True)
    until(lambda: not process.alive(sweep), deadline=Deadline(30), what="it to die")
    cut = newest(warm_state)
    assert (cut.ended, cut.resumed) == ("", 0), log.read_text("utf-8")[-4000:]

    done = ccci("sweep", folder, "--json")
    assert done.rc == 1, done.stdout + done.stderr
    night = newest(warm_state)
    assert (night.sweep_id, night.resumed) == (cut.sweep_id, 1)
    assert json.loads(done.stdout)["sweep_id"] == night.sweep_id
    assert night.attempts[: len(cut.attempts)] == cut.attempts, "what was tested is not tested again"
    assert {name: night.verdict(name) for name in night.tested} == {good: "pass", broken: "fail"}
    assert len(night.attempts) == 2
    assert {one.recipe for one in night.decided if one.due} == {good, broken}
    for one in night.attempts:
        result = load_result(warm_state.run(one.run_id) / "results.json")
        assert (result.recipe, str(recompute(result)[0])) == (one.recipe, one.verdict)
        swept = load_swept(warm_state.swept(one.recipe))
        assert swept is not None
        assert swept.last == one
        assert of_stack(engine, f"{one.recipe[:4]}-") == []
    record = CanonicalStore(warm_state.canonical(good), good).record()
    assert record is not None
    assert record.release == "1.1.0+1.22"

    after = ccci("sweep", folder)
    assert after.rc == 0, after.stdout + after.stderr
    assert "nothing was due" in after.stdout
