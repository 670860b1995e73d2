"""What other test suites may use of the warm machine: a realm of their own, and a look at a kept canonical."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.run.host import open_machine
from pytest_ccci.run.known_good import CanonicalView, SnapshotView, load_canonical, load_snapshot
from pytest_ccci.run.run_dir import new_run_id
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.warm import realms
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["WarmView", "lease_for_tests", "warm_view_for_tests"]


@dataclass(frozen=True)
class WarmView:
    """The kept state of one recipe."""

    canonical: CanonicalView
    snapshot: SnapshotView | None


@contextmanager
def lease_for_tests(settings: Settings) -> Iterator[RealmLease]:
    """A realm on the warm Keycloak for as long as the block runs; any redirect address is allowed.

    Raises:
        InfrastructureFault: engine or Keycloak cannot be had.
    """
    state = open_state(settings.state_dir)
    machine = open_machine(settings, state, images=None)
    keycloak = machine.keycloak()
    run_id = new_run_id()
    with realms.leased(
        keycloak,
        state,
        recipe="tests",
        run_id=run_id,
        domain=f"tests-{run_id[-6:]}.{settings.zone}",
        zone=settings.zone,
        doing="tests",
        wait=10,
        bound=settings.realms,
    ) as lease:
        yield lease


def warm_view_for_tests(folder: Path, settings: Settings) -> WarmView:
    """The canonical and the snapshot of the recipe in ``folder``, as they are on disk."""
    spec = load_spec(folder)
    state = open_state(settings.state_dir)
    return WarmView(load_canonical(state, spec.name), load_snapshot(state, spec.name))
