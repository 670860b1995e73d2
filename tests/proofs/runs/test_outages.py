"""The engine or Keycloak goes away in the middle: the recipe is not blamed, nothing is lost, nothing is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from realruns import Pytest, command, needs_keycloak, of_stack, realms_of

from pytest_ccci import process
from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.convergence import wait_converged
from pytest_ccci.errors import Verdict
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import load_result
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.health import wait_healthy

pytestmark = pytest.mark.alone


def run_with_outage(args: list[str], *, at: str, cause: Callable[[], object], state: StateDir, log: Path) -> RunResult:
    """Start a run, cause an outage as soon as its journal says that step ``at`` begins; the result it ends with."""
    known = {path.name for path in state.runs.iterdir()}
    pid = process.spawn(command(*args), log=log, env=dict(os.environ))

    def begun() -> str:
        for path in state.runs.glob("*/journal.jsonl"):
            if path.parent.name not in known and f'"begin {at}"' in path.read_text(encoding="utf-8"):
                return path.parent.name
        assert process.alive(pid), log.read_text(encoding="utf-8")[-4000:]
        return ""

    run_id = until(begun, deadline=Deadline(180), what=f"step {at}", every=0.01)
    cause()
    until(lambda: not process.alive(pid), deadline=Deadline(180), what="the run to end", seen=log.read_text)
    return load_result(state.run(run_id) / "results.json")


def first_red(result: RunResult) -> tuple[str, Verdict, str]:
    red = next(tier for tier in result.tiers if tier.verdict not in {Verdict.PASS, Verdict.SKIP})
    return red.tier, red.verdict, red.reason


@contextmanager
def _wanted(engine: Engine, service: str, replicas: int) -> Iterator[None]:
    engine.client.services.get(service).scale(replicas)
    try:
        yield
    finally:
        engine.client.services.get(service).scale(1)


@pytest.fixture
def private_engine(engine: Engine) -> Path:
    """The directory of the private engine under test; somebody else's is not ours to kill."""
    directory = Path(engine.host.removeprefix("unix://")).parent
    if discovery.running_pid(directory) is None:
        reason = "the engine is not a private one of ours, so that it cannot be killed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return directory


def test_an_engine_that_dies_in_the_middle_is_an_error_of_the_machine(
    private_engine: Path,
    user_pytest: Pytest,
    page_recipe: Path,
    warm_state: StateDir,
    engine: Engine,
    machine: Machine,
    tmp_path: Path,
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).rc == 0
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()

    def kill() -> None:
        process.terminate(discovery.running_pid(private_engine) or 0, force=True)

    try:
        result = run_with_outage(
            ["--quick", str(page_recipe)], at="upgrade: deploy", cause=kill, state=warm_state, log=tmp_path / "log"
        )
    finally:
        discovery.attach_or_start(private_engine)
        for app in ("traefik", "keycloak"):
            stack = stack_name(app_domain(app, machine.settings.zone))
            wait_converged(engine, stack, deadline=Deadline(180))
            wait_healthy(machine.site, app, deadline=Deadline(180))

    assert result.verdict == Verdict.ERROR
    tier, verdict, reason = first_red(result)
    assert (tier, verdict) == ("upgrade", Verdict.ERROR)
    assert "the engine does not answer" in reason
    assert "ccci doctor" in reason
    assert any("is still deployed, the next run removes it" in warning for warning in result.warnings)
    assert store.fingerprint() == before
    assert store.state().quarantined is None
    after = user_pytest("--quick", page_recipe)
    assert after.rc == 0
    assert after.result.mode == "quick"
    assert store.fingerprint() == before
    assert of_stack(engine, f"warm-{page_recipe.name}") == []


def test_a_keycloak_that_dies_in_the_middle_is_an_error_of_the_machine_and_quarantines_nothing(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine, machine: Machine, tmp_path: Path
) -> None:
    recipe = needs_keycloak(page_recipe)
    store = CanonicalStore(warm_state.canonical(recipe.name), recipe.name)
    assert user_pytest("--cold", "--ccci-ref", "latest", recipe).rc == 0
    before = store.fingerprint()
    service = f"{stack_name(app_domain('keycloak', machine.settings.zone))}_app"
    with _wanted(engine, service, 1):
        result = run_with_outage(
            ["--quick", str(recipe)],
            at="upgrade: deploy",
            cause=lambda: engine.client.services.get(service).scale(0),
            state=warm_state,
            log=tmp_path / "log",
        )
    assert result.verdict == Verdict.ERROR
    tier, verdict, reason = first_red(result)
    assert (tier, verdict) == ("upgrade", Verdict.ERROR)
    assert "Keycloak does not answer" in reason
    assert any("could not be given back, the next run does it" in warning for warning in result.warnings)
    assert of_stack(engine, f"warm-{recipe.name}") == []
    assert store.fingerprint() == before
    assert store.state().quarantined is None
    assert list(warm_state.alerts.glob("*.json")) == []

    wait_healthy(machine.site, "keycloak", deadline=Deadline(180))
    after = user_pytest("--quick", recipe)
    assert after.rc == 0
    assert after.result.mode == "quick"
    assert store.fingerprint() == before
    assert realms_of(machine, recipe.name) == []
