"""How the machine stands: engine, infra, canonicals, what is in flight, disk. Inspects, and starts nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine, connect, engine_errors
from pytest_ccci.engine.discovery import find_engine, named_host
from pytest_ccci.engine.vip_probe import vip_works
from pytest_ccci.errors import CcciError, EngineUnavailable, Refused
from pytest_ccci.locks import is_held, silent
from pytest_ccci.ops.inflight import Holder, holder_of, runs_in_flight
from pytest_ccci.recipe.names import app_domain, canonical_domain
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import footprint, free
from pytest_ccci.store.record import KnownGood
from pytest_ccci.storeimage import attach
from pytest_ccci.warm.alerts import Hold, open_alerts, read_hold
from pytest_ccci.warm.health import APPS, look
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.realms import here, read_owners
from pytest_ccci.warm.reconcile import last_outcome
from pytest_ccci.warm.update import in_progress, stuck
from pytest_ccci.warm.zone import open_site

__all__ = [
    "CanonicalRow",
    "DiskRow",
    "EngineRow",
    "InfraRow",
    "KeptRow",
    "LeaseRow",
    "Situation",
    "allocated",
    "canonical_rows",
    "engine_at_hand",
    "infra_rows",
    "known_vip",
    "source_of",
    "survey",
]

_DEFAULT_SOCKET = Path("/var/run/docker.sock")


def engine_at_hand(settings: Settings, state: StateDir) -> Engine:
    """The engine that runs would use, if it answers now.

    Raises:
        EngineUnavailable: none answers, or it is no Swarm manager.
    """
    if not source_of(settings, state):
        raise EngineUnavailable(
            "no Docker engine is running", advice="ccci setup starts one, or point DOCKER_HOST at one"
        )
    engine = find_engine(settings, state, silent)
    vip = known_vip(engine, state)
    return engine if vip is None else replace(engine, facts=replace(engine.facts, vip=vip))


def source_of(settings: Settings, state: StateDir) -> str:
    """What names the engine that runs would use, for people; empty when they would start a private one."""
    host = named_host(settings)
    if host:
        variable = bool(settings.environment.get("DOCKER_HOST"))
        return f"DOCKER_HOST={host}" if variable else f"the Docker context ({host})"
    if _DEFAULT_SOCKET.is_socket() and _answers():
        return str(_DEFAULT_SOCKET)
    return f"private, in {state.engine}" if discovery.running_pid(state.engine) is not None else ""


def known_vip(engine: Engine, state: StateDir) -> bool | None:
    """Whether service VIPs work, as it was found out before; ``None`` when it was not."""
    memory = state.root / "engines"
    if not any(memory.glob(f"vip-{engine.facts.engine_id.replace(':', '')[:40]}-*")):
        return None

    def refuse(image: str) -> object:
        raise Refused(f"not tried yet ({image})")

    try:
        return vip_works(engine, memory, prepare=refuse, tell=silent)
    except CcciError:
        return None


def _answers() -> bool:
    try:
        connect(f"unix://{_DEFAULT_SOCKET}").client.close()
    except EngineUnavailable:
        return False
    return True


@dataclass(frozen=True)
class KeptRow:
    """A known-good that is kept; bytes on disk. ``shared`` and ``exclusive`` are ``None`` where nobody can tell."""

    release: str
    commit: str
    since: str
    snapshot_id: str
    size: int
    shared: int | None
    exclusive: int | None


@dataclass(frozen=True)
class CanonicalRow:
    """A canonical; ``kept`` are its known-goods, newest first; sizes in bytes on disk.

    Empty ``release``: there is no known-good.
    """

    recipe: str
    directory: str
    backend: str
    backend_why: str
    release: str = ""
    commit: str = ""
    snapshot_id: str = ""
    since: str = ""
    domain: str = ""
    drift: str = ""
    quarantine: str = ""
    in_progress: str = ""
    snapshot_size: int = 0
    live_size: int = 0
    holder: Holder | None = None
    kept: tuple[KeptRow, ...] = ()


def canonical_rows(settings: Settings, state: StateDir) -> tuple[CanonicalRow, ...]:
    """All canonicals, by recipe."""
    if not state.canonicals.is_dir():
        return ()
    return tuple(_canonical(settings, state, path) for path in sorted(state.canonicals.iterdir()) if path.is_dir())


def _canonical(settings: Settings, state: StateDir, folder: Path) -> CanonicalRow:
    store = CanonicalStore(folder, folder.name)
    now = store.state()
    record = now.record
    return CanonicalRow(
        recipe=folder.name,
        directory=str(folder),
        backend=store.backend.name,
        backend_why=store.backend.told,
        release=record.release if record else "",
        commit=record.commit if record else "",
        snapshot_id=record.snapshot_id if record else "",
        since=record.since if record else "",
        domain=record.domain if record else "",
        drift=now.why_drifted if now.drift else "",
        quarantine=now.quarantined or "",
        in_progress=now.in_progress.name if now.in_progress else "",
        snapshot_size=allocated(store.layout.snapshots),
        live_size=allocated(store.layout.live),
        holder=holder_of(state.lock(record.domain if record else canonical_domain(folder.name, settings.zone))),
        kept=tuple(_kept(store, good) for good in (record.all_goods if record else ())),
    )


def _kept(store: CanonicalStore, good: KnownGood) -> KeptRow:
    found = footprint(store.layout.snapshot(good.snapshot_id).root)
    return KeptRow(
        release=good.release,
        commit=good.commit,
        since=good.since,
        snapshot_id=good.snapshot_id,
        size=found.allocated,
        shared=found.shared,
        exclusive=found.exclusive,
    )


def allocated(root: Path, *, without: Collection[Path] = ()) -> int:
    """Bytes allocated below ``root``; what goes while we look does not count."""
    total, seen = 0, set()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in files:
            if Path(folder, name) in without:
                continue
            try:
                facts = Path(folder, name).lstat()
            except OSError:
                continue
            if facts.st_ino not in seen:
                seen.add(facts.st_ino)
                total += facts.st_blocks * 512
    return total


@dataclass(frozen=True)
class InfraRow:
    """A live-warm app. ``state`` is ``healthy``, ``not deployed``, ``unknown`` or ``unhealthy``.

    ``updating`` names an update that was begun and not ended, ``stuck`` a rollback that waits for a person.
    """

    name: str
    domain: str
    state: str
    version: str = ""
    image: str = ""
    problem: str = ""
    last_good: str = ""
    hold: Hold | None = None
    held_for: float | None = None
    updating: str = ""
    stuck: str = ""
    outcome: Mapping[str, object] = field(default_factory=dict)


def infra_rows(settings: Settings, state: StateDir, engine: Engine | None) -> Iterator[InfraRow]:
    """Each live-warm app, in the order they are brought up."""
    for app in APPS:
        domain = app_domain(app, settings.zone)
        if engine is None:
            row = InfraRow(app, domain, "unknown", problem="no engine answers")
        elif not state.ca.is_dir() and not settings.external_proxy:
            row = InfraRow(app, domain, "not deployed")
        else:
            row = _look(settings, state, engine, app, domain)
        yield _with_records(state, row)


def _with_records(state: StateDir, row: InfraRow) -> InfraRow:
    """With what reconcile wrote down about the app."""
    hold, mark = read_hold(state, row.name), stuck(state, row.name)
    try:
        pending = in_progress(state, row.name)
        updating = f"{pending.facts.get('prior')} → {pending.facts.get('target')}" if pending else ""
    except CcciError as error:
        updating = str(error)
    return replace(
        row,
        last_good=last_good(state, row.name).release,
        hold=hold,
        held_for=hold.age(datetime.now(UTC)) if hold else None,
        updating=updating,
        stuck=mark.problem if mark else "",
        outcome=last_outcome(state, row.name),
    )


def _look(settings: Settings, state: StateDir, engine: Engine, app: str, domain: str) -> InfraRow:
    def refuse(images: object) -> tuple[object, ...]:
        raise Refused(f"nothing is prepared while looking ({images})")

    try:
        found = look(open_site(engine, settings, state, prepare_images=refuse), app)
    except CcciError as error:
        return InfraRow(app, domain, "unknown", problem=str(error))
    if found is None:
        return InfraRow(app, domain, "not deployed")
    state_of = "healthy" if found.healthy else "unhealthy"
    version = "somebody else's" if found.external else found.version
    return InfraRow(app, domain, state_of, version, found.image, found.problem)


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
