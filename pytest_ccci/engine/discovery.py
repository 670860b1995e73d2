"""Which engine: what the environment names → the default socket → our own private engine → an error that helps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pytest_ccci.engine import daemon
from pytest_ccci.engine.client import Engine, connect, engine_errors, find_cli
from pytest_ccci.errors import EngineUnavailable, ProgramFailed
from pytest_ccci.locks import Tell
from pytest_ccci.process import run
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir

__all__ = ["find_engine", "named_host"]

_DEFAULT_SOCKET = Path("/var/run/docker.sock")


def find_engine(settings: Settings, state: StateDir, tell: Tell) -> Engine:
    """The engine to use, connected, with the address under which its tasks reach this machine.

    Raises:
        EngineUnavailable: there is none and none can be started, or the one there is no Swarm manager.
    """
    host = named_host(settings)
    if host:
        engine = connect(host)
    elif _DEFAULT_SOCKET.is_socket() and _answers(f"unix://{_DEFAULT_SOCKET}"):
        engine = connect(f"unix://{_DEFAULT_SOCKET}")
    else:
        engine = _private(state, tell)
    _require_manager(engine)
    return replace(engine, facts=replace(engine.facts, gateway=_gateway(engine)))


def named_host(settings: Settings) -> str:
    """The engine that ``DOCKER_HOST`` or the Docker context names; empty for the default."""
    host = settings.environment.get("DOCKER_HOST", "")
    if host:
        return host
    try:
        cli, _ = find_cli()
        told = run([cli, "context", "inspect"], timeout=20).stdout
        host = str(json.loads(told)[0]["Endpoints"]["docker"]["Host"])
    except (EngineUnavailable, ProgramFailed, ValueError, LookupError):
        return ""
    return "" if host == f"unix://{_DEFAULT_SOCKET}" else host


def _answers(host: str) -> bool:
    try:
        connect(host).client.close()
    except EngineUnavailable:
        return False
    return True


def _private(state: StateDir, tell: Tell) -> Engine:
    reason = daemon.possible()
    if reason:
        raise EngineUnavailable(
            f"no Docker engine answers, and a private one cannot be started: {reason}",
            seen=f"neither DOCKER_HOST nor a Docker context is set, and {_DEFAULT_SOCKET} does not answer",
            advice="either start a Docker engine (and 'docker swarm init') or point DOCKER_HOST at one; "
            "or run as root, where 'ccci setup' installs what a private engine needs",
        )
    return daemon.attach_or_start(state.engine, tell=tell)


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
