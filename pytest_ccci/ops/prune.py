"""What can go: decided as a list from facts, then removed, each thing only while nobody holds it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.standin_build import BUILT
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, LockBusy
from pytest_ccci.locks import hold, is_marked, remove_unused, somebody_waits
from pytest_ccci.ops.inflight import nothing_in_flight, runs_in_flight
from pytest_ccci.ops.status import engine_at_hand
from pytest_ccci.recipe.names import app_domain
from pytest_ccci.run.run_dir import BULKY, damaged_diaries, open_diaries
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.disk import allocated

__all__ = ["Pruned", "RunDir", "prune", "runs_to_drop"]

_LOG = logging.getLogger(__name__)

_SPARE = 86400.0
_PROOFS = 20
_SEEN = 200
_SWEEPS = 60
"""How many are kept. Those of an operator's own interest are copied away before, or made again."""


@dataclass(frozen=True)
class RunDir:
    """A run's directory. ``busy``: in flight, not over yet, or it says that something of it is still deployed."""

    run_id: str
    busy: bool


@dataclass(frozen=True)
class Pruned:
    """One thing that went (or would go): what, how many bytes, why, and which kind of thing it is."""

    what: str
    size: int
    why: str
    kind: str = ""


def runs_to_drop(runs: Iterable[RunDir], *, keep: int) -> tuple[str, ...]:
    """The oldest runs beyond ``keep``; busy ones stay and count."""
    newest_first = sorted(runs, key=lambda run: run.run_id, reverse=True)
    return tuple(sorted(run.run_id for run in newest_first[keep:] if not run.busy))


def prune(settings: Settings, state: StateDir, *, dry: bool) -> tuple[Pruned, ...]:
    """Remove what can go, or with ``dry`` only tell it; what is in use is left and said."""
    files = (*_runs(settings, state, dry=dry), *_work(settings, state, dry=dry), *_proofs(state, dry=dry))
    small = (*_sweeps(state, dry=dry), *_seen_alerts(state, dry=dry), *_locks(settings, state, dry=dry))
    return (*files, *small, *_images(settings, state, dry))


def _runs(settings: Settings, state: StateDir, *, dry: bool) -> list[Pruned]:
    flying = {holder.run for holder in runs_in_flight(state)}
    owning = {folder.name for folder, _ in (*open_diaries(state), *damaged_diaries(state))}
    found = [path for path in sorted(state.runs.glob("*")) if path.is_dir()]
    runs = [RunDir(p.name, busy=p.name in flying | owning or _may_wait(p, settings.lock_wait)) for p in found]
    gone = set(runs_to_drop(runs, keep=settings.keep_runs))
    told = [
        _drop(state.run(name), f"one of the oldest beyond {settings.keep_runs}", dry, kind="runs")
        for name in sorted(gone)
    ]
    for run in runs:
        if run.run_id not in gone and not run.busy:
            folders = [state.run(run.run_id) / name for name in BULKY]
            told += [
                _drop(folder, "work of a run that is over", dry, kind="work of runs that are over")
                for folder in folders
                if folder.is_dir()
            ]
    return told


def _may_wait(path: Path, lock_wait: float) -> bool:
    """Whether a run without a result may still be waiting for its first lock, of which nothing tells but its wait."""
    if (path / "results.json").exists():
        return False
    return time.time() - path.stat().st_mtime < lock_wait + _SPARE


def _work(settings: Settings, state: StateDir, *, dry: bool) -> list[Pruned]:
    """What killed processes left in their work places: each under the lock that its maker would hold."""
    told: list[Pruned] = []
    for app in sorted(state.infra("x").parent.glob("*")):
        lock = state.lock(app_domain(app.name, settings.zone))
        with suppress(LockBusy), hold(lock, wait=0, owner={"doing": "prune"}):
            told += [
                _drop(tree, "a deploy that was cut off", dry, kind="deploys that were cut off")
                for tree in sorted(app.glob("tree-*"))
            ]
    return told


