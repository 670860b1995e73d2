"""When a live-warm app may be used, and what is put right first; everything that reaches an engine is replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import KeycloakUnavailable
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm import infra
from pytest_ccci.warm.alerts import open_alerts
from pytest_ccci.warm.health import InfraApp
from pytest_ccci.warm.infra import ensure
from pytest_ccci.warm.infra_recipe import Good, last_good, record_good
from pytest_ccci.warm.update import Ending, Update, in_progress, journal_of, mark_stuck, stuck

OLD, NEW = Good("1.0.0+26.7.0", "a" * 40), Good("1.0.1+26.7.3", "b" * 40)
APP = "keycloak"


class Machine:
    """A site on which the app is ``healthy`` or not, and a rollback ends as ``ending`` says."""

    def __init__(self, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.healthy = True
        self.ending = Ending.BACK
        zone = SimpleNamespace(name="ci.test")
        self.site: Any = SimpleNamespace(state=state, zone=zone, engine=None, certificates=object())
        monkeypatch.setattr(infra, "inspect_infra", lambda *_a: self.app)
        monkeypatch.setattr(infra, "open_infra", lambda *_a, **_o: SimpleNamespace())
        monkeypatch.setattr(infra, "_let_recover", lambda _s, found: found)
        monkeypatch.setattr(infra, "_deploy", self._deploy)
        monkeypatch.setattr(infra, "Way", self._way)

    @property
    def app(self) -> InfraApp:
        return InfraApp(APP, "keycloak.ci.test", "keycloak_ci_test", OLD.release, "", "" if self.healthy else "down")

    def _deploy(self, _site: object, _app: str, wanted: Good) -> InfraApp:
        self.done.append(f"deploy {wanted.release} {wanted.commit[:1]}")
        self.healthy = True
        return self.app

    def _way(self, site: Any, _recipe: object, update: Update, *, steps: list[str]) -> Any:
        def back() -> Ending:
            self.done.append(f"back after {steps[-1] if steps else 'nothing'}")
            if self.ending is Ending.STUCK:
                mark_stuck(site.state, update, "it does not come up")
            journal_of(site.state, APP).done()
            return self.ending

        def finish() -> None:
            self.done.append("finish")
            journal_of(site.state, APP).done()

        def forget() -> None:
            self.done.append("forget")
            journal_of(site.state, APP).done()

        return SimpleNamespace(back=back, finish=finish, forget=forget, problem="it does not come up")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(open_state(tmp_path / "state"), monkeypatch)


def cut_off(machine: Machine, *steps: str) -> Update:
    """An update that a death cut off after ``steps``."""
    update = Update(APP, "u1", OLD, NEW, data=True)
    journal = journal_of(machine.site.state, APP)
    journal.begin("update", **update.facts())
    for step in steps:
        journal.step(step)
    return update


def test_what_serves_is_used_at_once(machine: Machine) -> None:
    assert ensure(machine.site, APP).healthy
    assert machine.done == []


@pytest.mark.parametrize(
    ("steps", "done"),
    [
        ((), ["forget"]),
        (("mark", "fetch"), ["forget"]),
        (("mark", "fetch", "park"), ["back after park"]),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove"), ["back after prove"]),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove", "proved"), ["finish"]),
        (("mark", "fetch", "park", "snapshot", "deploy", "undo"), ["back after undo"]),
    ],
)
def test_half_an_update_is_never_used_although_it_serves(
    machine: Machine, steps: tuple[str, ...], done: list[str]
) -> None:
    cut_off(machine, *steps)

    assert ensure(machine.site, APP).healthy

    assert machine.done == done
    assert in_progress(machine.site.state, APP) is None


def test_an_update_that_cannot_be_undone_is_alerted_and_tried_once(machine: Machine) -> None:
    cut_off(machine, "mark", "fetch", "park", "snapshot", "deploy")
    machine.ending = Ending.STUCK

    for _ in range(3):
        with pytest.raises(KeycloakUnavailable):
            ensure(machine.site, APP)

    assert machine.done == ["back after deploy"]
    ((_, alert),) = open_alerts(machine.site.state)
    assert (alert.kind, alert.recovered, alert.attempted) == ("rollback-failed", False, NEW.release)


@pytest.mark.parametrize(("data", "healthy", "used"), [(True, True, False), (True, False, False), (False, True, True)])
def test_after_a_failed_rollback_health_is_enough_only_where_there_is_no_data(
    machine: Machine, data: bool, healthy: bool, used: bool
) -> None:
    mark_stuck(machine.site.state, Update(APP, "u1", OLD, NEW, data=data), "its schema is another one")
    machine.healthy = healthy
    if used:
        assert ensure(machine.site, APP).healthy
    else:
        with pytest.raises(KeycloakUnavailable, match="waits for a person") as told:
            ensure(machine.site, APP)
        assert "--again" in told.value.advice
    assert (stuck(machine.site.state, APP) is None) is used
    assert machine.done == []


def test_what_is_down_comes_back_as_what_was_proved_last(machine: Machine) -> None:
    record_good(machine.site.state, APP, OLD)
    machine.healthy = False

    ensure(machine.site, APP)

    assert machine.done == [f"deploy {OLD.release} a"]
    assert last_good(machine.site.state, APP) == OLD
