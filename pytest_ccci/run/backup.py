"""Backs an app up and restores it as its backupbot labels say, the way an operator's backup does it.

Hooks run inside the service's running container by its own shell, as backupbot runs them. What is backed up are the
files of the stack's volumes, each once, at a service that mounts it; each path is kept as a tar beside the run.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docker.errors import NotFound

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.containers import container_of, exec_in
from pytest_ccci.engine.inspect import ServiceState, inspect_stack, running_tasks
from pytest_ccci.errors import BackupFailed, CcciError, DeadlineExceeded
from pytest_ccci.recipe.backup_labels import BackupPlan, Place, ServiceBackup, VolumeBackup
from pytest_ccci.run.app import App

__all__ = ["Archive", "take_backup", "write_back"]

_LOG = logging.getLogger(__name__)
_HOOK_TIMEOUT = 600.0
_TAIL = 600


@dataclass(frozen=True)
class Archive:
    """A path at a service as it was backed up: a tar file of ``size`` bytes holding ``files`` files.

    ``mounted_by`` are all services that see the same files; ``read_only``: none of them may write there.
    """

    service: str
    path: str
    tar: Path
    files: int
    size: int
    mounted_by: tuple[str, ...] = ()
    read_only: bool = False


def take_backup(app: App, plan: BackupPlan, into: Path) -> tuple[Archive, ...]:
    """Run all pre-hooks, archive each volume once, run all post-hooks; hooks in the order of their services' names.

    After a failure the rest is left out but for the post-hooks, which all run: what a pre-hook began they end.
    A volume may be empty: what must be in an archive is known of a sentinel, when it is restored, and of a pre-hook.

    Raises:
        BackupFailed: a hook ended with an error or left nothing to back up, or a path is missing: the first of these.
    """
    try:
        for service in plan.services:
            _hook(app, service, service.pre_hook, "backup pre-hook")
        archives = tuple(_archives(app, plan, into))
        _require_some(app, plan, archives)
    except BaseException:
        for failure in _post_hooks(app, plan):
            _LOG.warning("after the failure of the backup: %s", failure)
        raise
    failures = _post_hooks(app, plan)
    for failure in failures[1:]:
        _LOG.warning("after the failure of another hook: %s", failure)
    if failures:
        raise failures[0]
    return archives


def write_back(app: App, plan: BackupPlan, archives: Iterable[Archive]) -> None:
    """Restore: all pre-hooks, the archived files, all post-hooks; after a failure nothing more.

    Raises:
        BackupFailed: a hook ended with an error, or a path cannot be written.
    """
    for service in plan.services:
        _hook(app, service, service.restore_pre, "restore pre-hook")
    for archive in archives:
        if not archive.read_only:
            _unpack(app, archive)
    for service in plan.services:
        _hook(app, service, service.restore_post, "restore post-hook")


def _post_hooks(app: App, plan: BackupPlan) -> list[CcciError]:
    """Run the post-hooks, all of them, and return what failed."""
    failed: list[CcciError] = []
    for service in plan.services:
        try:
            _hook(app, service, service.post_hook, "backup post-hook")
        except CcciError as error:
            failed.append(error)
    return failed


def _archives(app: App, plan: BackupPlan, into: Path) -> Iterator[Archive]:
    """Archive the volumes, then the older paths that are in none."""
    states = {state.name: state for state in inspect_stack(app.engine, app.stack).services}
    number = 0
    for volume in plan.volumes:
        place = _place(volume, states)
        mounted_by = tuple(dict.fromkeys(each.service for each in volume.places))
        if place is None:
            who = ", ".join(mounted_by)
            _LOG.warning("volume %s is not backed up: no service that mounts it runs (%s)", volume.volume, who)
            continue
        for path in volume.paths or ("",):
            yield _archive(app, place, path, into / f"{number:04}.tar", mounted_by)
            number += 1
    for place in plan.paths:
        yield _archive(app, place, "", into / f"{number:04}.tar", (place.service,))
        number += 1


def _place(volume: VolumeBackup, states: dict[str, ServiceState]) -> Place | None:
    """Where the volume is read; ``None`` where no service that mounts it runs, or is meant to."""
    meant = [place for place in volume.places if _stays_up(states.get(place.service))]
    running = [place for place in volume.places if _runs(states.get(place.service))]
    return next(iter((*running, *meant)), None)


def _runs(state: ServiceState | None) -> bool:
    return state is not None and bool(running_tasks(state))


def _stays_up(state: ServiceState | None) -> bool:
    """Whether something of a service should run all the time."""
    return state is None or (state.wanted > 0 and not state.job and state.restart == "any")


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


def _archive(app: App, place: Place, inner: str, target: Path, mounted_by: tuple[str, ...]) -> Archive:
    """Archive ``inner`` below ``place`` as ``target``.

    Its name is a number: of names made from paths two may be one, or too long.
    """
    service, path = place.service, str(PurePosixPath(place.path, inner))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with engine_errors(f"reading {path} of service {service}"):
        try:
            stream, _ = app.engine.client.api.get_archive(container_of(app.engine, app.stack, service), path)
        except NotFound as error:
            raise BackupFailed(
                f"{path} does not exist in service {service}", where=app.stack, advice="see backupbot.backup.*path"
            ) from error
        try:
            with target.open("wb") as sink:
                for chunk in stream:
                    sink.write(chunk)
        except OSError:  # what it takes of a disk that is full is needed for the result
            target.unlink()
            raise
    try:
        if place.inside:
            _leave_out(target, PurePosixPath(path).parent, place.inside)
        files, size = _measure(target)
    except tarfile.ReadError as error:  # Docker ends an archive in the middle when a file became shorter meanwhile
        raise BackupFailed(
            f"{path} of service {service} changed while it was read",
            where=app.stack,
            seen=f"an archive that ends too early ({error})",
            advice="let a pre-hook make a dump, and narrow the volume to it (backupbot.backup.volumes.NAME.path)",
        ) from error
    return Archive(service, path, target, files, size, mounted_by, place.read_only)


def _leave_out(tar: Path, parent: PurePosixPath, mounts: tuple[str, ...]) -> None:
    """Remove from an archive of something in ``parent`` what lies in ``mounts``, which Docker's archives go into."""
    whole = tar.rename(tar.with_suffix(".whole"))
    with tarfile.open(whole) as source, tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as kept:
        for member in source:
            if not any((parent / member.name).is_relative_to(mount) for mount in mounts):
                kept.addfile(member, source.extractfile(member) if member.isreg() else None)
    whole.unlink()


def _require_some(app: App, plan: BackupPlan, archives: tuple[Archive, ...]) -> None:
    """Refuse archives in which nothing is, at all or after a hook that was to put something there.

    A hook is taken to write into the volumes of its own service, or of any where that has none.
    """
    if not archives:
        raise BackupFailed(
            "the backup labels name nothing to back up", where=app.stack, advice="see backupbot.backup.*"
        )
    for service in plan.services:
        own = [archive for archive in archives if service.service in archive.mounted_by] or list(archives)
        if service.pre_hook and not any(archive.size for archive in own):
            at_home = all(archive.service == service.service for archive in own)
            raise BackupFailed(
                f"the backup of {', '.join(f'{archive.path} of service {archive.service}' for archive in own)} is "
                f"empty after {'its hook' if at_home else f'the hook of service {service.service}'}",
                where=app.stack,
                seen=f"{sum(archive.files for archive in own)} files, 0 bytes",
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
