"""What a recipe says about its backup: the labels of backupbot v2, and the older ``backupbot.backup.path``.

Labels come in list and mapping form, on the service or under ``deploy``; Docker has merged and interpolated them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_ccci.recipe.compose_facts import ComposeFacts, Mount, ServiceFacts

__all__ = ["BackupPlan", "ServiceBackup", "VolumeBackup", "backup_plan"]

_ENABLED = "backupbot.backup"
_VOLUME = re.compile(r"backupbot\.backup\.volumes\.(.+?)(?:\.(path))?")
_TRUE = frozenset({"true", "1", "yes", "on"})


@dataclass(frozen=True)
class VolumeBackup:
    """A volume of a service: ``paths`` (relative to it) narrow what is kept; none means all of it."""

    volume: str
    target: str
    included: bool = True
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServiceBackup:
    """One service's part: hooks run inside its running container; ``paths`` are legacy absolute ones."""

    service: str
    pre_hook: str = ""
    post_hook: str = ""
    restore_pre: str = ""
    restore_post: str = ""
    volumes: tuple[VolumeBackup, ...] = ()
    paths: tuple[str, ...] = ()
    unknown_volumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackupPlan:
    """The services that are backed up, in the compose file's order."""

    services: tuple[ServiceBackup, ...] = ()


def backup_plan(facts: ComposeFacts) -> BackupPlan:
    """Read the backup labels of every service; one without ``backupbot.backup=true`` has no part."""
    labelled = ((service, {**service.labels, **service.deploy_labels}) for service in facts.services.values())
    return BackupPlan(tuple(_part(service, labels) for service, labels in labelled if _enabled(labels)))


def _enabled(labels: Mapping[str, str]) -> bool:
    return labels.get(_ENABLED, "").strip().lower() in _TRUE


def _part(service: ServiceFacts, labels: Mapping[str, str]) -> ServiceBackup:
    said = _volumes_said(labels)
    mounts = [each for each in service.mounts if each.kind == "volume" and each.source]
    return ServiceBackup(
        service=service.name,
        pre_hook=labels.get("backupbot.backup.pre-hook", ""),
        post_hook=labels.get("backupbot.backup.post-hook", ""),
        restore_pre=labels.get("backupbot.restore.pre-hook", ""),
        restore_post=labels.get("backupbot.restore.post-hook", ""),
        volumes=tuple(_volume(each, said.get(each.source, {})) for each in mounts),
        paths=_list(labels.get("backupbot.backup.path", "")),
        unknown_volumes=tuple(sorted(set(said) - {each.source for each in mounts})),
    )


def _volumes_said(labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What labels say of each volume: ``""`` is its on/off switch, ``path`` the narrowing."""
    said: dict[str, dict[str, str]] = {}
    for name, value in labels.items():
        found = _VOLUME.fullmatch(name)
        if found:
            said.setdefault(found[1], {})[found[2] or ""] = value
    return said


def _volume(mount: Mount, said: Mapping[str, str]) -> VolumeBackup:
    included = said.get("", "true").strip().lower() in _TRUE
    return VolumeBackup(mount.source, mount.target, included, _list(said.get("path", "")))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
