"""Backs an app up and restores it as its backupbot labels say, the way an operator's backup does it.

Hooks run inside the service's running container by its own shell, as backupbot runs them. What is backed up are the
files of the labelled paths of its volumes; each is kept as a tar beside the run.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docker.errors import NotFound

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.containers import container_of, exec_in
from pytest_ccci.errors import BackupFailed, DeadlineExceeded
from pytest_ccci.recipe.backup_labels import BackupPlan, ServiceBackup
from pytest_ccci.run.app import App

__all__ = ["Archive", "archived_paths", "take_backup", "write_back"]

_HOOK_TIMEOUT = 600.0
_TAIL = 600


@dataclass(frozen=True)
class Archive:
    """One path of one service as it was backed up: a tar file of ``size`` bytes holding ``files`` files."""

    service: str
    path: str
    tar: Path
    files: int
    size: int


def take_backup(app: App, plan: BackupPlan, into: Path) -> tuple[Archive, ...]:
    """Run the pre-hooks, archive every labelled path, run the post-hooks.

    A volume may be empty: what must be in an archive is known of a sentinel, when it is restored, and of a pre-hook.

    Raises:
        BackupFailed: a hook ended with an error or left nothing to back up, or a path is missing.
    """
    archives: list[Archive] = []
    for service in plan.services:
        _hook(app, service, service.pre_hook, "backup pre-hook")
        first = len(archives)
        try:
            for path in archived_paths(service):
                archives.append(_archive(app, service.service, path, into / f"{len(archives):04}.tar"))
        finally:
            _hook(app, service, service.post_hook, "backup post-hook")
        _require_some(app, service, archives[first:])
    if not archives:
        raise BackupFailed(
            "the backup labels name nothing to back up", where=app.stack, advice="see backupbot.backup.*"
        )
    return tuple(archives)


def write_back(app: App, plan: BackupPlan, archives: tuple[Archive, ...]) -> None:
    """Restore: the pre-hooks, the archived files, the post-hooks.

    Raises:
        BackupFailed: a hook ended with an error, or a path cannot be written.
    """
    for service in plan.services:
        _hook(app, service, service.restore_pre, "restore pre-hook")
        for archive in archives:
            if archive.service == service.service:
                _unpack(app, archive)
        _hook(app, service, service.restore_post, "restore post-hook")


def archived_paths(service: ServiceBackup) -> tuple[str, ...]:
    """Absolute paths in the container that are backed up: included volumes, whole or narrowed, and legacy ones."""
    inside = [
        str(PurePosixPath(volume.target, path))
        for volume in service.volumes
        if volume.included
        for path in (volume.paths or ("",))
    ]
    return (*inside, *service.paths)


def _hook(app: App, service: ServiceBackup, command: str, what: str) -> None:
    if not command:
        return
    advice = f"the hook is: {command}"
    try:
        done = exec_in(app.engine, app.stack, service.service, ["sh", "-c", command], timeout=_HOOK_TIMEOUT)
    except DeadlineExceeded as error:
        raise BackupFailed(
            f"{what} of service {service.service} does not end", where=app.stack, seen=str(error), advice=advice
        ) from error
    if done.rc != 0:
        raise BackupFailed(
            f"{what} of service {service.service} ended with exit status {done.rc}",
            where=app.stack,
            seen=(done.stderr or done.stdout).strip()[-_TAIL:] or "it printed nothing",
            advice=advice,
        )


def _archive(app: App, service: str, path: str, target: Path) -> Archive:
    """Archive ``path`` as ``target``. Its name is a number: of names made from paths two may be one, or too long."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with engine_errors(f"reading {path} of service {service}"):
        try:
            stream, _ = app.engine.client.api.get_archive(container_of(app.engine, app.stack, service), path)
        except NotFound as error:
            raise BackupFailed(
                f"{path} does not exist in service {service}", where=app.stack, advice="see backupbot.backup.*path"
            ) from error
        with target.open("wb") as sink:
            for chunk in stream:
                sink.write(chunk)
    files, size = _measure(target)
    return Archive(service, path, target, files, size)


def _require_some(app: App, service: ServiceBackup, archives: list[Archive]) -> None:
    """Refuse archives in which nothing is after a hook that was to put something there."""
    if service.pre_hook and archives and not any(archive.size for archive in archives):
        raise BackupFailed(
            f"the backup of {', '.join(archive.path for archive in archives)} of service {service.service} is empty "
            "after its hook",
            where=app.stack,
            seen=f"{sum(archive.files for archive in archives)} files, 0 bytes",
            advice=f"the hook is: {service.pre_hook}",
        )


def _measure(path: Path) -> tuple[int, int]:
    with tarfile.open(path) as archive:
        sizes = [member.size for member in archive if member.isfile()]
    return len(sizes), sum(sizes)


def _unpack(app: App, archive: Archive) -> None:
    parent = str(Path(archive.path).parent)
    with engine_errors(f"writing {archive.path} of service {archive.service}"):
        container = container_of(app.engine, app.stack, archive.service)
        with archive.tar.open("rb") as source:
            done = app.engine.client.api.put_archive(container, parent, source)
    if not done:
        raise BackupFailed(f"{archive.path} of service {archive.service} could not be restored", where=app.stack)
