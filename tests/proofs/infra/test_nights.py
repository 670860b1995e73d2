"""A night on infra whose update is rolled back: the summary is what the records on disk say, and the next one rests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from page import COMPOSE, write_page
from realruns import ccci, command, own_name

from pytest_ccci import process
from pytest_ccci.ops.inflight import runs_in_flight
from pytest_ccci.ops.sweep_record import SweepRecord, load_sweep, load_swept
from pytest_ccci.results.verdict import recompute
from pytest_ccci.results.write import load_result
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.infra_recipe import last_good
from tests.proofs.infra.dependent import write_dependent
from tests.proofs.infra.ground import Ground
from tests.proofs.infra.scenes import BROKEN

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(3600)]

GREEN = "def test_nothing_else():\n    pass\n"
HANGS = "import threading\n\n\ndef test_it_never_ends():\n    threading.Event().wait(3600)\n"
DIES = COMPOSE.replace(
    "    networks:",
    "    command: [sh, -c, \"test $$RELEASE = 1.0.0+1.22 && exec nginx -g 'daemon off;'\"]\n    networks:",
    1,
)
"""The head's program ends at once."""


def newest(state: StateDir) -> SweepRecord:
    record = load_sweep(max(state.sweeps.glob("*/sweep.json")))
    assert record is not None
    return record


def test_a_night_of_six_recipes_whose_infra_is_rolled_back(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", ground.site.engine.host)
    folder, state, words = tmp_path / "recipes", ground.state, ground.words()
    good, other, broken, hangs, early, people = (own_name() for _ in range(6))
    for name, tests, compose in (
        (good, GREEN, COMPOSE),
        (other, GREEN, COMPOSE),
        (early, GREEN, COMPOSE),
        (broken, GREEN, DIES),
        (hangs, HANGS, COMPOSE),
    ):
        write_page(folder / name, tests=tests, compose=compose)
    write_dependent(folder / people)
    ground.any_keycloak()
    before = last_good(state, "keycloak").release

    first = ccci("sweep", folder, f"--only={early}", *words)
    assert first.rc == 0, first.stdout + first.stderr
    assert newest(state).tested == (early,)

    ground.release("keycloak", "1.0.1+26.7.3", edit=BROKEN["never starts"])
    done = ccci("sweep", folder, "--patience=150s", *words)
    assert done.rc == 1, done.stdout + done.stderr
    night = newest(state)
    assert {one.app: (one.outcome, one.release) for one in night.infra}["keycloak"] == ("rolled-back", before)
    assert {name: night.verdict(name) for name in night.tested} == {
        good: "pass",
        other: "pass",
        people: "pass",
        broken: "fail",
        hangs: "error",
    }
    assert {one.recipe for one in night.decided if not one.due} == {early}
    assert set(night.red) == {"keycloak rolled-back", f"{broken} fail", f"{hangs} error"}
    for one in night.attempts:
        swept = load_swept(state.swept(one.recipe))
        assert swept is not None
        assert swept.last == one
        if one.hung:
            assert one.recipe == hangs
            continue
        result = load_result(state.run(one.run_id) / "results.json")
        assert (result.recipe, str(recompute(result)[0])) == (one.recipe, one.verdict)
    (needy,) = [one for one in night.attempts if one.recipe == people]
    assert needy.infra["keycloak"] == before == last_good(state, "keycloak").release
    assert "3 of 5 recipes green" in done.stdout
    assert f"keycloak    rolled-back   {before}" in done.stdout

    second = ccci("sweep", folder, *words)
    assert second.rc == 0, second.stdout + second.stderr
    assert "nothing was due" in second.stdout
    assert {one.app: one.outcome for one in newest(state).infra}["keycloak"] == "held"
    assert newest(state).tested == ()

    _held_off_by_a_run(ground, folder / good, folder, tmp_path)


def _held_off_by_a_run(ground: Ground, recipe: Path, folder: Path, logs: Path) -> None:
    state = ground.state
    run = process.spawn(command("--cold", recipe, *ground.words()), log=logs / "run.log", env=dict(os.environ))
    until(lambda: runs_in_flight(state), deadline=Deadline(120), what="a run in flight", every=0.05)
    off = ccci("sweep", folder, "--ccci-lock-wait=1s", *ground.words())
    assert off.rc == 1, off.stdout + off.stderr
    (told,) = newest(state).problems
    assert "something is in flight" in told
    assert recipe.name in told
    assert (newest(state).infra, newest(state).tested) == ((), ())
    assert process.alive(run), "nobody ended it"
    until(lambda: not process.alive(run), deadline=Deadline(300), what="the run to end")
