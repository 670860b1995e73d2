"""Room for a run: what it needs on each file system beside what is free there; pruned first, else refused."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.images import missing_images
from pytest_ccci.errors import CcciError, DiskFull, InfrastructureFault
from pytest_ccci.recipe.repository import Head
from pytest_ccci.results.index import ask
from pytest_ccci.results.write import load_result
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.known_good import kept_goods
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.disk import Demand, Room, inspect_room, shown
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, raise_alert

__all__ = ["Expected", "Need", "lacking", "needs", "require_room"]

_LOG = logging.getLogger(__name__)

_SPARE = Demand(64 << 20, 1000)
"""What a run leaves free for others on each file system, and what logs and work trees take."""
_PLENTY = Demand(10 << 30, 200_000)
"""Beside four times the data: with so much room nothing is looked at that costs time."""
_COPIES = 4
_NOTHING = Demand(0, 0)


@dataclass(frozen=True)
class Expected:
    """What is known, before a run, of what it will write.

    Args:
        images: those of both versions, by reference, with their sizes in bytes as far as earlier runs tell.
        present: references that the engine has already.
        data: what the app's volumes hold, as the known-good does; nothing where there is none.
        fresh: the volumes are made anew, and backed up (a cold run).
        copies: how often the data is copied in the store (a restore, a snapshot).
        shares_blocks: such a copy takes only metadata.
    """

    images: Mapping[str, int | None] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    data: Demand = _NOTHING
    fresh: bool = True
    copies: int = 0
    shares_blocks: bool = False


@dataclass(frozen=True)
class Need:
    """What is needed at one place (``engine``, ``state`` or ``canonical``), and what for."""

    place: str
    what: str
    size: int
    inodes: int


def needs(known: Expected) -> tuple[Need, ...]:
    """What a run takes at most of what is known of it."""
    found = [
        Need("engine", f"image {ref}", size or 0, 0)
        for ref, size in sorted(known.images.items())
        if ref not in known.present and size
    ]
    if known.fresh and known.data.size:
        found.append(Need("engine", "volumes", known.data.size, known.data.inodes))
        found.append(Need("state", "archives of a backup", known.data.size, 0))
    if known.copies:
        size = 0 if known.shares_blocks else known.data.size
        found.append(Need("canonical", "copies of the volumes", known.copies * size, known.copies * known.data.inodes))
    return tuple(found)


def lacking(wanted: Iterable[Need], rooms: Mapping[str, Room], *, spare: Demand = _SPARE) -> tuple[str, ...]:
    """What is missing where, in words with numbers; empty where all of it fits.

    ``rooms`` has the file system of each place; places on one file system need its room together. A place of which
    nothing is known is left out.
    """
    wants = [need for need in wanted if need.place in rooms]
    lines = []
    for device in dict.fromkeys(room.device for room in rooms.values()):
        places = [place for place, room in rooms.items() if room.device == device]
        here = [need for need in wants if need.place in places]
        room = rooms[places[0]]
        size, inodes = (sum(need.size for need in here) + spare.size, sum(need.inodes for need in here) + spare.inodes)
        told = ", ".join([*(f"{need.what} {shown(need.size)}" for need in here if need.size), shown(spare.size)])
        where = " and ".join(places)
        if size > room.size:
            missing = shown(size - room.size)
            lines.append(f"{where}: {shown(size)} needed ({told} spare), {shown(room.size)} free, {missing} missing")
        if room.all_inodes and inodes > room.inodes:
            lines.append(
                f"{where}: {inodes} inodes needed, {room.inodes} free, {inodes - room.inodes} missing",
            )
    return tuple(lines)


def require_room(
    context: RunContext, app: Deployment, versions: Sequence[Head], *, fresh: bool, store: CanonicalStore | None = None
) -> None:
    """Refuse a run for which there is no room, after what can be pruned was.

    ``store`` is that of the canonical that will be restored, or of which a snapshot will be taken.

    Raises:
        DiskFull: says what is needed, free and missing, where; an operator is alerted of it.
    """
    engine = context.open_machine().engine
    places = _places(context.state, engine, store)
    good = None
    try:
        good = next(iter(kept_goods(context.state, context.spec.name)), None)
    except CcciError as error:
        _LOG.debug(f"room: the size of the known-good is not known: {error}")
    data = Demand(good.size, good.files) if good else _NOTHING
    if _plenty(places, data):
        return
    shares = store is not None and store.backend.shares_blocks
    refs = {ref for version in versions for ref in app.images_of(version)}
    sizes, present = _sizes(context.state, context.spec.name, engine, refs)
    known = Expected(sizes, present, data, fresh=fresh, copies=2 if store else 0, shares_blocks=shares)
    wanted = needs(known)
    missing = lacking(wanted, {name: inspect_room(path) for name, path in places.items()})
    freed = 0
    if missing:
        _LOG.info(f"no room for this run, pruning first: {'; '.join(missing)}")
        freed = context.make_room(context.run_id)
        missing = lacking(wanted, {name: inspect_room(path) for name, path in places.items()})
    if missing:
        refused = DiskFull(
            f"no room for a run of {context.spec.name}: {missing[0]}",
            where=", ".join(f"{name} {path}" for name, path in places.items()),
            seen="; ".join([*missing[1:], f"pruned before: {shown(freed)}"]),
            advice="free some space, or use a larger disk; `ccci prune --dry-run --verbose` shows what we could remove",
        )
        _alert(context, str(refused))
        raise refused


def _alert(context: RunContext, notes: str) -> None:
    """Alert an operator that the recipe's run was refused; an alert of that which nobody has seen yet gives way."""
    recipe = context.spec.name
    try:
        older = [path for path, one in open_alerts(context.state) if (one.kind, one.app) == (AlertKind.DISK, recipe)]
    except OSError:
        older = []
    alert = Alert(AlertKind.DISK, recipe, recovered=False, notes=notes, run_id=context.run_id)
    if raise_alert(context.state, alert):
        return
    for path in older:
        path.unlink(missing_ok=True)


