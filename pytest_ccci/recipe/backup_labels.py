"""What a recipe says about the backup of its whole stack: the labels of backupbot.

The rules are those of Co-op Cloud's backup specification (https://docs.coopcloud.tech/specs/backup/spec): one service
that says ``backupbot.backup=true`` switches backups on for the stack; all volumes are in them, but those that
``backupbot.backup.volumes.<name>=false`` excludes; ``….path`` narrows one to paths below its root; hooks may stand on
any service. Three things are not in it, or otherwise:

- It allows the first label once in a stack. Real recipes label each service, and mean the same: the union is taken.
- It gives hooks no order. Here it is that of the services' names, so that runs are alike.
- ``backupbot.backup.path``, absolute paths in a container, is older. It was read by service, so that where one has it
  only services that are labelled themselves are backed up, and that one by these paths alone.

Labels come in list and mapping form, on the service or under ``deploy``; Docker has merged and interpolated them.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_ccci.recipe.compose_facts import ComposeFacts, Mount, ServiceFacts

__all__ = ["BackupPlan", "IdleLabel", "Place", "ServiceBackup", "VolumeBackup", "backup_plan", "idle_labels"]

_ENABLED = "backupbot.backup"
_OLDER = "backupbot.backup.path"
_PRE, _POST = "backupbot.backup.pre-hook", "backupbot.backup.post-hook"
_RESTORE_PRE, _RESTORE_POST = "backupbot.restore.pre-hook", "backupbot.restore.post-hook"
_KNOWN = (_ENABLED, _OLDER, _PRE, _POST, _RESTORE_PRE, _RESTORE_POST)
_VOLUMES = "backupbot.backup.volumes."
_VOLUME = re.compile(re.escape(_VOLUMES) + r"(.+?)(?:\.(path))?")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_ALIKE = 0.8
_SAME_WORD = 0.85

_Labels = Mapping[str, Mapping[str, str]]
"""The labels of each service, by its name, in the order of the names."""


@dataclass(frozen=True)
class Place:
    """Where a service's containers have files that are backed up: an absolute path.

    ``inside`` are the other mounts below it: what lies there belongs to them.
    """

    service: str
    path: str
    read_only: bool = False
    inside: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeBackup:
    """A volume that is backed up, once, at any of its ``places``: first those at which it can be written.

    ``paths``, relative to the volume, narrow what is kept; none means all of it.
    """

    volume: str
    places: tuple[Place, ...]
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServiceBackup:
    """The hooks of a service, which run inside its running container."""

    service: str
    pre_hook: str = ""
    post_hook: str = ""
    restore_pre: str = ""
    restore_post: str = ""


@dataclass(frozen=True)
class BackupPlan:
    """The backup of a stack.

    ``services`` have hooks, ``paths`` are older ones outside of all volumes, and ``excluded`` says of each volume that
    is left out why. Services and volumes are in the order of their names.
    """

    enabled: bool = False
    services: tuple[ServiceBackup, ...] = ()
    volumes: tuple[VolumeBackup, ...] = ()
    paths: tuple[Place, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class IdleLabel:
    """A backup label that does nothing, or not what it seems to; ``unmounted``: since no service has its volume."""

    service: str
    label: str
    text: str
    unmounted: bool = False


def backup_plan(facts: ComposeFacts) -> BackupPlan:
    """Read the backup labels of all services; without a ``backupbot.backup=true`` there is no backup."""
    labels = _labels(facts)
    if not _enabling(labels):
        return BackupPlan()
    hooks = (ServiceBackup(name, *(said.get(key, "") for key in _KNOWN[2:])) for name, said in labels.items())
    older = _OlderPaths(facts, labels)
    excluded = dict(sorted(_excluded(labels, older)))
    return BackupPlan(
        enabled=True,
        services=tuple(each for each in hooks if each != ServiceBackup(each.service)),
        volumes=tuple(
            VolumeBackup(volume, places, _narrowed([*_paths_said(labels, volume), *older.within.get(volume, ())]))
            for volume, places in older.volumes.items()
            if volume not in excluded
        ),
        paths=older.outside,
        excluded=excluded,
    )


def idle_labels(facts: ComposeFacts, *, elsewhere: Iterable[str] = (), alone: bool = False) -> tuple[IdleLabel, ...]:
    """Every label that was meant for backupbot and does nothing.

    Args:
        facts: the stack.
        elsewhere: more volumes that a label may name: those of compose files that are not switched on.
        alone: it is one compose file of several, so that others may say the rest: only what is wrong by itself.
    """
    labels, volumes = _labels(facts), _volumes(facts)
    enabling = () if alone else _enabling(labels)
    mounted = {*volumes, *elsewhere}
    known = (*_KNOWN, *(f"{_VOLUMES}{volume}{end}" for volume in sorted(mounted) for end in ("", ".path")))
    found = []
    for service, said in labels.items():
        for label, value in said.items():
            named = _VOLUME.fullmatch(label)
            if named is not None and named[1] not in mounted and not alone:
                text = f"the backup label {label} does nothing: no service of the stack mounts a volume {named[1]}"
                found.append(IdleLabel(service, label, text, unmounted=True))
            elif text := _idle(label, value, known, enabling):
                found.append(IdleLabel(service, label, text))
    return tuple(found)


def _idle(label: str, value: str, known: tuple[str, ...], enabling: tuple[str, ...]) -> str:
    """Why ``label`` does nothing; empty where it does, or is none of backupbot's."""
    word = label.partition(".")[0].lower()
    if difflib.SequenceMatcher(None, word, "backupbot").ratio() < _SAME_WORD:
        return ""
    volume = _VOLUME.fullmatch(label)
    if volume is None and label not in _KNOWN:
        alike = difflib.get_close_matches(label.lower(), known, n=1, cutoff=_ALIKE)
        return f"the backup label {label} is unknown and does nothing" + (
            f": did you mean {alike[0]}?" if alike else ""
        )
    if label != _ENABLED and (volume is None or volume[2] is not None):
        return ""
    if value.strip() and _switch(value) is None:
        return f"the backup label {label} does nothing: {value!r} is neither true nor false"
    if label == _ENABLED and _switch(value) is False and enabling:
        return (
            f"{_ENABLED}=false excludes nothing, since service {enabling[0]} says true for the whole stack; "
            f"exclude volumes by {_VOLUMES}<name>=false"
        )
    return ""


