"""Which engine: the environment, the default socket, else our own private engine, which is started and stopped here."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_ccci import process, web
from pytest_ccci.engine.client import Engine, connect, engine_errors, find_cli
from pytest_ccci.errors import DeadlineExceeded, EngineUnavailable, InfrastructureFault, ProgramFailed
from pytest_ccci.locks import hold
from pytest_ccci.process import run
from pytest_ccci.settings import Settings, current_environment
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

__all__ = [
    "NamedEngine",
    "attach_or_start",
    "find_engine",
    "forget_orphan",
    "inspect_engine",
    "is_private",
    "mounts_below",
    "named_engine",
    "named_host",
    "possible",
    "remove",
    "running_pid",
    "socket_of",
    "stop",
]

_LOG = logging.getLogger(__name__)

_LONGEST_SOCKET = 100
_START = 60.0
_STOP = 60.0
_ORPHAN = 15.0
_LOCAL = "127.0.0.1"
_SWARM_PORT = 2377
_DATA_PATH_PORT = 4789
_DATA_PATH_PORTS = range(20_000, 49_152)
"""Where else the tunnels of overlay networks may go: Docker takes 1024 to 49151 (dockerd's --data-path-port)."""
_NET = Path("/sys/class/net")
_BRIDGES = ("docker0", "docker_gwbridge")
_VXLAN = re.compile(r"vx-[0-9a-f]{6}-[0-9a-z]{5}")
"""As Docker names the tunnel of an overlay network. It is made here, down, and moved at once to where it is used."""
_UP = 0x1


def socket_of(directory: Path) -> Path:
    """The socket of the engine in ``directory``; elsewhere when the path would be too long for a socket (108 bytes)."""
    path = directory / "docker.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    return Path("/run") / f"ccci-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}" / "docker.sock"


def possible() -> str:
    """Empty when a private engine can be started here, else why not."""
    if os.geteuid() != 0:
        return "only root can start one"
    missing = [name for name in ("dockerd", "containerd", "runc", "iptables") if process.which(name) is None]
    return f"not installed: {', '.join(missing)} (ccci setup installs them)" if missing else ""


def running_pid(directory: Path) -> int | None:
    """The pid of the engine in ``directory`` if it runs."""
    try:
        pid = int((directory / "docker.pid").read_text(encoding="ascii").strip())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(directory / "data") in words and process.alive(pid) else None


def attach_or_start(directory: Path) -> Engine:
    """The private engine in ``directory``: attached to if it runs, else started; a Swarm manager either way.

    Raises:
        EngineUnavailable: it did not come up, which shows the end of its log; or another one is a Swarm here already.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with hold(directory.parent / "engine.lock", wait=_START * 2, owner={"doing": "start the private engine"}):
        pid = running_pid(directory)
        if pid is None:
            _refuse_a_second()
            for name in _delete(_orphaned_tunnels()):
                _LOG.info(f"engine: removed the interface {name}, left by an engine that died")
            _LOG.info("engine: starting a private Docker engine")
            pid = _start(directory)
        return _swarm(_wait_ready(directory, pid))


def stop(directory: Path) -> bool:
    """Stop the private engine and wait until it is gone; whether there was one."""
    pid = running_pid(directory)
    if pid is None:
        return False
    process.terminate(pid)
    try:
        until(lambda: not process.alive(pid), deadline=Deadline(_STOP), what="the private engine to stop")
    except DeadlineExceeded:
        process.terminate(pid, force=True)
        until(lambda: not process.alive(pid), deadline=Deadline(_STOP), what="the private engine to die")
    return True


def remove(directory: Path) -> None:
    """Stop the private engine and remove all that is of it: data, mounts, bridges and tunnels."""
    if running_pid(directory) is not None:
        engine = connect(f"unix://{socket_of(directory)}", private=True)
        _LOG.info("engine: leaving the swarm")
        engine.client.swarm.leave(force=True)
        engine.client.close()
    if stop(directory):
        _LOG.info("engine: stopped")
    _end_containers(directory)
    _unmount_below(directory)
    if not _another_is_here():  # another engine's are called the same
        _delete([*(name for name in _BRIDGES if (_NET / name).exists()), *_orphaned_tunnels()])
    socket = socket_of(directory)
    if socket.parent != directory:
        shutil.rmtree(socket.parent, ignore_errors=True)
    if directory.exists():
        shutil.rmtree(directory)


def _end_containers(directory: Path) -> None:
    """End what an engine that died has left running: each container's shim lives on, and the container with it."""
    doomed: list[int] = []
    for shim in _shims(directory):
        for thread in Path(f"/proc/{shim}/task").glob("*/children"):
            with suppress(OSError):  # it ended meanwhile
                doomed += map(int, thread.read_text(encoding="ascii").split())
        doomed.append(shim)
    if doomed:
        _LOG.info("engine: ending the containers that it left when it died")
    for pid in doomed:
        process.terminate(pid, force=True)
    gone = "containers of a dead engine to end"
    until(lambda: not any(map(process.alive, doomed)), deadline=Deadline(_STOP), what=gone)


