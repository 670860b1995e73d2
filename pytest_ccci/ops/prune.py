"""What can go: decided as a list from facts, then removed, each thing only while nobody holds it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.images import remove_image
from pytest_ccci.engine.standin_build import BUILT
from pytest_ccci.errors import CcciError, EngineUnavailable, InfrastructureFault, LockBusy, StoreDamaged
from pytest_ccci.locks import hold, is_marked, remove_unused, somebody_waits
from pytest_ccci.ops.canonicals import recipes_with_canonical
from pytest_ccci.ops.disk import is_low, is_restored
from pytest_ccci.ops.inflight import nothing_in_flight, runs_in_flight
from pytest_ccci.ops.status import engine_at_hand
from pytest_ccci.recipe.names import app_domain
from pytest_ccci.results.index import ask, keep_rows
from pytest_ccci.results.pages import folder_of
from pytest_ccci.results.publish import PAGE, write_recipe_page
from pytest_ccci.run.image_notes import image_notes
from pytest_ccci.run.run_dir import BULKY, damaged_diaries, open_diaries
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.disk import Room, allocated, inspect_room
from pytest_ccci.store.record import load_record

__all__ = ["OurImage", "Pruned", "RunDir", "images_in_turn", "make_room", "prune", "runs_to_drop"]

_LOG = logging.getLogger(__name__)

_SPARE = 86400.0
_PROOFS = 20
_SEEN = 200
_FEWEST_RUNS = 10
"""So many stay even where there is no room for more."""
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


@dataclass(frozen=True)
class OurImage:
    """An image that came by us, with the names it has now, and when we used it last."""

    image_id: str
    refs: tuple[str, ...]
    used: str
    size: int = 0


def images_in_turn(images: Iterable[OurImage], needed: Collection[str]) -> tuple[OurImage, ...]:
    """Those of ``images`` that may go, least recently used first. ``needed`` are ids and names that must stay."""
    free = (one for one in images if one.image_id not in needed and not set(one.refs) & set(needed))
    return tuple(sorted(free, key=lambda one: (one.used, one.image_id)))


def runs_to_drop(runs: Iterable[RunDir], *, keep: int) -> tuple[str, ...]:
    """The oldest runs beyond ``keep``; busy ones stay and count."""
    newest_first = sorted(runs, key=lambda run: run.run_id, reverse=True)
    return tuple(sorted(run.run_id for run in newest_first[keep:] if not run.busy))


def make_room(settings: Settings, run_id: str) -> int:
    """Remove what can go, as there is no room for the run ``run_id`` of this process; the bytes that went."""
    state = open_state(settings.state_dir)
    try:
        return sum(one.size for one in prune(settings, state, dry=False, ours=run_id))
    except (CcciError, OSError) as error:
        _LOG.warning(f"pruning: {error}")
        return 0


def prune(settings: Settings, state: StateDir, *, dry: bool, ours: str = "") -> tuple[Pruned, ...]:
    """Remove what can go, or with ``dry`` only tell it; what is in use is left and said.

    Where less than ``keep_free`` is free, old runs and images of ours that were used longest ago go too, until it is
    twice as much; also for ``ours``, a run of this process that found no room.
    """
    files = (*_runs(settings, state, dry=dry), *_work(settings, state, dry=dry), *_proofs(state, dry=dry))
    small = (*_sweeps(state, dry=dry), *_seen_alerts(state, dry=dry), *_locks(settings, state, dry=dry))
    told = [*files, *small]
    told += _more_runs(settings, state, _Shortage(state.root, settings.keep_free, begin=bool(ours), dry=dry, told=told))
    return (*told, *_images(settings, state, dry=dry, ours=ours))


@dataclass
class _Shortage:
    """Whether more has to go on the file system of ``place``: begun below the low mark, gone on with to the high one.

    With ``dry``, what was only told counts as if it had gone.
    """

    place: Path
    keep_free: int
    begin: bool
    dry: bool
    told: Sequence[Pruned] = ()

    def __post_init__(self) -> None:
        self.begin = self.begin or is_low(self._room(()), self.keep_free)

    def goes_on(self, more: Sequence[Pruned]) -> bool:
        """Whether there is still too little free, now that ``more`` went."""
        return self.begin and not is_restored(self._room(more), self.keep_free)

    def _room(self, more: Sequence[Pruned]) -> Room:
        room = inspect_room(self.place)
        gone = sum(one.size for one in (*self.told, *more)) if self.dry else 0
        return replace(room, size=room.size + gone)


def _more_runs(settings: Settings, state: StateDir, short: _Shortage) -> list[Pruned]:
    """Runs that would stay if there were room, the oldest first."""
    told: list[Pruned] = []
    gone = {Path(one.what) for one in short.told}
    left = [path for path in _run_folders(state) if path not in gone]
    for run_id in runs_to_drop(_as_runs(settings, state, left), keep=_FEWEST_RUNS):
        if not short.goes_on(told):
            break
        if not short.dry:
            _keep_history(state, [run_id])
        told.append(_drop(state.run(run_id), "an old one, and there is no room", short.dry, kind="runs"))
    if told and not short.dry:
        _renew_pages(state, [Path(one.what).name for one in told])
    return told


def _run_folders(state: StateDir) -> list[Path]:
    return [path for path in sorted(state.runs.glob("*")) if path.is_dir()]


def _as_runs(settings: Settings, state: StateDir, folders: Iterable[Path]) -> list[RunDir]:
    flying = {holder.run for holder in runs_in_flight(state)}
    owning = {folder.name for folder, _ in (*open_diaries(state), *damaged_diaries(state))}
    return [RunDir(p.name, busy=p.name in flying | owning or _may_wait(p, settings.lock_wait)) for p in folders]


def _runs(settings: Settings, state: StateDir, *, dry: bool) -> list[Pruned]:
    runs = _as_runs(settings, state, _run_folders(state))
    gone = set(runs_to_drop(runs, keep=settings.keep_runs))
    if gone and not dry:
        _keep_history(state, gone)
    told = [
        _drop(state.run(name), f"one of the oldest beyond {settings.keep_runs}", dry, kind="runs")
        for name in sorted(gone)
    ]
    if gone and not dry:
        _renew_pages(state, gone)
    for run in runs:
        if run.run_id not in gone and not run.busy:
            folders = [state.run(run.run_id) / name for name in BULKY]
            told += [
                _drop(folder, "work of a run that is over", dry, kind="work of runs that are over")
                for folder in folders
                if folder.is_dir()
            ]
    return told


def _keep_history(state: StateDir, gone: Iterable[str]) -> None:
    """What the index knows of runs stays when they go. On a full disk they go all the same: that makes room."""
    try:
        keep_rows(state, sorted(gone))
    except InfrastructureFault as error:
        _LOG.warning(f"the history of the runs that go is kept in the index alone: {error}")


def _renew_pages(state: StateDir, gone: Iterable[str]) -> None:
    """The pages of recipes lead to no run that has gone."""
    rows = ask(state, lambda index: [index.run(run_id) for run_id in gone])
    for recipe in sorted({row.recipe for row in rows if row is not None}):
        if (state.pages / folder_of(recipe) / PAGE).exists():
            try:
                write_recipe_page(state, recipe)
            except OSError as error:
                _LOG.warning(f"the page of {recipe} is an older one: {error}")


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


def _images(settings: Settings, state: StateDir, *, dry: bool, ours: str) -> list[Pruned]:
    try:
        engine = engine_at_hand(settings, state)
    except EngineUnavailable:
        _LOG.info("images: no engine is running, none are looked at")
        return []
    try:
        with nothing_in_flight(state, settings, doing="prune images", ours=ours):
            told = [_drop_image(engine, image, dry) for image in _dangling(engine)]
            if engine.data_root is not None:
                begin = bool(ours)
                short = _Shortage(engine.data_root, settings.keep_free, begin=begin, dry=dry, told=told)
                told += _unused_images(state, engine, short)
            return told
    except LockBusy as error:
        _LOG.info(f"images: left alone, something is in flight ({error.seen})")
        return []


def _dangling(engine: Engine) -> list[dict[str, Any]]:
    """Our builds that no name leads to, and on which no other image stands."""
    with engine_errors("listing images"):
        images: list[dict[str, Any]] = engine.client.api.images(filters={"label": BUILT, "dangling": True})
        parents = {image["ParentId"] for image in engine.client.api.images(all=True)}
    return [image for image in images if image["Id"] not in parents]


def _unused_images(state: StateDir, engine: Engine, short: _Shortage) -> list[Pruned]:
    """Images that came by us, the least recently used first; never one of a known-good, or that something runs of."""
    if not short.goes_on(()):
        return []
    try:
        kept = {text for recipe in recipes_with_canonical(state) for text in _of_known_goods(state, recipe)}
    except StoreDamaged as error:
        _LOG.warning(f"images: left alone, since it is not known which a known-good needs: {error}")
        return []
    needed = kept | _in_use(engine)
    told: list[Pruned] = []
    for image in images_in_turn(_our_images(state, engine, needed, dry=short.dry), needed):
        if not short.goes_on(told):
            break
        name = ", ".join(image.refs) or image.image_id[7:19]
        why_not = "" if short.dry else remove_image(engine, image.refs or (image.image_id,))
        if why_not:
            _LOG.info(f"images: {name} stays: {why_not}")
        else:
            told.append(Pruned(f"image {name}", image.size, f"not used since {image.used[:10]}", "images"))
    return told


def _our_images(state: StateDir, engine: Engine, needed: Collection[str], *, dry: bool) -> Iterator[OurImage]:
    """Those on the engine that came by us. A name that we never used is a use that is not ours."""
    with engine_errors("listing images"):
        there = {row["Id"]: row for row in engine.client.api.images()}
    for path, note in image_notes(state, engine.facts.engine_id):
        row = there.get(note.image_id)
        if row is None:
            if not dry and note.image_id not in needed:  # it went, and its note with it; a known-good's is pulled again
                path.unlink(missing_ok=True)
            continue
        names = tuple(name for name in (row["RepoTags"] or ()) if name != "<none>:<none>")
        if note.ours and set(names) <= set(note.refs):
            yield OurImage(note.image_id, names, note.used, int(row["Size"]))


def _of_known_goods(state: StateDir, recipe: str) -> Iterator[str]:
    """Ids and names of the images of what is kept of ``recipe``, by its record as it is now.

    Raises:
        StoreDamaged: it cannot be read.
    """
    record = load_record(state.canonical(recipe) / "canonical.json")
    for good in record.all_goods if record else ():
        yield from (text for pair in good.images.items() for text in pair)


def _in_use(engine: Engine) -> set[str]:
    """Ids and names of the images of all containers and services, and of what other images stand on."""
    with engine_errors("looking which images are in use"):
        api = engine.client.api
        of_containers = {str(row[key]) for row in api.containers(all=True) for key in ("ImageID", "Image")}
        services = {str(row["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]) for row in api.services()}
        parents = {str(row["ParentId"]) for row in api.images(all=True)}
    return of_containers | services | {name.partition("@")[0] for name in services} | parents


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
