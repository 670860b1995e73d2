"""What a run holds is given back and taken down, each by itself, and never waited for in vain."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, KeycloakUnavailable, LockBusy
from pytest_ccci.locks import hold, is_held, who
from pytest_ccci.run import context as module
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.run_dir import Diary, Owned, open_diaries
from pytest_ccci.statedir import StateDir

LEASE: Any = SimpleNamespace(realm="warm-docs", secrets=())
APP = Owned("r1", "docs", "warm-docs_ci_test", "warm-docs.ci.test", "/locks/docs.lock")


@pytest.fixture
def run(state: StateDir) -> RunContext:
    """A run that has deployed two apps and leased a realm."""
    nothing: Any = SimpleNamespace()
    made = RunContext(
        run_id="r1",
        spec=nothing,
        settings=nothing,
        state=state,
        mirror=nothing,
        head=nothing,
        sentinels=nothing,
        diary=Diary(state.run("r1")),
        trees=nothing,
    )
    made._machine = SimpleNamespace(own_keycloak="")  # type: ignore[assignment]  # as much of it as is asked for
    made.owned = (APP, replace(APP, stack="docs-1_ci_test", domain="docs-1.ci.test"))
    made.diary.own(made.owned)
    made.leases.append(LEASE)
    return made


def test_what_a_failed_settle_left_deployed_is_taken_down(
    run: RunContext, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(module, "remove_owned", lambda _machine, app: removed.append(app.stack))
    run.take_down()
    assert removed == ["warm-docs_ci_test", "docs-1_ci_test"]
    assert run.owned == ()
    assert list(open_diaries(state)) == []


def test_what_a_dead_run_left_of_that_very_app_goes_first_and_a_run_of_it_is_refused_when_it_does_not(
    run: RunContext, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.owned = ()
    run.spec.name = "docs"  # type: ignore[misc]  # a namespace
    removed: list[str] = []
    monkeypatch.setattr(module, "remove_owned", lambda _machine, app: removed.append(app.stack))
    app = run.deployment("docs-2.ci.test")
    assert removed == [app.stack]
    assert [one.domain for _, owned in open_diaries(state) for one in owned] == ["docs-2.ci.test"]

    def refuse(*_: object) -> bool:
        raise EngineUnavailable("its containers do not go")

    monkeypatch.setattr(module, "remove_owned", refuse)
    with pytest.raises(EngineUnavailable, match="do not go"):
        run.deployment("docs-2.ci.test")


def test_what_cannot_be_taken_down_is_said_and_stays_on_record_for_the_next_run(
    run: RunContext, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_machine: object, app: Owned) -> bool:
        if app is run.owned[0]:
            raise EngineUnavailable("the engine does not answer")
        return True

    monkeypatch.setattr(module, "remove_owned", refuse)
    run.take_down()
    assert "warm-docs.ci.test is still deployed, the next run removes it: the engine" in run.warnings[0]
    assert [(folder.name, owned) for folder, owned in open_diaries(state)] == [("r1", (APP,))]


def test_a_keycloak_of_the_runs_own_stays_until_realms_were_given_back(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    run._machine = SimpleNamespace(own_keycloak="docs-1.ci.test")  # type: ignore[assignment]  # the same
    monkeypatch.setattr(module, "remove_owned", lambda _machine, app: removed.append(app.domain))
    run.take_down()
    assert removed == ["warm-docs.ci.test"]
    assert [app.domain for app in run.owned] == ["docs-1.ci.test"]


@pytest.mark.parametrize("down", [EngineUnavailable("no engine"), KeycloakUnavailable("no Keycloak")])
def test_a_realm_is_not_given_back_to_a_machine_that_is_down(
    run: RunContext, down: InfrastructureFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "outage", lambda _machine, *, keycloak: down if keycloak else None)
    monkeypatch.setattr(RunContext, "bring_up_keycloak", lambda _: pytest.fail("it was waited for Keycloak"))
    assert run.close() == (f"realm warm-docs could not be given back, the next run does it: {down}",)


def test_a_realm_that_was_not_given_back_yet_is_when_the_run_ends(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(module, "outage", lambda _machine, **_: None)
    monkeypatch.setattr(RunContext, "bring_up_keycloak", lambda _: SimpleNamespace(realm=lambda _name: None))
    monkeypatch.setattr(
        "pytest_ccci.warm.realms.give_back", lambda _keycloak, _state, lease, **_: given.append(lease.realm)
    )
    assert run.close() == ()
    assert given == ["warm-docs"]


def test_a_slot_whose_file_cannot_be_opened_is_passed_over(run: RunContext, state: StateDir) -> None:
    run.settings = SimpleNamespace(slots=2, lock_wait=0.0, mode="cold")  # type: ignore[assignment]  # the same
    run.spec = SimpleNamespace(name="docs")  # type: ignore[assignment]  # the same
    (state.slots / "0.lock").mkdir()
    with run.holds:
        run.take_slot()
        assert who(state.slots / "1.lock")["run"] == "r1"
    (state.slots / "1.lock").unlink(missing_ok=True)
    (state.slots / "1.lock").mkdir()
    with pytest.raises(InfrastructureFault, match="no slot of this machine can be locked"):
        run.take_slot()


def test_published_ports_are_held_a_hundred_at_once_until_the_run_ends(run: RunContext, state: StateDir) -> None:
    run.settings = SimpleNamespace(lock_wait=0.0, mode="cold")  # type: ignore[assignment]  # the same
    run.spec = SimpleNamespace(name="docs")  # type: ignore[assignment]  # the same
    blocks = ["ports-8000-8099-tcp", "ports-8000-8099-udp", "ports-8400-8499-tcp"]
    with run.holds:
        run.hold_ports([(8080, "tcp"), (8099, "udp"), (8443, "tcp")])
        run.hold_ports([(8081, "tcp")])
        assert sorted(path.stem for path in state.locks.glob("ports-*.lock")) == blocks
        assert {who(state.locks / f"{name}.lock")["run"] for name in blocks} == {"r1"}
        with (
            pytest.raises(LockBusy, match="ports-8000-8099-tcp"),
            hold(state.locks / f"{blocks[0]}.lock", wait=0, owner={}),
        ):
            raise AssertionError
    assert not any(is_held(state.locks / f"{name}.lock") for name in blocks)
