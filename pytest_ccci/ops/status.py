"""How the machine stands: engine, infra, canonicals, what is in flight, disk. Inspects, and starts nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pytest_ccci.engine import discovery, vip_probe
from pytest_ccci.engine.client import Engine, connect, engine_errors
from pytest_ccci.engine.discovery import inspect_engine, named_host
from pytest_ccci.errors import CcciError, EngineUnavailable, StateDamaged, StateDirError
from pytest_ccci.locks import is_marked
from pytest_ccci.ops.disk import FileSystem, file_systems, places_of
from pytest_ccci.ops.inflight import Holder, holder_of, runs_in_flight, waiting_runs, with_end
from pytest_ccci.ops.state_files import damaged_files
from pytest_ccci.ops.sweep_record import LastSweep, last_sweep, load_sweep
from pytest_ccci.recipe.names import app_domain, canonical_domain
from pytest_ccci.results.index import Index, glance
from pytest_ccci.run.kept_apps import kept_apps
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, check_mount, file_system_of
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import allocated, footprint, free
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.record import KnownGood
from pytest_ccci.warm.alerts import Hold, load_hold, open_alerts
from pytest_ccci.warm.health import APPS, inspect_infra
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.realms import Owner, load_owners, lock_of
from pytest_ccci.warm.reconcile import last_outcome
from pytest_ccci.warm.update import in_progress, stuck
from pytest_ccci.warm.zone import inspect_site

__all__ = [
    "CanonicalRow",
    "DiskRow",
    "EngineRow",
    "InfraRow",
    "KeptAppRow",
    "KeptRow",
    "LeaseRow",
    "Situation",
    "canonical_rows",
    "engine_at_hand",
    "infra_rows",
    "inspect_situation",
    "known_vip",
    "source_of",
]

T = TypeVar("T")

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
    engine = inspect_engine(settings, state)
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
    return vip_probe.known_vip(engine, state.engines)


def _answers() -> bool:
    try:
        connect(f"unix://{_DEFAULT_SOCKET}").client.close()
    except EngineUnavailable:
        return False
    return True


_EARLIER = 5
_SHARING = ("btrfs", "xfs")


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
    store = CanonicalStore(folder, folder.name, make=False)
    layout, now = store.layout, store.state()
    record = now.record
    backend, why = _backend(folder)
    return CanonicalRow(
        recipe=folder.name,
        directory=str(folder),
        backend=backend,
        backend_why=why,
        release=record.release if record else "",
        commit=record.commit if record else "",
        snapshot_id=record.snapshot_id if record else "",
        since=record.since if record else "",
        domain=record.domain if record else "",
        drift=now.why_drifted if now.drift else "",
        quarantine=now.quarantined or "",
        in_progress=now.in_progress.name if now.in_progress else "",
        snapshot_size=allocated(layout.snapshots),
        live_size=allocated(layout.live),
        holder=holder_of(state.lock(record.domain if record else canonical_domain(folder.name, settings.zone))),
        kept=tuple(_kept(layout, good) for good in (record.all_goods if record else ())),
    )


def _backend(folder: Path) -> tuple[str, str]:
    """How trees are copied there, by the kind of file system: who looks does not try it with files."""
    table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    kind = file_system_of(folder.resolve(), table).kind
    if kind in _SHARING:
        return "reflink", f"{kind} lets files share blocks, unless it was made without (ccci doctor tries it)"
    return "copy", f"{kind or 'this file system'} is not known to share blocks between files (XFS and btrfs are)"


def _kept(layout: Layout, good: KnownGood) -> KeptRow:
    found = footprint(layout.snapshot(good.snapshot_id).root)
    return KeptRow(
        release=good.release,
        commit=good.commit,
        since=good.since,
        snapshot_id=good.snapshot_id,
        size=found.allocated,
        shared=found.shared,
        exclusive=found.exclusive,
    )


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
        else:
            row = _infra_row(settings, state, engine, app, domain)
        yield _with_records(state, row)


def _with_records(state: StateDir, row: InfraRow) -> InfraRow:
    """With what reconcile wrote down about the app."""
    hold = _readable(lambda: load_hold(state, row.name))
    pending = _readable(lambda: in_progress(state, row.name))
    mark = _readable(lambda: stuck(state, row.name))
    good = _readable(lambda: last_good(state, row.name))
    return replace(
        row,
        last_good=good.release if good else "",
        hold=hold,
        held_for=hold.age(datetime.now(UTC)) if hold else None,
        updating=f"{pending.facts['prior']} → {pending.facts['target']}" if pending else "",
        stuck=mark.problem if mark else "",
        outcome=_readable(lambda: last_outcome(state, row.name)) or {},
    )


def _readable(read: Callable[[], T]) -> T | None:
    """What can be read; what is damaged is shown among the damaged files."""
    try:
        return read()
    except StateDamaged:
        return None


def _infra_row(settings: Settings, state: StateDir, engine: Engine, app: str, domain: str) -> InfraRow:
    try:
        site = inspect_site(engine, settings, state)
        found = inspect_infra(site, app) if site else None
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
class KeptAppRow:
    """An app of a red run that stays deployed for somebody to look at."""

    domain: str
    recipe: str
    folder: str
    run_id: str
    since: str
    reason: str


@dataclass(frozen=True)
class DiskRow:
    """Bytes. ``state`` is what we keep without the private engine, ``images`` what the engine's image layers take."""

    free: int
    state: int
    images: int | None
    file_systems: tuple[FileSystem, ...] = ()


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
    kept_apps: tuple[KeptAppRow, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    damaged: tuple[str, ...] = ()
    """State files that cannot be used, each with its way out."""
    unread: tuple[str, ...] = ()
    """What could not be read, and why."""
    waiting: tuple[Holder, ...] = ()
    """Who waits for a slot, in the order of their coming."""
    slots: int = 0
    last_sweep: LastSweep | None = None
    """``None`` where there never was one."""
    unmounted: str = ""
    """Why no canonical is seen although there may be some: their file system is not mounted."""


class _Reader:
    """Reads part by part; what may not be read is noted, and stops nothing else."""

    def __init__(self) -> None:
        self.unread: list[str] = []

    def read(self, what: str, part: Callable[[], T], without: T) -> T:
        try:
            return part()
        except OSError as error:
            self.unread.append(f"{what}: {error.filename or ''} {error.strerror}".replace(":  ", ": "))
            return without

    def enter(self, folder: Path) -> None:
        """Note a folder that is there and may not be listed: it would look empty."""
        try:
            os.scandir(folder).close()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.unread.append(f"{folder}: {error.strerror}")


def inspect_situation(settings: Settings) -> Situation:
    """Look at everything. What cannot be seen is told where it belongs, and stops nothing else.

    Takes no lock, makes no file or folder, mounts nothing: it works on a state directory that is only readable.
    """
    state = StateDir(settings.state_dir.absolute())
    reader = _Reader()
    kept = (
        state.locks,
        state.slots,
        state.canonicals,
        state.leases,
        state.alerts,
        state.holds,
        state.infra("x").parent,
    )
    for folder in (state.root, *kept):
        reader.enter(folder)
    engine, row = _engine(settings, state)
    return Situation(
        state_dir=str(state.root),
        zone=settings.zone,
        engine=row,
        infra=reader.read("infra", lambda: tuple(infra_rows(settings, state, engine)), ()),
        canonicals=reader.read("canonicals", lambda: canonical_rows(settings, state), ()),
        runs=reader.read("runs in flight", lambda: _with_ends(state, runs_in_flight(state)), ()),
        waiting=reader.read("runs that wait", lambda: waiting_runs(state), ()),
        slots=settings.slots,
        leases=reader.read("leases", lambda: _leases(state), ()),
        kept_apps=reader.read("kept apps", lambda: _kept_apps(state), ()),
        alerts=reader.read("alerts", lambda: _alerts(state), ()),
        disk=reader.read("disk", lambda: _disk(settings, state, engine), DiskRow(0, 0, None)),
        last_sweep=reader.read("sweeps", lambda: _last_sweep(state), None),
        settings=tuple(row for row in settings.shown() if row[2] != "default"),
        unmounted=reader.read("mounts", lambda: _unmounted(state), ""),
        damaged=reader.read("state files", lambda: tuple(str(error) for error in damaged_files(state)), ()),
        unread=tuple(dict.fromkeys(reader.unread)),  # last: what the lines above could not read is among it
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


def _kept_apps(state: StateDir) -> tuple[KeptAppRow, ...]:
    """Without the passwords of their realms' people."""
    return tuple(
        KeptAppRow(app.domain, app.recipe, app.folder, app.run_id, app.since, app.reason) for app in kept_apps(state)
    )


def _unmounted(state: StateDir) -> str:
    try:
        check_mount(state)
    except StateDirError as error:
        return str(error)
    return ""


def _with_ends(state: StateDir, runs: tuple[Holder, ...]) -> tuple[Holder, ...]:
    """The runs with the end that is expected of each, where the index knows how long such a run takes."""

    def ends(index: Index) -> tuple[Holder, ...]:
        took = ([row.seconds for row in index.greens(run.recipe, run.mode, most=_EARLIER)] for run in runs)
        return tuple(with_end(run, seconds) for run, seconds in zip(runs, took, strict=True))

    return glance(state, ends, runs) if runs else runs


def _last_sweep(state: StateDir) -> LastSweep | None:
    path = max(state.sweeps.glob("*/sweep.json"), default=None)
    record = _readable(lambda: load_sweep(path)) if path is not None else None
    going_on = is_marked(state.sweep_lock)
    return last_sweep(record, datetime.now(UTC), going_on=going_on) if record else None


def _alerts(state: StateDir) -> tuple[dict[str, object], ...]:
    return tuple({"file": path.name, **vars(alert)} for path, alert in open_alerts(state))


def _alive(state: StateDir, owner: Owner) -> bool | None:
    """Whether the run of a lease lives, as the holder of its lock says; no lock is taken for it."""
    try:
        lock = lock_of(state, owner)
        return None if lock is None else is_marked(lock)
    except PermissionError:
        return None


def _leases(state: StateDir) -> tuple[LeaseRow, ...]:
    return tuple(
        LeaseRow(
            owner.realm,
            owner.run_id,
            owner.domain,
            owner.since,
            owner.host,
            alive=_alive(state, owner),
        )
        for owner in load_owners(state)
    )


def _disk(settings: Settings, state: StateDir, engine: Engine | None) -> DiskRow:
    images = None
    if engine is not None:
        try:
            with engine_errors("asking for the size of images"):
                images = int(engine.client.api.df().get("LayersSize") or 0)
        except CcciError:
            images = None
    used = allocated(state.root, without={state.engine})
    found = file_systems(places_of(state, engine), keep_free=settings.keep_free)
    return DiskRow(free=free(state.root), state=used, images=images, file_systems=found)
