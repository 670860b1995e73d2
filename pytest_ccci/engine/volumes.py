"""Volumes of a stack: pre-created bind volumes for kept data, and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from docker.errors import NotFound

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.observe import stack_filter
from pytest_ccci.errors import InfrastructureFault

__all__ = ["bind_volumes", "remove_volumes", "stack_volumes"]


def bind_volumes(engine: Engine, volumes: Mapping[str, Path], *, labels: Mapping[str, str]) -> None:
    """Make each volume (full name → directory) a bind of that directory, so that its data lives in our store.

    Docker answers ``volume create`` for an existing name with other options by silently handing out the old one
    (measured), so that what is there is looked at first.

    Raises:
        InfrastructureFault: a volume of that name exists and is another one.
    """
    for name, path in volumes.items():
        options = {"type": "none", "o": "bind", "device": str(path)}
        path.mkdir(parents=True, exist_ok=True)
        with engine_errors(f"making volume {name}"):
            there = _options_of(engine, name)
            if there is None:
                engine.client.volumes.create(name, driver="local", driver_opts=options, labels=dict(labels))
            elif there != options:
                raise InfrastructureFault(
                    "a volume of that name exists and is not ours",
                    where=name,
                    seen=f"options {there or 'none'}",
                    advice=f"look at it, then 'docker volume rm {name}'",
                )


def stack_volumes(engine: Engine, stack: str) -> tuple[str, ...]:
    """Names of the volumes that belong to ``stack``: by its label, or by its name as prefix where the label is ours."""
    with engine_errors("listing volumes"):
        labelled = engine.client.volumes.list(filters=stack_filter(stack))
        return tuple(sorted(volume.name for volume in labelled))


def remove_volumes(engine: Engine, names: tuple[str, ...]) -> None:
    """Remove volumes (for a bind volume: the name only, its directory stays); one that is gone is fine."""
    for name in names:
        with engine_errors(f"removing volume {name}"):
            try:
                engine.client.volumes.get(name).remove()
            except NotFound:
                continue


def _options_of(engine: Engine, name: str) -> dict[str, str] | None:
    try:
        return dict(engine.client.volumes.get(name).attrs.get("Options") or {})
    except NotFound:
        return None
