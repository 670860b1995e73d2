"""Networks, volumes, secrets and configs of a stack, and the inventory of all that exists of an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.inspect import STACK_LABEL, stack_filter
from pytest_ccci.errors import InfrastructureFault, LeftBehind
from pytest_ccci.recipe.coverage import Nodes
from pytest_ccci.redact import SECRETS
from pytest_ccci.waiting import Deadline, until

__all__ = [
    "APP_LABEL",
    "Inventory",
    "Thing",
    "anonymous_volumes",
    "app_inventory",
    "bind_volumes",
    "check_bound",
    "engine_things",
    "ensure_config",
    "ensure_network",
    "insert_secrets",
    "is_gone",
    "networks",
    "nodes_of",
    "post_service",
    "present_secrets",
    "published_ports",
    "reaches_engine",
    "remove_app_objects",
    "remove_volumes",
    "require_stopped",
    "stack_volumes",
    "volume_places",
]

_PATIENCE = 10.0


def is_gone(error: APIError) -> bool:
    """Whether the engine says that the very thing is not there, by status or, from deep inside of Swarm, by words."""
    return error.status_code == 404 or "not found" in str(error.explanation or "")  # noqa: PLR2004  HTTP's own number


def networks(engine: Engine, *, filters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """What ``GET /networks`` says, asked again when one of them goes in the middle: the whole list is refused then.

    Raises:
        DeadlineExceeded: it was refused for that reason for 10 s.
    """
    refused: list[str] = []

    def listed() -> tuple[list[dict[str, Any]]] | None:
        try:
            return (list(engine.client.api.networks(filters=dict(filters or {}))),)
        except APIError as error:
            if not is_gone(error):
                raise
            refused.append(str(error.explanation))
            return None

    found = until(listed, deadline=Deadline(_PATIENCE), what="a list of networks", seen=lambda: refused[-1])
    return found[0]


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


def check_bound(engine: Engine, volumes: Mapping[str, Path]) -> None:
    """See that each volume (full name → directory) still is a bind of that directory.

    When somebody removes one between its making and the first task, Swarm makes an empty one of the same name.

    Raises:
        InfrastructureFault: one is not; what runs keeps its data elsewhere.
    """
    for name, path in volumes.items():
        with engine_errors(f"looking at volume {name}"):
            there = _options_of(engine, name)
        if there is None or there.get("device") != str(path):
            raise InfrastructureFault(
                "a kept volume is not the one that was attached: somebody removed it meanwhile",
                where=name,
                seen="it is gone" if there is None else f"options {there or 'none'}",
                advice="keep others from pruning volumes during a run; what is kept itself was not touched",
            )


def stack_volumes(engine: Engine, stack: str) -> tuple[str, ...]:
    """Names of the volumes that belong to ``stack``: by its label, or by its name as prefix where the label is ours."""
    with engine_errors("listing volumes"):
        labelled = engine.client.volumes.list(filters=stack_filter(stack))
        return tuple(sorted(volume.name for volume in labelled))


def volume_places(engine: Engine, names: Iterable[str]) -> dict[str, Path]:
    """Where the files of volumes are on the engine's machine, by name, where that is this machine."""
    with engine_errors("looking for volumes"):
        found = [engine.client.volumes.get(name) for name in names] if engine.socket_path else []
    return {str(volume.name): Path(volume.attrs["Mountpoint"]) for volume in found}


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


APP_LABEL = "org.pytest-ccci.app"
"""On all that we make for one app: its stack's name."""

_CONFLICT = 409


def present_secrets(engine: Engine) -> frozenset[str]:
    """Names of all secrets of the Swarm."""
    with engine_errors("listing secrets"):
        return frozenset(secret["Spec"]["Name"] for secret in engine.client.api.secrets())


def insert_secrets(engine: Engine, stack: str, values: Mapping[str, str]) -> None:
    """Insert secrets (full name → value). Their values are never logged."""
    SECRETS.learn(*values.values())
    for name, value in values.items():
        with engine_errors(f"inserting secret {name}"):
            engine.client.api.create_secret(name, value.encode(), labels={APP_LABEL: stack})


def published_ports(engine: Engine, *, but: str) -> dict[tuple[int, str], str]:
    """The ports that services of this Swarm publish, with their protocols, and by which; not those of stack ``but``."""
    with engine_errors("listing published ports"):
        services = engine.client.api.services()
    found = {}
    for service in services:
        spec = service["Spec"]
        if spec.get("Labels", {}).get(STACK_LABEL) == but:
            continue
        for port in service.get("Endpoint", {}).get("Ports") or ():
            if "PublishedPort" in port:
                found[int(port["PublishedPort"]), str(port["Protocol"])] = str(spec["Name"])
    return found


