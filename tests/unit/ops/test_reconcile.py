from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.errors import LockBusy, UsageError
from pytest_ccci.locks import hold, is_held
from pytest_ccci.ops import reconcile as module
from pytest_ccci.ops.reconcile import reconcile
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, state: StateDir) -> list[tuple[str, bool, Wish]]:
    """What was asked of which app, and whether every slot was held then; nothing reaches an engine."""
    seen: list[tuple[str, bool, Wish]] = []

    def note(_site: object, app: str, wish: Wish) -> Reconciled:
        seen.append((app, is_held(state.slots / "0.lock") and is_held(state.slots / "1.lock"), wish))
        return Reconciled(app, Outcome.CURRENT)

    monkeypatch.setattr(module, "open_quietly", lambda *_a: object())
    monkeypatch.setattr(module, "ensure_proxy", lambda *_a: None)
    monkeypatch.setattr(module, "reconcile_app", note)
    monkeypatch.setattr(module, "plan_reconcile", note)
    return seen


def run(settings: Settings, state: StateDir, *apps: str, dry: bool = False, **wish: Any) -> tuple[Reconciled, ...]:
    return reconcile(settings, state, apps, Wish(**wish), dry=dry)


def test_all_apps_are_reconciled_traefik_first_while_every_slot_is_held(
    settings: Settings, state: StateDir, asked: list[tuple[str, bool, Wish]]
) -> None:
    run(settings, state)

    assert [(app, held) for app, held, _ in asked] == [("traefik", True), ("keycloak", True)]
    assert not is_held(state.slots / "0.lock")


def test_a_dry_run_holds_nothing_back(settings: Settings, state: StateDir, asked: list[tuple[str, bool, Wish]]) -> None:
    with hold(state.slots / "0.lock", wait=0, owner={"run": "r1"}):
        run(settings, state, "keycloak", dry=True)

    assert [app for app, _, _ in asked] == ["keycloak"]


def test_nothing_is_reconciled_while_a_run_is_in_flight(
    settings: Settings, state: StateDir, asked: list[tuple[str, bool, Wish]]
) -> None:
    with hold(state.slots / "0.lock", wait=0, owner={"run": "r1"}), pytest.raises(LockBusy, match="reconcile") as told:
        run(settings, state)

    assert "r1" in told.value.seen
    assert asked == []


def test_the_policy_of_alerts_comes_from_the_settings(
    settings: Settings, state: StateDir, asked: list[tuple[str, bool, Wish]]
) -> None:
    run(settings, state, "keycloak", accept="2.0.0+27.0.0")

    assert (asked[0][2].alert_again, asked[0][2].accept) == (86400.0, "2.0.0+27.0.0")


@pytest.mark.parametrize(
    ("apps", "accept", "problem"),
    [
        (("nginx",), "", "no such live-warm app: nginx"),
        ((), "2.0.0+27.0.0", "accepted for one app"),
        (("keycloak", "traefik"), "2.0.0+27.0.0", "accepted for one app"),
    ],
)
def test_what_makes_no_sense_is_refused(
    settings: Settings, state: StateDir, apps: tuple[str, ...], accept: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        run(settings, state, *apps, accept=accept)
