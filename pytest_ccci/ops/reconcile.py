"""Reconciles the live-warm apps while nothing is in flight: no run ever sees an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_ccci.errors import UsageError
from pytest_ccci.ops.inflight import nothing_in_flight
from pytest_ccci.run.host import open_quietly
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.health import APPS
from pytest_ccci.warm.reconcile import Outcome, Reconciled, Wish, plan_reconcile, reconcile_app
from pytest_ccci.warm.zone import ensure_proxy

__all__ = ["exit_status", "reconcile"]

_STATUS = {
    Outcome.CURRENT: 0,
    Outcome.UPGRADED: 0,
    Outcome.ERROR: 1,
    Outcome.HELD: 3,
    Outcome.ROLLED_BACK: 4,
    Outcome.ROLLBACK_FAILED: 5,
}


def exit_status(outcome: Outcome) -> int:
    """What the command ends with, by the worst outcome."""
    return _STATUS[outcome]


def reconcile(
    settings: Settings, state: StateDir, apps: Sequence[str], wish: Wish, *, dry: bool
) -> tuple[Reconciled, ...]:
    """Bring ``apps`` (all, when none is named) to their latest releases, or with ``dry`` only say what would happen.

    Raises:
        UsageError: there is no such app.
        LockBusy: a run was in flight all the time; says which.
    """
    unknown = sorted(set(apps) - set(APPS))
    if unknown:
        raise UsageError(f"no such live-warm app: {', '.join(unknown)}", seen=f"there are: {', '.join(APPS)}")
    wanted = tuple(app for app in APPS if app in apps or not apps)
    if wish.accept and len(wanted) != 1:
        raise UsageError("a release is accepted for one app", advice="ccci reconcile keycloak --accept RELEASE")
    said = replace(wish, alert_again=settings.alert_again)
    if dry:
        site = open_quietly(settings, state)
        return tuple(plan_reconcile(site, app, said) for app in wanted)
    with nothing_in_flight(state, settings, doing="reconcile", wait=settings.lock_wait):
        site = open_quietly(settings, state)
        ensure_proxy(site)
        return tuple(reconcile_app(site, app, said) for app in wanted)