def post_service(engine: Engine, service: Mapping[str, Any]) -> None:
    """Post a service's spec as it was read and then changed; the SDK's own call would drop what it does not know."""
    api = engine.client.api
    url = api._url("/services/{0}/update", service["ID"])  # noqa: SLF001  the SDK has no call for a whole spec
    response = api._post_json(url, data=service["Spec"], params={"version": service["Version"]["Index"]})  # noqa: SLF001  the same
    api._raise_for_status(response)  # noqa: SLF001  the same


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


_TASK_LABEL = "com.docker.swarm.task.id"
_ENGINES_OWN = {"bridge", "host", "none", "ingress", "docker_gwbridge"}


@dataclass(frozen=True)
class Inventory:
    """Names of what an app owns, as ``kind name``, for example ``secret blog_db_v1``."""

    things: frozenset[str]

    def __sub__(self, other: Inventory) -> tuple[str, ...]:
        """What is here and not there, sorted."""
        return tuple(sorted(self.things - other.things))


@dataclass(frozen=True)
class Thing:
    """One thing that exists. ``stack`` by Docker's label or ours; ``created`` is for people."""

    kind: str
    name: str
    id: str = ""
    stack: str = ""
    created: str = field(default="", compare=False)


def engine_things(engine: Engine) -> frozenset[Thing]:
    """Every service, container, network, volume, secret and config of the engine.

    Containers of services are left out: they come and go with their tasks, and their service is here.
    """
    api = engine.client.api
    things: set[Thing] = set()
    with engine_errors("listing what exists on the engine"):
        for kind, rows in (("secret", api.secrets()), ("config", api.configs()), ("service", api.services())):
            for row in rows:
                labels = row["Spec"].get("Labels")
                things.add(Thing(kind, row["Spec"]["Name"], row["ID"], _stack_of(labels), row.get("CreatedAt", "")))
        for row in networks(engine):
            if not row.get("Ingress") and row["Name"] not in _ENGINES_OWN:
                things.add(
                    Thing("network", row["Name"], row["Id"], _stack_of(row.get("Labels")), row.get("Created", ""))
                )
        for row in api.volumes()["Volumes"] or ():
            things.add(Thing("volume", row["Name"], "", _stack_of(row.get("Labels")), row.get("CreatedAt", "")))
        for row in api.containers(all=True):
            labels = row.get("Labels") or {}
            if _TASK_LABEL not in labels:
                created = datetime.fromtimestamp(row["Created"], UTC).isoformat()
                name = (row["Names"] or [row["Id"][:12]])[0].lstrip("/")
                things.add(Thing("container", name, row["Id"], _stack_of(labels), created))
    return frozenset(things)


def reaches_engine(engine: Engine, stack: str) -> bool:
    """Whether a container of the stack has the engine's socket, or a folder that holds it, of this machine."""
    places = {"/var/run/docker.sock", "/run/docker.sock"}
    if engine.socket_path is not None:
        places |= {str(engine.socket_path), str(engine.socket_path.resolve())}
    with engine_errors(f"looking at the mounts of {stack}"):
        return any(
            mount.get("Type") == "bind" and any(Path(place).is_relative_to(mount["Source"]) for place in places)
            for container in engine.client.api.containers(all=True, filters=stack_filter(stack))
            for mount in container.get("Mounts") or ()
        )


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


def require_stopped(engine: Engine, stack: str) -> None:
    """Nothing of ``stack`` can write any more: its data may be copied and replaced.

    Raises:
        LeftBehind: a service, task or container of it exists.
    """
    kinds = ("container", "task", "service")
    if writers := [thing for thing in sorted(app_inventory(engine, stack).things) if thing.startswith(kinds)]:
        raise LeftBehind(
            "the app is still deployed: its data can be neither copied nor replaced",
            where=stack,
            seen=", ".join(writers),
        )


def anonymous_volumes(engine: Engine, stack: str) -> frozenset[str]:
    """Names of the volumes that the stack's containers mount and that carry no name of the stack."""
    names: set[str] = set()
    with engine_errors(f"looking at the mounts of {stack}"):
        for container in engine.client.api.containers(all=True, filters=stack_filter(stack)):
            for mount in container.get("Mounts") or ():
                if mount.get("Type") == "volume" and not mount["Name"].startswith(f"{stack}_"):
                    names.add(mount["Name"])
    return frozenset(names)


def _stack_of(labels: dict[str, str] | None) -> str:
    known = labels or {}
    return known.get(STACK_LABEL) or known.get(APP_LABEL) or ""


def _owns(stack: str, thing: dict[str, Any]) -> bool:
    labels = thing.get("Labels") or {}
    if stack in {labels.get(STACK_LABEL), labels.get(APP_LABEL)}:
        return True
    return str(thing["Name"]).startswith(f"{stack}_")


def nodes_of(engine: Engine) -> Nodes:
    """How many nodes there are, and which one answers."""
    with engine_errors("asking for the Swarm's nodes"):
        facts: dict[str, Any] = engine.client.api.info()
    swarm = facts.get("Swarm") or {}
    return Nodes(int(swarm.get("Nodes") or 1), str(facts.get("Name") or ""), str(swarm.get("NodeID") or ""))