def _labels(facts: ComposeFacts) -> dict[str, dict[str, str]]:
    return {name: {**each.labels, **each.deploy_labels} for name, each in sorted(facts.services.items())}


def _switch(value: str) -> bool | None:
    """What a label that switches something says; ``None`` where it says neither."""
    word = value.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _enabling(labels: _Labels) -> tuple[str, ...]:
    """The services that say that the stack is backed up."""
    return tuple(name for name, said in labels.items() if _switch(said.get(_ENABLED, "")))


def _volumes(facts: ComposeFacts) -> dict[str, tuple[Place, ...]]:
    """Where each named volume is mounted, in the order of their names."""
    found: dict[str, list[Place]] = {}
    for _, service in sorted(facts.services.items()):
        for mount in service.mounts:
            if _is_named(mount):
                place = Place(service.name, mount.target, mount.read_only, _inside(service, mount.target))
                found.setdefault(mount.source, []).append(place)
    return {name: tuple(sorted(places, key=lambda each: each.read_only)) for name, places in sorted(found.items())}


def _is_named(mount: Mount) -> bool:
    return mount.kind == "volume" and bool(mount.source)


def _inside(service: ServiceFacts, path: str) -> tuple[str, ...]:
    """The service's mounts below ``path``."""
    below = (mount.target for mount in service.mounts if _below(mount.target, path))
    return tuple(target for target in below if not _below(path, target))


def _below(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or lies in it."""
    return f"{posixpath.normpath(path)}/".startswith(f"{posixpath.normpath(top).rstrip('/')}/")


class _OlderPaths:
    """What ``backupbot.backup.path`` names: ``within`` a volume, relative to it, or ``outside`` of all."""

    def __init__(self, facts: ComposeFacts, labels: _Labels) -> None:
        self.volumes = _volumes(facts)
        self.by_service = {name: paths for name, said in labels.items() if (paths := _list(said.get(_OLDER, "")))}
        self.within: dict[str, list[str]] = {}
        outside = [self._sort(facts.services[name], path) for name, paths in self.by_service.items() for path in paths]
        self.outside = tuple(dict.fromkeys(place for place in outside if place is not None))

    def _sort(self, service: ServiceFacts, path: str) -> Place | None:
        """Note the volumes that ``path`` is in, or that are in it; give it back where some of it is in none."""
        around = [each for each in service.mounts if _below(path, each.target)]
        nearest = max(around, key=lambda each: len(posixpath.normpath(each.target)), default=None)
        if nearest is not None and _is_named(nearest):
            self._note(nearest, posixpath.relpath(path, nearest.target))
            return None
        for mount in service.mounts:
            if _is_named(mount) and _below(mount.target, path):
                self._note(mount, "")
        return Place(service.name, posixpath.normpath(path), inside=_inside(service, path))

    def _note(self, mount: Mount, path: str) -> None:
        self.within.setdefault(mount.source, []).append(path)


def _excluded(labels: _Labels, older: _OlderPaths) -> Iterator[tuple[str, str]]:
    """The volumes that are left out, each with the reason."""
    enabling = set(_enabling(labels))
    for volume, places in older.volumes.items():
        against = [name for name, said in labels.items() if _switch(said.get(_VOLUMES + volume, "")) is False]
        if against:
            yield volume, f"a label of service {against[0]} excludes it"
        elif older.by_service and volume not in older.within and not list(_paths_said(labels, volume)):
            services = [place.service for place in places]
            narrowing = [name for name in services if name in older.by_service]
            if enabling & set(services) - set(narrowing):
                continue
            if narrowing:
                yield volume, f"{_OLDER} of service {narrowing[0]} names other places"
            else:
                has = next(iter(older.by_service))
                yield volume, f"service {services[0]} is not labelled, and service {has} has the older {_OLDER}"


def _paths_said(labels: _Labels, volume: str) -> Iterator[str]:
    for said in labels.values():
        yield from _list(said.get(f"{_VOLUMES}{volume}.path", ""))


def _narrowed(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths as they lie below a volume's root, sorted, none below another; none where one is the root."""
    plain = sorted({posixpath.normpath(f"/{path}").lstrip("/") for path in paths})
    kept: list[str] = []
    for path in plain:
        if not path:
            return ()
        if not any(_below(path, each) for each in kept):
            kept.append(path)
    return tuple(kept)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
