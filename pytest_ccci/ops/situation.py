"""How the machine stands: engine, infra, canonicals, what is in flight, disk. Looks, and starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.errors import CcciError
from pytest_ccci.locks import is_held
from pytest_ccci.ops.canonical_rows import CanonicalRow, allocated, canonical_rows
from pytest_ccci.ops.inflight import Holder, runs_in_flight
from pytest_ccci.ops.infra_rows import InfraRow, infra_rows
from pytest_ccci.ops.peek import engine_at_hand, known_vip, source_of
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.disk import free
from pytest_ccci.storeimage import attach
from pytest_ccci.warm.alerts import open_alerts
from pytest_ccci.warm.realms import here, read_owners

__all__ = ["DiskRow", "EngineRow", "LeaseRow", "Situation", "survey"]


@dataclass(frozen=True)
class EngineRow:
    """The engine. ``problem`` says why there is none; ``vip`` is ``None`` where it was not tried yet."""

    source: str
    problem: str = ""
    host: str = ""
    version: str = ""
    api_version: str = ""
    cli_version: str = ""
    storage: str = ""
    private: bool = False
    gateway: str = ""
    vip: bool | None = None


@dataclass(frozen=True)
class LeaseRow:
    """A realm lease. ``alive`` is ``None`` where another machine would have to be asked."""

    realm: str
    run_id: str
    domain: str
    since: str
    host: str
    alive: bool | None


@dataclass(frozen=True)
class DiskRow:
    """Bytes. ``state`` is what we keep without the private engine, ``images`` what the engine's image layers take."""

    free: int
    state: int
    images: int | None


@dataclass(frozen=True)
class Situation:
    """All of it."""

    state_dir: str
    zone: str
    engine: EngineRow
    infra: tuple[InfraRow, ...]
    canonicals: tuple[CanonicalRow, ...]
    runs: tuple[Holder, ...]
    leases: tuple[LeaseRow, ...]
    alerts: tuple[dict[str, object], ...]
    disk: DiskRow


def survey(settings: Settings) -> Situation:
    """Look at everything. What cannot be seen is told where it belongs, and stops nothing else.

    Raises:
        StateDirError: the store of the canonicals is not mounted, and we cannot mount it.
    """
    state = StateDir(settings.state_dir.absolute())
    attach(state.root)
    engine, row = _engine(settings, state)
    return Situation(
        state_dir=str(state.root),
        zone=settings.zone,
        engine=row,
        infra=tuple(infra_rows(settings, state, engine)),
        canonicals=canonical_rows(settings, state),
        runs=runs_in_flight(state),
        leases=_leases(state),
        alerts=tuple({"file": path.name, **vars(alert)} for path, alert in open_alerts(state)),
        disk=_disk(state, engine),
    )


def _engine(settings: Settings, state: StateDir) -> tuple[Engine | None, EngineRow]:
    source = source_of(settings, state)
    try:
        engine = engine_at_hand(settings, state)
    except CcciError as error:
        return None, EngineRow(source, problem=str(error))
    facts = engine.facts
    return engine, EngineRow(
        source=source,
        host=engine.host,
        version=facts.version,
        api_version=facts.api_version,
        cli_version=facts.cli_version,
        storage=facts.storage,
        private=facts.private,
        gateway=facts.gateway,
        vip=known_vip(engine, state),
    )


def _leases(state: StateDir) -> tuple[LeaseRow, ...]:
    return tuple(
        LeaseRow(
            owner.realm,
            owner.run_id,
            owner.domain,
            owner.since,
            owner.host,
            alive=is_held(Path(owner.lock)) if owner.host == here() else None,
        )
        for owner in read_owners(state)
    )


def _disk(state: StateDir, engine: Engine | None) -> DiskRow:
    images = None
    if engine is not None:
        try:
            with engine_errors("asking for the size of images"):
                images = int(engine.client.api.df().get("LayersSize") or 0)
        except CcciError:
            images = None
    used = allocated(state.root, without={state.engine, state.store_image})
    return DiskRow(free=free(state.root), state=used, images=images)
