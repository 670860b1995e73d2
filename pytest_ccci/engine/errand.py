"""A service of our own that lives for as long as something is looked at, and is no app's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from docker.errors import NotFound
from docker.types import EndpointSpec, ServiceMode

from pytest_ccci.engine.client import Engine, engine_errors

__all__ = ["dismiss", "send_out"]


def send_out(
    engine: Engine,
    name: str,
    *,
    image: str,
    command: Sequence[str],
    env: Sequence[str],
    network: str,
    labels: Mapping[str, str],
) -> None:
    """Start the service ``name`` on ``network``, reached by its tasks' addresses; does not wait for it."""
    with engine_errors(f"starting service {name}"):
        engine.client.services.create(
            image,
            command=list(command),
            env=list(env),
            name=name,
            networks=[network],
            labels=dict(labels),
            mode=ServiceMode("replicated", 1),
            endpoint_spec=EndpointSpec(mode="dnsrr"),
            stop_grace_period=0,
        )


def dismiss(engine: Engine, label: str) -> None:
    """Remove every service with ``label`` (``name=value``); those of processes that were killed go too."""
    with engine_errors(f"removing services with {label}"):
        for service in engine.client.services.list(filters={"label": label}):
            with suppress(NotFound):
                service.remove()
