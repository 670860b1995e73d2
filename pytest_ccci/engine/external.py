"""What a stack expects to exist before it is deployed: its secrets, and the overlay network of the proxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from pytest_ccci.engine.client import Engine, engine_errors

__all__ = ["APP_LABEL", "ensure_config", "ensure_network", "insert_secrets", "present_secrets", "remove_app_objects"]

APP_LABEL = "org.pytest-ccci.app"
"""On all that we make for one app: its stack's name."""

_CONFLICT = 409


def present_secrets(engine: Engine) -> frozenset[str]:
    """Names of all secrets of the Swarm."""
    with engine_errors("listing secrets"):
        return frozenset(secret["Spec"]["Name"] for secret in engine.client.api.secrets())


def insert_secrets(engine: Engine, stack: str, values: Mapping[str, str]) -> None:
    """Insert secrets (full name → value). Their values are never logged."""
    for name, value in values.items():
        with engine_errors(f"inserting secret {name}"):
            engine.client.api.create_secret(name, value.encode(), labels={APP_LABEL: stack})


def ensure_config(engine: Engine, name: str, data: bytes, *, labels: Mapping[str, str]) -> None:
    """Make sure a config of that name exists. Configs are immutable: the name must change with the content."""
    with engine_errors(f"making config {name}"):
        if any(c["Spec"]["Name"] == name for c in engine.client.api.configs(filters={"name": name})):
            return
        try:
            engine.client.api.create_config(name, data, labels=dict(labels))
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise


def ensure_network(engine: Engine, name: str, *, subnet: str, labels: Mapping[str, str]) -> None:
    """Make sure the attachable overlay network exists; its /16 is room for many apps."""
    with engine_errors(f"making network {name}"):
        if any(network["Name"] == name for network in engine.client.api.networks(names=[name])):
            return
        try:
            engine.client.api.create_network(
                name,
                driver="overlay",
                attachable=True,
                scope="swarm",
                ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]),
                labels=dict(labels),
            )
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise


def remove_app_objects(engine: Engine, stack: str, *, filters: Iterable[str]) -> None:
    """Remove the secrets and configs of ``stack`` that carry one of the labels in ``filters``."""
    with engine_errors(f"removing secrets and configs of {stack}"):
        for label in filters:
            for secret in engine.client.api.secrets(filters={"label": f"{label}={stack}"}):
                engine.client.api.remove_secret(secret["ID"])
            for config in engine.client.api.configs(filters={"label": f"{label}={stack}"}):
                engine.client.api.remove_config(config["ID"])
