"""The data of a live-warm app: bind volumes below the state directory, so that it can be copied and put back.

The store is that of the canonicals; its known-good is the data of the release that an update started from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from docker.errors import NotFound

from pytest_ccci import process
from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.deploy import undeploy, volume_name
from pytest_ccci.engine.objects import app_inventory, remove_volumes
from pytest_ccci.errors import InfrastructureFault, LeftBehind
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.kept_secrets import require_known
from pytest_ccci.warm.warmsite import Site

__all__ = ["adopt", "data_of", "keeps_data", "live_folders", "park", "require_access", "stopped"]

_UNDEPLOY = 120.0
_COPY = 1800.0
_HERE = "run ccci reconcile on the engine's own machine, as root"
_ADVICE = "undeploy the app and remove the volume to start afresh, or run this on the engine's own machine as root"


def data_of(state: StateDir, app: str) -> CanonicalStore:
    """The store of the app's data, by its real path: a volume names it, and must name the same one each time."""
    return CanonicalStore(state.infra(app).resolve() / "store", app)


def keeps_data(facts: ComposeFacts) -> bool:
    """Whether an app has volumes of its own: then going back to another version needs its data too."""
    return bool(_own(facts))


def live_folders(site: Site, app: str, facts: ComposeFacts) -> Mapping[str, Path]:
    """Where each of the app's own volumes lives. None where the engine is on another machine: nothing is kept there."""
    if not keeps_data(facts) or site.engine.socket_path is None:
        return {}
    store = data_of(site.state, app)
    return {key: store.live(key) for key in _own(facts)}


def require_access(site: Site, app: str, stack: str, facts: ComposeFacts) -> None:
    """See that the app's data can be copied, before anything is touched for it.

    Raises:
        InfrastructureFault: it lies on another machine, or is not ours to read.
    """
    if site.engine.socket_path is None:
        raise InfrastructureFault(f"{app} keeps data on another machine: it cannot be copied from here", advice=_HERE)
    for key in _own(facts):
        place = _plain(site.engine, volume_name(facts, stack, key)) or data_of(site.state, app).live(key)
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise InfrastructureFault(
                f"the data of {app} cannot be copied by this user", where=str(place), advice=_HERE
            )


def stopped(site: Site, stack: str) -> Callable[[], None]:
    """A check that raises while a container of ``stack`` can write."""

    def check() -> None:
        things = sorted(app_inventory(site.engine, stack).things)
        writers = [thing for thing in things if thing.startswith(("container", "task", "service"))]
        if writers:
            raise LeftBehind("the app still runs: its data cannot be copied", where=stack, seen=", ".join(writers))

    return check


def park(site: Site, app: str, stack: str) -> None:
    """Take the app down; its secrets are known then, and nothing writes to its data.

    Raises:
        InfrastructureFault: a secret is not known and cannot be read: nothing was taken down. Or it would not go.
    """
    require_known(site.engine, stack, site.state, app)
    undeploy(site.engine, stack, volumes=False, deadline=Deadline(_UNDEPLOY), tell=site.tell)


def adopt(site: Site, app: str, stack: str, facts: ComposeFacts) -> None:
    """Move data out of plain volumes, as older deploys made them, to where it is kept; the app is parked for it.

    A plain volume is the truth as long as it exists, so that a move that was cut off is simply begun anew.
    """
    if site.engine.socket_path is None:
        return
    plain = {key: place for key in _own(facts) if (place := _plain(site.engine, volume_name(facts, stack, key)))}
    if not plain:
        return
    site.tell(f"{app}: moving its data to where it can be copied ({', '.join(plain)})")
    park(site, app, stack)
    store = data_of(site.state, app)
    for key, place in plain.items():
        _move(place, store.live(key))
        remove_volumes(site.engine, (volume_name(facts, stack, key),))


def _own(facts: ComposeFacts) -> tuple[str, ...]:
    return tuple(key for key, volume in facts.volumes.items() if not volume.external)


def _plain(engine: Engine, name: str) -> Path | None:
    """Where the engine keeps a volume that is no bind of ours; ``None`` when there is none of that kind."""
    with engine_errors(f"looking at volume {name}"):
        try:
            facts = engine.client.volumes.get(name).attrs
        except NotFound:
            return None
    return None if facts.get("Options") else Path(facts["Mountpoint"])


def _move(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise InfrastructureFault(
            "the data of an older deploy cannot be reached from here", where=str(source), advice=_ADVICE
        )
    shutil.rmtree(target)
    process.run(["cp", "-a", "--reflink=auto", source, target], timeout=_COPY)
    process.run(["sync", "-f", target], timeout=_COPY)
