"""The scenes that come in sizes: kills at every step, and a crowd that leases realms."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from pytest_ccci.engine.containers import container_of
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm import realms
from pytest_ccci.warm.keycloak import Keycloak, open_keycloak
from pytest_ccci.warm.keycloak_marker import log_in
from pytest_ccci.warm.realm_model import RealmLease
from pytest_ccci.warm.realms import load_owners
from tests.proofs.infra.crowd import cold_start, run_crowd
from tests.proofs.infra.ground import Ground
from tests.proofs.infra.shown import Shown
from tests.proofs.infra.trials import POINTS, run_trials

__all__ = ["SIZED", "crowded", "killed"]

_PATIENCE = 300.0
SIZED = ("kill", "leases")
"""Their names."""


def killed(ground: Ground, size: int, *, points: Sequence[tuple[str, str]] = POINTS) -> Shown:
    """Kill a reconcile ``size`` times, at all steps by turns: one healthy app with its data is left each time."""
    shown = Shown("kill")
    with shown.played():
        report = run_trials(ground, size, points=points)
        shown.claim(f"{report.done} trials, one healthy app with its data after each", not report.losses, report.losses)
        shown.claim("they were made", report.done == size > 0, report.done)
        reached = min(size, len(points))
        shown.claim(f"over {reached} of {len(POINTS)} steps", len(report.steps) == reached, dict(report.steps))
        met = f"{report.killed} of {report.done} were killed, the others had ended before"
        shown.claim("most met a living reconcile", report.killed * 2 > report.done, met)
        shown.numbers += [met, *(f"{end}: {count}" for end, count in sorted(report.ends.items()))]
    return shown


def crowded(ground: Ground, *, size: int, rounds: int, cold: bool = True) -> Shown:
    """Let ``size`` processes lease at once, ``rounds`` times; with ``cold`` start a Keycloak cold, to compare."""
    shown = Shown("leases")
    with shown.played():
        ground.any_keycloak()
        crowd = run_crowd(ground.site, ground.settings, size=size, rounds=rounds)
        wanted = size * rounds
        shown.claim(f"{size} processes, {rounds} rounds: no error", not crowd.errors, crowd.errors[:3])
        shown.claim("every lease was had", len(crowd.leases) == wanted, f"{len(crowd.leases)} of {wanted}")
        shown.claim("nothing is left over", not crowd.left, crowd.left)
        shown.claim(f"{size} realms at the same time, within the bound", crowd.most == size, crowd.most)
        seconds = cold_start(ground.site) if cold else 0.0
        shown.numbers += [line for line in crowd.lines(seconds) if line]
        _through_a_restart(ground, shown)
    return shown


def _through_a_restart(ground: Ground, shown: Shown) -> None:
    """Kill Keycloak's container while a lease lives and another is taken: both must work afterwards."""
    keycloak = open_keycloak(ground.site, patience=_PATIENCE)
    with ExitStack() as held:
        first = held.enter_context(_leased(ground, keycloak, "before"))
        stack = ground.stack("keycloak")
        ground.site.engine.client.api.kill(container_of(ground.site.engine, stack, "app"))
        watch = Stopwatch()
        second = held.enter_context(_leased(ground, keycloak, "meanwhile"))
        shown.numbers.append(f"Keycloak killed: the next lease was had after {watch.seconds:.1f} s")
        for name, lease in (("of before", first), ("taken meanwhile", second)):
            shown.claim(f"through a restart: the lease {name} works", log_in(ground.site, lease) == lease.user.sub)
    left = {owner.realm for owner in (*realms.owners(keycloak), *load_owners(ground.state))}
    shown.claim("through a restart: nothing is left over", not left, left)


def _leased(ground: Ground, keycloak: Keycloak, run_id: str) -> AbstractContextManager[RealmLease]:
    return realms.leased(
        keycloak,
        ground.state,
        recipe="restart",
        run_id=run_id,
        domain=f"restart-{run_id}.{ground.settings.zone}",
        zone=ground.settings.zone,
        doing="infra proofs",
    )
