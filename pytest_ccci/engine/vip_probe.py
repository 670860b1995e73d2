"""Do service VIPs work on this engine? Found out by trying, once per engine and kernel, and remembered."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import EndpointSpec, ServiceMode

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.errors import InfrastructureFault, StateDamaged
from pytest_ccci.locks import hold
from pytest_ccci.statedir import load_state, write_atomic
from pytest_ccci.waiting import Deadline, until

__all__ = ["PROBE_IMAGE", "known_vip", "load_probe", "vip_works"]

_LOG = logging.getLogger(__name__)

PROBE_IMAGE = "debian:bookworm-slim"
_LABEL = "org.pytest-ccci.probe"
_LISTEN = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 7, Listen => 9, ReuseAddr => 1) or die $!;"
    "while (my $c = $s->accept) { print $c qq(here\\n); close $c }"
)
_DIAL = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => shift, PeerPort => 7, Timeout => 3)"
    " or die qq(no answer: $@\\n); print <$s>"
)


@dataclass(frozen=True)
class Found:
    """What is kept of a probe."""

    vip: bool


def vip_works(engine: Engine, memory: Path, *, prepare: Callable[[str], object]) -> bool:
    """Whether a task reaches another by its service's virtual IP (it needs the kernel's IPVS).

    ``memory`` is a directory for what was found; ``prepare`` makes the probe's image available.
    """
    note, known = _note(engine, memory), known_vip(engine, memory)
    if known is not None:
        return known
    with hold(memory / "probe.lock", wait=120, owner={"doing": "probe the engine's network"}):
        known = known_vip(engine, memory)
        if known is not None:
            return known
        _LOG.info("engine: trying whether service VIPs work here (once per engine)")
        prepare(PROBE_IMAGE)
        works = _try(engine)
        try:
            write_atomic(note, json.dumps({"vip": works}).encode())
        except OSError as error:  # found out anew the next time
            _LOG.warning(f"engine: what was found cannot be kept in {note}: {error.strerror}")
    _LOG.info(f"engine: service VIPs {'work' if works else 'do not work: services get DNS round robin and host ports'}")
    return works


def known_vip(engine: Engine, memory: Path) -> bool | None:
    """What was found before on this engine and kernel; ``None`` when it was not tried yet, or cannot be read."""
    with suppress(StateDamaged, OSError):
        return load_probe(_note(engine, memory))
    return None


def load_probe(note: Path) -> bool | None:
    """What was found before; ``None`` when nothing was.

    Raises:
        StateDamaged: the note cannot be used.
    """
    facts = load_state(note, Found, advice="remove it: it is found out anew")
    return None if facts is None else facts.vip


def _note(engine: Engine, memory: Path) -> Path:
    ident = engine.facts.engine_id.replace(":", "")[:40]
    return memory / f"vip-{ident}-{engine.facts.version}-{os.uname().release}.json"


def _try(engine: Engine) -> bool:
    name = f"ccci-probe-{uuid.uuid4().hex[:8]}"
    labels = {_LABEL: name}
    with engine_errors("probing the engine's network"):
        network = engine.client.networks.create(name, driver="overlay", attachable=True, labels=labels)
        service = None
        try:
            service = engine.client.services.create(
                PROBE_IMAGE,
                command=["perl", "-e", _LISTEN],
                name=name,
                networks=[name],
                labels=labels,
                mode=ServiceMode("replicated", 1),
                endpoint_spec=EndpointSpec(mode="vip"),
                stop_grace_period=0,
            )
            _wait_running(service)
            return _dial(engine, name)
        finally:
            _clean(engine, service, network, name)


def _wait_running(service: Any) -> None:
    until(
        lambda: any(task["Status"]["State"] == "running" for task in service.tasks()),
        deadline=Deadline(60),
        what="the probe service to run",
    )


def _dial(engine: Engine, name: str) -> bool:
    container = engine.client.containers.create(PROBE_IMAGE, ["perl", "-e", _DIAL, name], network=name)
    try:
        container.start()
        container.wait(timeout=30)
        return bool(b"here" in container.logs(stdout=True, stderr=False))
    finally:
        container.remove(force=True)


def _clean(engine: Engine, service: Any, network: Any, name: str) -> None:
    def gone() -> bool:
        try:
            network.remove()
        except NotFound:
            return True
        except APIError:
            return False
        return not engine.client.networks.list(names=[name])

    if service is not None:
        service.remove()
    for container in engine.client.containers.list(
        all=True, filters={"label": f"com.docker.swarm.service.name={name}"}
    ):
        with suppress(NotFound, APIError):
            container.remove(force=True)
    if not until(gone, deadline=Deadline(30), what="the probe's network to be gone"):
        raise InfrastructureFault("the probe's network would not go", where=name)
