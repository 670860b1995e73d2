"""The file systems that we fill: how much is free on each, when that is too little, and the alert of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import StateDamaged
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.disk import Room, inspect_room, shown
from pytest_ccci.warm.alerts import Alert, AlertKind, raise_alert

__all__ = ["FileSystem", "file_systems", "is_low", "is_restored", "load_told", "news", "places_of", "watch"]

_LOW_INODES = 0.02
_HIGH = 2
"""What began below a low mark goes on until there is twice as much: else each run would begin it again."""


def is_low(room: Room, keep_free: int) -> bool:
    """Whether less is free than should be: ``keep_free`` bytes, and 2 % of the inodes."""
    return room.size < keep_free or room.inodes < room.all_inodes * _LOW_INODES


def is_restored(room: Room, keep_free: int) -> bool:
    """Whether so much is free that what frees space may end."""
    return room.size >= _HIGH * keep_free and room.inodes >= _HIGH * room.all_inodes * _LOW_INODES


@dataclass(frozen=True)
class FileSystem:
    """One that we fill, by what is kept there (``state``, ``canonical``, ``engine``).

    In bytes, and inodes: 0 of 0 where they have no limit.
    """

    places: tuple[str, ...]
    path: str
    free: int
    total: int
    inodes: int
    all_inodes: int
    low: bool

    def __str__(self) -> str:
        inodes = f", {self.inodes} of {self.all_inodes} inodes" if self.all_inodes else ""
        return f"{' and '.join(self.places)} at {self.path}: {shown(self.free)} of {shown(self.total)}{inodes} free"


def places_of(state: StateDir, engine: Engine | None) -> dict[str, Path]:
    """Where we fill file systems, by name; the engine's only if it is on this machine."""
    found = {"state": state.root, "canonical": state.canonicals}
    if engine is not None and engine.data_root is not None:
        found["engine"] = engine.data_root
    return found


def file_systems(
    places: Mapping[str, Path], *, keep_free: int, room_of: Callable[[Path], Room] = inspect_room
) -> tuple[FileSystem, ...]:
    """Each file system once, in the order of ``places``."""
    rooms = {name: room_of(path) for name, path in places.items()}
    found = []
    for device in dict.fromkeys(room.device for room in rooms.values()):
        names = tuple(name for name, room in rooms.items() if room.device == device)
        room, path = rooms[names[0]], str(places[names[0]])
        low = is_low(room, keep_free)
        found.append(FileSystem(names, path, room.size, room.total, room.inodes, room.all_inodes, low))
    return tuple(found)


def load_told(path: Path) -> dict[str, str]:
    """When an operator was last told of each file system that is low.

    Raises:
        StateDamaged: it cannot be used.
    """
    found = load_state(path, dict[str, str], advice="remove it: what is low is then told anew", check=_check)
    return dict(found or {})


def _check(told: dict[str, str]) -> None:
    for moment in told.values():
        if datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(f"{moment} names no zone")


def news(
    found: Iterable[FileSystem], told: Mapping[str, str], *, now: datetime, again: float
) -> tuple[tuple[FileSystem, ...], dict[str, str]]:
    """Of which an operator is to be told (anew after ``again`` seconds), and when each was told then."""
    low = [one for one in found if one.low]
    due = tuple(
        one
        for one in low
        if one.path not in told or (now - datetime.fromisoformat(told[one.path])).total_seconds() >= again
    )
    moment = now.isoformat(timespec="seconds")
    return due, {one.path: moment if one in due else told[one.path] for one in low}


def watch(settings: Settings, state: StateDir, engine: Engine | None) -> tuple[FileSystem, ...]:
    """Alert an operator of each file system that is low, and return those; nothing that fails here is raised."""
    found = file_systems(places_of(state, engine), keep_free=settings.keep_free)
    try:
        told = load_told(state.disk_told)
    except StateDamaged:
        told = {}
    due, after = news(found, told, now=datetime.now(UTC), again=settings.alert_again)
    for one in due:
        notes = (
            f"{one}; below {shown(settings.keep_free)} (ccci_keep_free) or 2 % of the inodes: ccci prune, or more disk"
        )
        raise_alert(state, Alert(AlertKind.DISK, "-".join(one.places), recovered=False, notes=notes))
    if after != told:
        with suppress(OSError):  # told once more, which is better than not at all
            write_atomic(state.disk_told, json.dumps(after, indent=1).encode(), durable=False)
    return tuple(one for one in found if one.low)