def _shims(directory: Path) -> Iterator[int]:
    """The shims that the containerd of the engine in ``directory`` started; they name its socket."""
    socket = os.fsencode(directory / "exec" / "containerd" / "containerd.sock")
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if socket in words and any(b"containerd-shim" in word for word in words):
                yield int(entry.name)


def _orphaned_tunnels() -> list[str]:
    """Tunnels of overlay networks that an engine made and died before it used them, where no other engine is here.

    No later engine can make a network of the same number beside one (20.10: "error creating vxlan interface: file
    exists"), so that its services never start.
    """
    found = [path for path in _NET.glob("vx-*") if _VXLAN.fullmatch(path.name)]
    return sorted(path.name for path in found if not int((path / "flags").read_text(encoding="ascii"), 16) & _UP)


def _delete(names: Sequence[str]) -> Sequence[str]:
    """Delete network interfaces; give back their names."""
    if process.which("ip") is None:
        return ()
    for name in names:
        process.run(["ip", "link", "delete", name], timeout=20, check=False)
    return names


def _another_is_here() -> bool:
    """Whether something listens where a Swarm manager of this machine does."""
    return web.is_open(_LOCAL, _SWARM_PORT)


def _refuse_a_second() -> None:
    """Two engines would take bridges, ports and packet filters away from each other, also the one that only tries."""
    if _another_is_here():
        raise EngineUnavailable(
            "no private engine is started: another Docker engine is a Swarm manager on this machine",
            where=f"{_LOCAL}:{_SWARM_PORT}",
            advice="use that one (DOCKER_HOST=unix://…, for a private one engine/docker.sock in its state directory), "
            "or stop it (CCCI_STATE_DIR=… ccci engine stop)",
        )


def _start(directory: Path) -> int:
    (directory / "docker.pid").unlink(missing_ok=True)
    forget_orphan(directory)
    socket = socket_of(directory)
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.unlink(missing_ok=True)
    return process.spawn(
        [
            *("dockerd", "--host", f"unix://{socket}"),
            *("--data-root", directory / "data", "--exec-root", directory / "exec"),
            *("--pidfile", directory / "docker.pid", "--storage-driver", "overlay2"),
        ],
        log=directory / "dockerd.log",
        # It starts containerd, runc and iptables itself, and finds them by its own PATH.
        env={**current_environment(), "PATH": process.search_path()},
    )


def forget_orphan(directory: Path, *, patience: float = _ORPHAN) -> None:
    """Wait for the containerd of a killed engine to be gone, and remove its pid file.

    A new dockerd that finds that pid takes a containerd that is about to die (the kernel ends it with its parent), or
    one that is dead and was not reaped, for its own, and gives up after 15 s (measured on 20.10). One that lives on is
    left: dockerd attaches to it.
    """
    note = directory / "exec" / "containerd" / "containerd.pid"
    try:
        pid = int(note.read_text(encoding="ascii").strip())
        ours = os.fsencode(directory) in Path(f"/proc/{pid}/cmdline").read_bytes()
        if ours:
            until(lambda: not process.alive(pid), deadline=Deadline(patience), what="an orphaned containerd to end")
    except DeadlineExceeded:
        return
    except (OSError, ValueError):
        pass  # no note, or nobody with that pid: what is noted is not there
    note.unlink(missing_ok=True)


