"""A look at the engine that starts nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine, connect
from pytest_ccci.engine.discovery import find_engine, named_host
from pytest_ccci.engine.vip_probe import vip_works
from pytest_ccci.errors import CcciError, EngineUnavailable, Refused
from pytest_ccci.locks import silent
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir

__all__ = ["engine_at_hand", "known_vip", "source_of"]

_DEFAULT_SOCKET = Path("/var/run/docker.sock")


def engine_at_hand(settings: Settings, state: StateDir) -> Engine:
    """The engine that runs would use, if it answers now.

    Raises:
        EngineUnavailable: none answers, or it is no Swarm manager.
    """
    if not source_of(settings, state):
        raise EngineUnavailable(
            "no Docker engine is running", advice="ccci setup starts one, or point DOCKER_HOST at one"
        )
    engine = find_engine(settings, state, silent)
    vip = known_vip(engine, state)
    return engine if vip is None else replace(engine, facts=replace(engine.facts, vip=vip))


def source_of(settings: Settings, state: StateDir) -> str:
    """What names the engine that runs would use, for people; empty when they would start a private one."""
    host = named_host(settings)
    if host:
        variable = bool(settings.environment.get("DOCKER_HOST"))
        return f"DOCKER_HOST={host}" if variable else f"the Docker context ({host})"
    if _DEFAULT_SOCKET.is_socket() and _answers():
        return str(_DEFAULT_SOCKET)
    return f"private, in {state.engine}" if discovery.running_pid(state.engine) is not None else ""


def known_vip(engine: Engine, state: StateDir) -> bool | None:
    """Whether service VIPs work, as it was found out before; ``None`` when it was not."""
    memory = state.root / "engines"
    if not any(memory.glob(f"vip-{engine.facts.engine_id.replace(':', '')[:40]}-*")):
        return None

    def refuse(image: str) -> object:
        raise Refused(f"not tried yet ({image})")

    try:
        return vip_works(engine, memory, prepare=refuse, tell=silent)
    except CcciError:
        return None


def _answers() -> bool:
    try:
        connect(f"unix://{_DEFAULT_SOCKET}").client.close()
    except EngineUnavailable:
        return False
    return True