def _places(state: StateDir, engine: Engine, store: CanonicalStore | None) -> dict[str, Path]:
    found = {"state": state.root}
    if engine.data_root is not None:
        found["engine"] = engine.data_root
    if store is not None:
        found["canonical"] = store.layout.root
    return found


def _plenty(places: Mapping[str, Path], data: Demand) -> bool:
    rooms = [inspect_room(path) for path in places.values()]
    size, inodes = _PLENTY.size + _COPIES * data.size, _PLENTY.inodes + _COPIES * data.inodes
    return all(room.size >= size and (not room.all_inodes or room.inodes >= inodes) for room in rooms)


def _sizes(
    state: StateDir, recipe: str, engine: Engine, refs: Iterable[str]
) -> tuple[dict[str, int | None], frozenset[str]]:
    """The sizes of images, ``None`` where nobody knows; and which of them the engine has."""
    wanted = frozenset(refs)
    present = wanted - set(missing_images(engine, sorted(wanted)))
    before = dict(_earlier(state, recipe)) if wanted - present else {}
    of_name = {ref.rpartition(":")[0]: size for ref, size in before.items()}
    return {ref: before.get(ref, of_name.get(ref.rpartition(":")[0])) for ref in wanted}, present


def _earlier(state: StateDir, recipe: str) -> Iterator[tuple[str, int]]:
    """The images of the last runs of the recipe, with their sizes."""
    try:
        rows = ask(
            state, lambda index: [row for mode in ("quick", "cold") for row in index.history(recipe, mode, most=3)]
        )
    except InfrastructureFault:
        return
    for row in sorted(rows, key=lambda row: row.started):
        try:
            result = load_result(state.run(row.run_id) / "results.json")
        except (CcciError, OSError):
            continue
        yield from ((image.ref, image.size) for image in (result.images if result else ()) if image.size)