def _wait_ready(directory: Path, pid: int) -> Engine:
    socket = socket_of(directory)

    def answers() -> Engine | None:
        try:
            return connect(f"unix://{socket}", private=True) if socket.exists() or not process.alive(pid) else None
        except EngineUnavailable:
            if process.alive(pid):
                return None
            raise _died(directory) from None

    try:
        return until(answers, deadline=Deadline(_START), what="the private engine to answer", every=0.1)
    except DeadlineExceeded as error:
        raise _died(directory) from error


def _died(directory: Path) -> EngineUnavailable:
    log = (directory / "dockerd.log").read_text(encoding="utf-8", errors="replace")
    return EngineUnavailable("the private engine did not come up", where=str(directory), seen=log[-1500:])


def _swarm(engine: Engine) -> Engine:
    state = engine.client.info()["Swarm"]["LocalNodeState"]
    if state == "active":
        return engine
    try:
        engine.client.swarm.init(
            advertise_addr=_LOCAL, listen_addr=f"{_LOCAL}:{_SWARM_PORT}", data_path_port=_free_data_path_port()
        )
    except Exception as error:
        raise EngineUnavailable("the private engine cannot be made a Swarm", seen=str(error)) from error
    return engine


def _free_data_path_port() -> int:
    """The UDP port for the tunnels of overlay networks: Docker's own (4789), or another when that is held.

    Who holds it may be seen by nobody: the tunnels of an engine that died live on in network namespaces of theirs, and
    on the same port no later engine can make a network of the same number (20.10: "error creating vxlan interface:
    file exists"), so that none of its services starts.
    """
    others = random.sample(_DATA_PATH_PORTS, 100)
    return next((port for port in (_DATA_PATH_PORT, *others) if not web.udp_port_is_held(port)), _DATA_PATH_PORT)


def _unmount_below(directory: Path) -> None:
    """Unmount everything below, and see that it is gone: what is mounted there may be a canonical's live volume.

    Raises:
        InfrastructureFault: something stays mounted; nothing may be removed then.
    """
    for mount in mounts_below(directory):
        process.run(["umount", "--lazy", mount], timeout=20, check=False)
    left = mounts_below(directory)
    if left:
        raise InfrastructureFault(
            "the private engine's directory is not removed: something is still mounted in it",
            where=str(directory),
            seen=", ".join(left[:3]),
            advice="see what uses it (fuser -m), then umount it",
        )


def mounts_below(directory: Path, *, table: Path = Path("/proc/self/mountinfo")) -> tuple[str, ...]:
    """Everything that is mounted below ``directory``, the innermost first (proc(5) writes blanks in octal)."""
    rows = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    places = (re.sub(r"\\([0-7]{3})", lambda hit: chr(int(hit[1], 8)), row.split()[4]) for row in rows)
    return tuple(sorted((place for place in places if place.startswith(f"{directory}/")), reverse=True))


_DEFAULT_SOCKET = Path("/var/run/docker.sock")


def find_engine(settings: Settings, state: StateDir) -> Engine:
    """The engine to use, connected, with the address under which its tasks reach this machine.

    Raises:
        EngineUnavailable: there is none and none can be started, or the one there is no Swarm manager.
    """
    named = named_engine(settings)
    if named:
        engine = _connect_named(named, settings)
        if engine.socket_path is None:
            _LOG.info(
                f"engine: {named.host} is not on this machine: every run is cold, and nothing is kept warm in a store"
            )
    elif _DEFAULT_SOCKET.is_socket() and _answers(f"unix://{_DEFAULT_SOCKET}"):
        engine = connect(f"unix://{_DEFAULT_SOCKET}")
    else:
        engine = _private(state)
    _require_manager(engine)
    return replace(engine, facts=replace(engine.facts, gateway=_gateway(engine)))


def inspect_engine(settings: Settings, state: StateDir) -> Engine:
    """The engine to use, if it runs; nothing is started, locked or made.

    Raises:
        EngineUnavailable: it does not answer, or it is no Swarm manager.
    """
    named = named_engine(settings)
    if named:
        engine = _connect_named(named, settings)
    elif _DEFAULT_SOCKET.is_socket() and _answers(f"unix://{_DEFAULT_SOCKET}"):
        engine = connect(f"unix://{_DEFAULT_SOCKET}")
    else:
        engine = connect(f"unix://{socket_of(state.engine)}", private=True)
    _require_manager(engine)
    return replace(engine, facts=replace(engine.facts, gateway=_gateway(engine)))


