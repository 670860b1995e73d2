"""Which stateful paths of an app a snapshot covers: the rest would make a restore a lie, so it is said before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_ccci.recipe.facts import ComposeFacts, Mount, ServiceFacts, VolumeFacts
from pytest_ccci.recipe.spec import Disposable

__all__ = ["CoverageStatement", "StatefulPath", "coverage"]

_SOCKETS = ("docker.sock", "docker/docker.sock")


@dataclass(frozen=True)
class StatefulPath:
    """One path of a service that may hold state.

    ``kind``: named volume, anonymous volume, external volume, remote volume, bind, tmpfs, secret, config, docker.sock
    or cluster volume. ``blocks``: it is writable, not covered, and nobody said that it is disposable.
    """

    service: str
    target: str
    kind: str
    source: str
    writable: bool
    covered: bool
    why: str
    blocks: bool = False


@dataclass(frozen=True)
class CoverageStatement:
    """Every stateful path of an app, and the disposable entries that named none of them."""

    paths: tuple[StatefulPath, ...]
    unused: tuple[str, ...] = ()

    @property
    def blocking(self) -> tuple[StatefulPath, ...]:
        """What makes a canonical impossible."""
        return tuple(path for path in self.paths if path.blocks)

    @property
    def complete(self) -> bool:
        """Whether a snapshot holds everything that matters."""
        return not self.blocking

    @property
    def volumes(self) -> tuple[str, ...]:
        """The keys of the covered volumes, each once."""
        kept = (path.source for path in self.paths if path.covered and path.kind == "named volume")
        return tuple(dict.fromkeys(kept))


def coverage(facts: ComposeFacts, *, disposable: Iterable[Disposable] = ()) -> CoverageStatement:
    """State, for every path of every service, whether a snapshot covers it and why."""
    waived = tuple(disposable)
    paths = [path for service in facts.services.values() for path in _paths(service, facts, waived)]
    named = {path.target for path in paths} | {path.source for path in paths}
    unused = tuple(entry for each in waived if (entry := each.volume or each.path or "") not in named)
    return CoverageStatement(tuple(paths), unused)


def _paths(service: ServiceFacts, facts: ComposeFacts, waived: tuple[Disposable, ...]) -> Iterable[StatefulPath]:
    for mount in service.mounts:
        yield _mount(service.name, mount, facts.volumes, waived)
    for key in service.secrets:
        yield StatefulPath(
            service.name,
            f"/run/secrets/{key}",
            "secret",
            key,
            writable=False,
            covered=True,
            why="kept with the snapshot",
        )
    for key in service.configs:
        yield StatefulPath(service.name, key, "config", key, writable=False, covered=True, why="comes with the release")


def _mount(
    service: str, mount: Mount, volumes: Mapping[str, VolumeFacts], waived: tuple[Disposable, ...]
) -> StatefulPath:
    kind, covered, why = _judge(mount, volumes)
    writable = not mount.read_only
    reason = next((each.reason for each in waived if _names(each, mount)), None)
    matters = writable and not covered and kind not in {"tmpfs", "docker.sock", "anonymous volume"}
    if matters and reason is not None:
        why = f"{why}; disposable: {reason}"
    elif not covered and not writable:
        why = f"{why}; read-only"
    return StatefulPath(
        service, mount.target, kind, mount.source, writable, covered, why, blocks=matters and reason is None
    )


def _names(entry: Disposable, mount: Mount) -> bool:
    if entry.volume is not None:
        return mount.kind == "volume" and entry.volume == mount.source
    return entry.path == mount.target


def _judge(mount: Mount, volumes: Mapping[str, VolumeFacts]) -> tuple[str, bool, str]:
    """Kind, whether a snapshot covers it, and why."""
    if mount.kind == "tmpfs":
        return "tmpfs", False, "lives in memory, gone with every task"
    if mount.kind == "bind":
        if mount.source.endswith(_SOCKETS):
            return "docker.sock", False, "the engine's socket holds no data of the app"
        return "bind", False, "a path of the host, outside our care"
    if mount.kind != "volume":
        return f"{mount.kind} volume", False, "not on this node"
    if not mount.source:
        return "anonymous volume", False, "gone with every task"
    return _judge_volume(volumes.get(mount.source, VolumeFacts(mount.source)))


def _judge_volume(volume: VolumeFacts) -> tuple[str, bool, str]:
    if volume.external:
        return "external volume", False, "belongs to somebody else, outside our care"
    if volume.driver not in {"", "local"}:
        return "remote volume", False, f"kept by the driver {volume.driver}"
    if volume.driver_opts.get("type", "").startswith(("nfs", "cifs")):
        return "remote volume", False, "on another machine"
    if volume.driver_opts.get("type") == "tmpfs":
        return "tmpfs", False, "lives in memory, gone with every task"
    if volume.driver_opts:
        return "bind", False, "a place that the recipe chose by driver options, outside our care"
    return "named volume", True, "in every snapshot"
