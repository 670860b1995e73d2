"""What exists on the engine of one app: the before and after of "leaves nothing"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.external import APP_LABEL
from pytest_ccci.engine.networks import networks
from pytest_ccci.engine.observe import STACK_LABEL, stack_filter

__all__ = ["Inventory", "anonymous_volumes", "app_inventory"]


@dataclass(frozen=True)
class Inventory:
    """Names of what an app owns, as ``kind name``, for example ``secret blog_db_v1``."""

    things: frozenset[str]

    def __sub__(self, other: Inventory) -> tuple[str, ...]:
        """What is here and not there, sorted."""
        return tuple(sorted(self.things - other.things))


def app_inventory(engine: Engine, stack: str, *, volumes: frozenset[str] = frozenset()) -> Inventory:
    """All that exists of ``stack``: by Docker's stack label, by ours, and by the name's prefix.

    ``volumes`` are further names to look for: anonymous volumes carry no label that would tell whose they are.
    """
    api = engine.client.api
    things: set[str] = set()
    with engine_errors(f"listing what exists of {stack}"):
        for kind, rows in (("secret", api.secrets()), ("config", api.configs()), ("service", api.services())):
            things.update(f"{kind} {row['Spec']['Name']}" for row in rows if _owns(stack, row["Spec"]))
        for network in networks(engine):
            if _owns(stack, network):
                things.add(f"network {network['Name']}")
        for volume in api.volumes()["Volumes"] or ():
            if _owns(stack, volume) or volume["Name"] in volumes:
                things.add(f"volume {volume['Name']}")
        for container in api.containers(all=True, filters=stack_filter(stack)):
            things.add(f"container {container['Names'][0].lstrip('/')}")
        for task in api.tasks(filters={**stack_filter(stack), "desired-state": "running"}):
            things.add(f"task {task['ID']}")
    return Inventory(frozenset(things))


def anonymous_volumes(engine: Engine, stack: str) -> frozenset[str]:
    """Names of the volumes that the stack's containers mount and that carry no name of the stack."""
    names: set[str] = set()
    with engine_errors(f"looking at the mounts of {stack}"):
        for container in engine.client.api.containers(all=True, filters=stack_filter(stack)):
            for mount in container.get("Mounts") or ():
                if mount.get("Type") == "volume" and not mount["Name"].startswith(f"{stack}_"):
                    names.add(mount["Name"])
    return frozenset(names)


def _owns(stack: str, thing: dict[str, Any]) -> bool:
    labels = thing.get("Labels") or {}
    if stack in {labels.get(STACK_LABEL), labels.get(APP_LABEL)}:
        return True
    return str(thing["Name"]).startswith(f"{stack}_")