def _proofs(state: StateDir, *, dry: bool) -> list[Pruned]:
    """The evidence of old proofs; none while one is being made."""
    if any(is_marked(state.locks / name) for name in ("proofs.lock", "prove.lock")) or not state.proofs.is_dir():
        return []
    newest_first = sorted(
        (path for path in state.proofs.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True
    )
    why = f"one of the oldest beyond {_PROOFS}"
    return [_drop(path, why, dry, kind="proofs") for path in sorted(newest_first[_PROOFS:])]


def _sweeps(state: StateDir, *, dry: bool) -> list[Pruned]:
    """The records of old sweeps, and what their runs printed; their names begin with their time."""
    newest_first = sorted((path.parent for path in state.sweeps.glob("*/sweep.json")), reverse=True)
    why = f"one of the oldest beyond {_SWEEPS}"
    return [_drop(path, why, dry, kind="sweeps") for path in sorted(newest_first[_SWEEPS:])]


def _seen_alerts(state: StateDir, *, dry: bool) -> list[Pruned]:
    """Alerts that somebody saw; their names begin with their time."""
    newest_first = sorted((state.alerts / "seen").glob("*.json"), reverse=True)
    told = []
    for path in sorted(newest_first[_SEEN:]):
        told.append(Pruned(str(path), path.lstat().st_blocks * 512, f"seen, beyond the newest {_SEEN}", "seen alerts"))
        if not dry:
            path.unlink(missing_ok=True)
    return told


def _locks(settings: Settings, state: StateDir, *, dry: bool) -> list[Pruned]:
    """Lock files of domains and slots that nobody holds or waits for, and queues as earlier versions made them."""
    slots = {f"{number}.lock" for number in range(settings.slots)}
    domains = [path for path in sorted(state.locks.glob("*.lock")) if "." in path.stem]
    found = [*domains, *(path for path in sorted(state.slots.glob("*.lock")) if path.name not in slots)]
    told = []
    for path in found:
        size = sum(one.lstat().st_blocks * 512 for one in path.parent.glob(f"{path.name}*"))
        unused = not is_marked(path) and not somebody_waits(path)
        if unused and (dry or remove_unused(path)):
            told.append(Pruned(str(path), size, "nobody holds it or waits for it", "lock files"))
    queues = (path for folder in (state.locks, state.slots) for path in sorted(folder.glob("*.lock.queue")))
    old = [path for path in queues if path.is_dir() and path.with_suffix("") not in found]
    return told + [_drop(path, "a queue as earlier versions kept it", dry, kind="lock files") for path in old]


def _images(settings: Settings, state: StateDir, dry: bool) -> list[Pruned]:
    try:
        engine = engine_at_hand(settings, state)
    except EngineUnavailable:
        _LOG.info("images: no engine is running, none are looked at")
        return []
    try:
        with nothing_in_flight(state, settings, doing="prune images"):
            return [_drop_image(engine, image, dry) for image in _dangling(engine)]
    except LockBusy as error:
        _LOG.info(f"images: left alone, something is in flight ({error.seen})")
        return []


def _dangling(engine: Engine) -> list[dict[str, Any]]:
    """Our builds that no name leads to, and on which no other image stands."""
    with engine_errors("listing images"):
        images: list[dict[str, Any]] = engine.client.api.images(filters={"label": BUILT, "dangling": True})
        parents = {image["ParentId"] for image in engine.client.api.images(all=True)}
    return [image for image in images if image["Id"] not in parents]


def _drop_image(engine: Engine, image: dict[str, Any], dry: bool) -> Pruned:
    why = "built here, and its name now means a newer build"
    if not dry:
        with engine_errors(f"removing image {image['Id'][7:19]}"):
            engine.client.api.remove_image(image["Id"])
    return Pruned(f"image {image['Id'][7:19]}", int(image["Size"]), why, "images")


def _drop(path: Path, why: str, dry: bool, *, kind: str) -> Pruned:
    size = allocated(path)
    if not dry:
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise InfrastructureFault("it cannot be removed", where=str(path), seen=str(error)) from error
    return Pruned(str(path), size, why, kind)
