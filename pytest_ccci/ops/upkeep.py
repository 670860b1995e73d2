"""What an operator does to a canonical: back to the known-good, and a look at whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.engine.objects import app_inventory
from pytest_ccci.errors import LeftBehind, StoreDamaged, UsageError
from pytest_ccci.locks import Tell, hold
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore, RestoreReport
from pytest_ccci.store.record import read_record
from pytest_ccci.waiting import Deadline

__all__ = ["Restored", "damaged", "locked", "recipes_with_canonical", "require_known", "restore"]

_UNDEPLOY = 120.0
_SHOWN = 5


@dataclass(frozen=True)
class Restored:
    """What an operator's restore did: lines of what it found, the store's report, and what was lifted.

    ``earlier``: not the newest known-good is live now.
    """

    recovered: tuple[str, ...]
    undeployed: tuple[str, ...]
    report: RestoreReport
    was_quarantined: str
    earlier: bool = False


def recipes_with_canonical(state: StateDir) -> tuple[str, ...]:
    """The recipes of which something is kept."""
    if not state.canonicals.is_dir():
        return ()
    return tuple(sorted(path.name for path in state.canonicals.iterdir() if path.is_dir()))


def restore(settings: Settings, state: StateDir, recipe: str, *, tell: Tell, release: str = "") -> Restored:
    """Put the live volumes of ``recipe`` back to its known-good, all of which is read and checked; lift a quarantine.

    With ``release`` to the kept one of that release: then they stay marked as drifted, and a quarantine stays too,
    since it says nothing of the newest.

    Raises:
        UsageError: there is no canonical of that recipe, or no known-good of that release is kept.
        LockBusy: a run uses it.
        StoreDamaged: the known-good is damaged; nothing was restored.
    """
    require_known(state, recipe)
    with locked(settings, state, recipe, "restore the known-good", tell) as domain:
        store = CanonicalStore(state.canonical(recipe), recipe)
        recovered = store.recover()
        before, record = store.state(), store.record()
        if record is None:
            raise StoreDamaged(
                f"{recipe} has no known-good to restore",
                where=str(store.layout.root),
                advice="a green cold run of the latest release makes one",
            )
        store.secrets(release=release)  # asked for first: a release that is not kept is refused before anything stops
        engine, stack = find_engine(settings, state, tell), stack_name(domain)
        there = tuple(sorted(app_inventory(engine, stack).things))
        if there:
            undeploy(engine, stack, volumes=True, deadline=Deadline(_UNDEPLOY), tell=tell)
        report = store.restore(stopped=lambda: _require_gone(engine, stack), tell=tell, read_data=True, release=release)
        differences = store.verify(read_data=True, release=release)
        if differences:
            raise damaged(recipe, store, [str(one) for one in differences])
        lifted = before.quarantined if report.snapshot_id == record.snapshot_id else None
        if lifted:
            store.release_quarantine()
        return Restored(recovered, there, report, lifted or "", earlier=report.snapshot_id != record.snapshot_id)


def require_known(state: StateDir, recipe: str) -> None:
    """Refuse a recipe of which nothing is kept."""
    known = recipes_with_canonical(state)
    if recipe not in known:
        raise UsageError(
            f"there is no canonical of {recipe!r}",
            where=str(state.canonicals),
            seen=f"there are: {', '.join(known) or 'none'}",
            advice="name the recipe as its folder is named",
        )


@contextmanager
def locked(settings: Settings, state: StateDir, recipe: str, doing: str, tell: Tell) -> Iterator[str]:
    """Hold the lock of the canonical's app; gives its domain."""
    try:
        record = read_record(state.canonical(recipe) / "canonical.json")
    except StoreDamaged:
        record = None
    domain = record.domain if record else canonical_domain(recipe, settings.zone)
    owner = {"recipe": recipe, "doing": doing}
    with hold(state.lock(domain), wait=settings.lock_wait, owner=owner, tell=tell):
        yield domain


def _require_gone(engine: Engine, stack: str) -> None:
    kinds = ("container", "task", "service")
    writers = [thing for thing in sorted(app_inventory(engine, stack).things) if thing.startswith(kinds)]
    if writers:
        raise LeftBehind("the app is still deployed: its volumes cannot be replaced", seen=", ".join(writers))


def damaged(recipe: str, store: CanonicalStore, differences: list[str]) -> StoreDamaged:
    """The error that tells how a known-good differs from its manifest."""
    return StoreDamaged(
        f"the known-good of {recipe} does not match its manifest: {len(differences)} differences",
        where=str(store.layout.root),
        seen="; ".join(differences[:_SHOWN]),
        advice="ccci reseed with the recipe's folder makes a new one",
    )
