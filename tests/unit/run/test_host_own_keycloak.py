"""A run whose warm Keycloak cannot be had: one of its own, said, alerted, and gone at the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, KeycloakUnavailable
from pytest_ccci.locks import is_held
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.run import context as module
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.host import Machine, alert_of, own_domain, with_own_keycloak
from pytest_ccci.run.plan import promotion_of
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, write_alert

RUN = "20260101-000000-abcdef"
DOWN = KeycloakUnavailable("the warm Keycloak waits for a person")


@pytest.fixture
def opened(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Callable[[InfrastructureFault], RunContext]:
    """A run's context on a machine whose warm Keycloak fails with the given error."""

    def open_context(error: InfrastructureFault) -> RunContext:
        def fail() -> None:
            raise error

        machine = SimpleNamespace(state=state, keycloak=fail, own_keycloak="", hosts={}, site=None)
        context = RunContext(
            run_id=RUN,
            spec=SimpleNamespace(name="docs"),  # type: ignore[arg-type]  # only its name is asked for
            settings=SimpleNamespace(zone="ci.test", lock_wait=1, mode="cold"),  # type: ignore[arg-type]  # the same
            state=state,
            mirror=SimpleNamespace(),  # type: ignore[arg-type]  # not asked
            head=SimpleNamespace(),  # type: ignore[arg-type]  # not asked
            sentinels=SimpleNamespace(),  # type: ignore[arg-type]  # not asked
            diary=Diary(state.run(RUN)),
            trees=SimpleNamespace(),  # type: ignore[arg-type]  # not asked
            _machine=machine,  # type: ignore[arg-type]  # what is asked of it
        )
        monkeypatch.setattr(module, "bring_up_own", lambda _machine, domain: f"Keycloak at {domain}")
        monkeypatch.setattr(module, "remove_own", lambda *_a: None)
        monkeypatch.setattr(
            module, "with_own_keycloak", lambda m, domain: SimpleNamespace(**{**vars(m), "own_keycloak": domain})
        )
        return context

    return open_context


def test_it_has_one_of_its_own_and_says_so(
    opened: Callable[[InfrastructureFault], RunContext], state: StateDir
) -> None:
    context, domain = opened(DOWN), own_domain(RUN, "ci.test")

    assert str(context.bring_up_keycloak()) == f"Keycloak at {domain}"

    assert any("cold Keycloak of its own" in line and "waits for a person" in line for line in context.warnings)
    assert is_held(state.lock(domain))
    owned = json.loads((state.run(RUN) / "owned.json").read_text())
    assert [app["stack"] for app in owned] == [stack_name(domain)]
    assert [alert.kind for _, alert in open_alerts(state)] == ["unavailable"]

    assert context.close() == ()
    assert not (state.run(RUN) / "owned.json").exists()
    assert not is_held(state.lock(domain))


def test_no_keycloak_helps_where_the_engine_is_gone(
    opened: Callable[[InfrastructureFault], RunContext], state: StateDir
) -> None:
    with pytest.raises(EngineUnavailable):
        opened(EngineUnavailable("it went away")).bring_up_keycloak()
    assert open_alerts(state) == ()


def test_one_open_alert_about_it_is_enough(state: StateDir) -> None:
    machine: Any = SimpleNamespace(state=state)
    write_alert(state, Alert(AlertKind.ROLLBACK_FAILED, "keycloak", recovered=False))

    alert_of(machine, DOWN, run_id=RUN)

    assert [alert.kind for _, alert in open_alerts(state)] == ["rollback-failed"]


def test_its_run_promotes_nothing() -> None:
    head: Any = SimpleNamespace(dirty=False, release=SimpleNamespace(tag="1.0.0+1"))
    answers = [
        promotion_of(
            mode="cold",
            enrolled=True,
            head=head,
            releases=(head.release,),
            missing=(),
            green=True,
            own_keycloak=own,
        )
        for own in (False, True)
    ]

    assert [answer.eligible for answer in answers] == [True, False]
    assert "Keycloak of its own" in answers[1].reason


@pytest.mark.parametrize("hosts", [{}, {"keycloak.ci.test": "172.18.0.1"}])
def test_containers_are_told_its_name_only_where_they_are_told_names_at_all(hosts: dict[str, str]) -> None:
    engine = SimpleNamespace(facts=SimpleNamespace(gateway="172.18.0.1"))
    machine: Any = Machine(
        settings=None,  # type: ignore[arg-type]  # not asked
        state=None,  # type: ignore[arg-type]  # not asked
        engine=engine,  # type: ignore[arg-type]  # what is asked of it
        site=None,  # type: ignore[arg-type]  # not asked
        hosts=hosts,
    )

    own = with_own_keycloak(machine, "keyc-abcdef.ci.test")

    assert own.own_keycloak == "keyc-abcdef.ci.test"
    assert ("keyc-abcdef.ci.test" in own.hosts) is bool(hosts)