@dataclass(frozen=True)
class NamedEngine:
    """The engine that the environment names. ``tls`` are the variables that make the Docker CLI use its TLS."""

    host: str
    tls: Mapping[str, str] = field(default_factory=dict)


def _connect_named(named: NamedEngine, settings: Settings) -> Engine:
    """Connect to an engine that is named by its address: it is private where it is one of ours all the same."""
    environment = {**settings.environment, **named.tls}
    return connect(named.host, private=is_private(named.host), environment=environment)


def is_private(host: str) -> bool:
    """Whether the engine at ``host`` is a private one of ours: it runs in its socket's folder, as we start them."""
    path = Path(host.removeprefix("unix://"))
    return host.startswith("unix:///") and path.name == "docker.sock" and running_pid(path.parent) is not None


def named_host(settings: Settings) -> str:
    """The address that ``DOCKER_HOST`` or the Docker context names; empty for the default."""
    named = named_engine(settings)
    return named.host if named else ""


def named_engine(settings: Settings) -> NamedEngine | None:
    """The engine that ``DOCKER_HOST``, else the Docker context names, with its TLS; ``None`` for the default one."""
    host = settings.environment.get("DOCKER_HOST", "")
    if host:
        return NamedEngine(host)
    try:
        cli, _ = find_cli()
        told = json.loads(run([cli, "context", "inspect"], timeout=20, env=dict(settings.environment)).stdout)[0]
        endpoint = told["Endpoints"]["docker"]
        host = str(endpoint["Host"])
    except (EngineUnavailable, ProgramFailed, DeadlineExceeded, ValueError, LookupError, TypeError):
        return None
    if not host or host == f"unix://{_DEFAULT_SOCKET}":
        return None
    return NamedEngine(host, _context_tls(told, skip=bool(endpoint.get("SkipTLSVerify"))))


def _context_tls(told: Mapping[str, Any], *, skip: bool) -> Mapping[str, str]:
    """A context keeps its certificates in a folder of its own, under the names that ``DOCKER_CERT_PATH`` asks for."""
    if not (told.get("TLSMaterial") or {}).get("docker"):
        return {}
    folder = str(Path(told["Storage"]["TLSPath"], "docker"))
    return {"DOCKER_CERT_PATH": folder, "DOCKER_TLS" if skip else "DOCKER_TLS_VERIFY": "1"}


def _answers(host: str) -> bool:
    try:
        connect(host).client.close()
    except EngineUnavailable:
        return False
    return True


def _private(state: StateDir) -> Engine:
    # One that runs is attached to, whether or not this user could start it.
    reason = "" if running_pid(state.engine) is not None else possible()
    if reason:
        raise EngineUnavailable(
            f"no Docker engine answers, and a private one cannot be started: {reason}",
            seen=f"neither DOCKER_HOST nor a Docker context is set, and {_DEFAULT_SOCKET} does not answer",
            advice="either start a Docker engine (and 'docker swarm init') or point DOCKER_HOST at one; "
            "or run as root, where 'ccci setup' installs what a private engine needs",
        )
    return attach_or_start(state.engine)


def _require_manager(engine: Engine) -> None:
    with engine_errors("asking for the Swarm's state"):
        swarm = engine.client.info()["Swarm"]
    if swarm["LocalNodeState"] != "active" or not swarm.get("ControlAvailable"):
        raise EngineUnavailable(
            "the engine is not a Swarm manager",
            where=engine.host,
            seen=f"Swarm: {swarm['LocalNodeState']}",
            advice="run 'docker swarm init' there, or point DOCKER_HOST at a manager",
        )


def _gateway(engine: Engine) -> str:
    with engine_errors("looking for the gateway bridge"):
        for network in engine.client.networks.list(names=["docker_gwbridge"]):
            for block in network.attrs.get("IPAM", {}).get("Config") or ():
                if block.get("Gateway"):
                    return str(block["Gateway"])
    return ""
