"""Facts of a compose file, read from what Docker's own loader makes of it (``docker stack config``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ccci.settings import parse_duration

__all__ = [
    "WITH_CONFIGS",
    "ComposeFacts",
    "ConfigFacts",
    "HealthcheckFacts",
    "Mount",
    "NetworkFacts",
    "Port",
    "SecretFacts",
    "ServiceFacts",
    "VolumeFacts",
    "compose_facts",
    "labels",
    "minor_version",
    "mount_fields",
    "port_fields",
    "seconds",
]

_MOUNT_PARTS = 2
WITH_CONFIGS = 3
"""The minor version of compose 3 that brought configs."""


def minor_version(version: str) -> int | None:
    """The ``4`` of compose version ``3.4``; ``None`` where nothing is said, and Docker takes its newest."""
    found = re.fullmatch(r"3\.(\d{1,9})", version.strip(), re.ASCII)
    return int(found[1]) if found else None


def seconds(raw: object) -> float | None:
    """Seconds of a duration as Docker prints it (text, or nanoseconds as a number); ``None`` if there is none."""
    if isinstance(raw, bool) or raw is None:
        return None
    if isinstance(raw, int | float):
        return float(raw) * 1e-9
    try:
        return parse_duration(str(raw))
    except ValueError:
        return None


def labels(raw: object) -> dict[str, str]:
    """Labels given as a mapping or as a list of ``key=value``."""
    if isinstance(raw, Mapping):
        return {str(key): _text(value) for key, value in raw.items()}
    rows = raw if isinstance(raw, list | tuple) else ()
    pairs = (str(row).partition("=") for row in rows)
    return {key: value for key, _, value in pairs}


def port_fields(raw: object) -> dict[str, str]:
    """``80``, ``8080:80/udp``, ``127.0.0.1:1:2`` or the long form, as target, published, protocol, mode."""
    if isinstance(raw, Mapping):
        return {
            "target": str(raw.get("target") or ""),
            "published": str(raw.get("published") or ""),
            "protocol": str(raw.get("protocol") or "tcp"),
            "mode": str(raw.get("mode") or "ingress"),
        }
    ports, _, protocol = str(raw).partition("/")
    published, _, target = ports.rpartition(":")
    return {
        "target": target,
        "published": published.rpartition(":")[2],
        "protocol": protocol or "tcp",
        "mode": "ingress",
    }


def mount_fields(raw: object) -> dict[str, Any]:
    """``data:/srv:ro``, ``/host:/srv``, ``/anonymous`` or the long form, as kind, source, target, read_only."""
    if isinstance(raw, Mapping):
        return {
            "kind": str(raw.get("type") or "volume"),
            "source": str(raw.get("source") or ""),
            "target": str(raw.get("target") or ""),
            "read_only": bool(raw.get("read_only")),
        }
    parts = str(raw).split(":")
    if len(parts) < _MOUNT_PARTS:
        return {"kind": "volume", "source": "", "target": parts[0], "read_only": False}
    kind = "bind" if parts[0].startswith(("/", ".", "~")) else "volume"
    options = parts[2].split(",") if len(parts) > _MOUNT_PARTS else []
    return {"kind": kind, "source": parts[0], "target": parts[1], "read_only": "ro" in options}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


@dataclass(frozen=True)
class HealthcheckFacts:
    """A health check; times in seconds, ``None`` where Docker's default holds."""

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    retries: int | None = None
    start_period: float | None = None
    start_interval: float | None = None
    disabled: bool = False


@dataclass(frozen=True)
class Mount:
    """A mount: ``kind`` is volume, bind, tmpfs, cluster or npipe; ``source`` a key of the volumes or a host path."""

    kind: str
    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Port:
    """A published port; ``mode`` is ingress or host."""

    target: str
    published: str
    protocol: str
    mode: str


@dataclass(frozen=True)
class ServiceFacts:
    """A service as it would be deployed. Times in seconds; ``replicas`` is ``None`` for global services."""

    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    deploy_labels: Mapping[str, str] = field(default_factory=dict)
    healthcheck: HealthcheckFacts | None = None
    replicas: int | None = 1
    mode: str = "replicated"
    update_order: str = "stop-first"
    failure_action: str = "pause"
    monitor: float | None = None
    endpoint_mode: str = "vip"
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    networks: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    configs: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    stop_grace_period: float | None = None
    stop_signal: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def one_shot(self) -> bool:
        """Whether it is a job: a completed one is no crash."""
        return self.mode in {"replicated-job", "global-job"}


@dataclass(frozen=True)
class VolumeFacts:
    """A volume by its key; ``name`` is the explicit one, or empty for ``<stack>_<key>``."""

    key: str
    name: str = ""
    external: bool = False
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkFacts:
    """A network by its key; ``name`` is the explicit one, or empty for ``<stack>_<key>``."""

    key: str
    name: str = ""
    external: bool = False
    internal: bool = False
    attachable: bool = False


@dataclass(frozen=True)
class SecretFacts:
    """A secret by its key; ``name`` is the one in the Swarm, or empty for ``<stack>_<key>``."""

    key: str
    name: str
    external: bool = False
    file: str = ""


@dataclass(frozen=True)
class ConfigFacts:
    """A config by its key; ``name`` is the one in the Swarm, or empty for ``<stack>_<key>``; ``file`` is absolute."""

    key: str
    name: str
    external: bool = False
    file: str = ""
    template_driver: str = ""


@dataclass(frozen=True)
class ComposeFacts:
    """Everything a deploy would create."""

    services: Mapping[str, ServiceFacts]
    volumes: Mapping[str, VolumeFacts] = field(default_factory=dict)
    networks: Mapping[str, NetworkFacts] = field(default_factory=dict)
    secrets: Mapping[str, SecretFacts] = field(default_factory=dict)
    configs: Mapping[str, ConfigFacts] = field(default_factory=dict)
    version: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """Each image once, in order of its services."""
        return tuple(dict.fromkeys(service.image for service in self.services.values() if service.image))

    @property
    def published(self) -> frozenset[tuple[int, str]]:
        """The ports of the machine that the app wants, each with its protocol; not those that Swarm may choose."""
        ports = (port for service in self.services.values() for port in service.ports)
        return frozenset((int(p.published), p.protocol or "tcp") for p in ports if p.published.isdecimal())

    def label(self, suffix: str) -> str:
        """The value of the first deploy label ``coop-cloud.<stack>.<suffix>``, on ``app`` or, tolerated, elsewhere."""
        shape = re.compile(rf"coop-cloud\..+\.{re.escape(suffix)}")
        order = sorted(self.services.values(), key=lambda service: service.name != "app")
        hits = (value for each in order for key, value in each.deploy_labels.items() if shape.fullmatch(key))
        return next(hits, "")


def compose_facts(config: Mapping[str, Any]) -> ComposeFacts:
    """Give types to the parsed output of ``docker stack config``; what is absent there takes Docker's default."""
    return ComposeFacts(
        services={name: _service(name, _table(raw)) for name, raw in _section(config, "services")},
        volumes={key: _volume(key, _table(raw)) for key, raw in _section(config, "volumes")},
        networks={key: _network(key, _table(raw)) for key, raw in _section(config, "networks")},
        secrets={key: SecretFacts(**_object(key, _table(raw))) for key, raw in _section(config, "secrets")},
        configs={
            key: ConfigFacts(**_object(key, _table(raw)), template_driver=str(_table(raw).get("template_driver", "")))
            for key, raw in _section(config, "configs")
        },
        version=str(config.get("version") or ""),
    )


def _service(name: str, raw: Mapping[str, Any]) -> ServiceFacts:
    deploy = _table(raw.get("deploy"))
    update = _table(deploy.get("update_config"))
    mode = str(deploy.get("mode") or "replicated")
    networks = _networks_of(raw.get("networks"))
    return ServiceFacts(
        name=name,
        image=str(raw.get("image") or ""),
        labels=labels(raw.get("labels")),
        deploy_labels=labels(deploy.get("labels")),
        healthcheck=_healthcheck(raw.get("healthcheck")),
        replicas=None if mode.startswith("global") else _whole(deploy.get("replicas"), 1),
        mode=mode,
        update_order=str(update.get("order") or "stop-first"),
        failure_action=str(update.get("failure_action") or "pause"),
        monitor=seconds(update.get("monitor")),
        endpoint_mode=str(deploy.get("endpoint_mode") or "vip"),
        ports=tuple(Port(**port_fields(each)) for each in _items(raw.get("ports"))),
        mounts=(*(Mount(**mount_fields(each)) for each in _items(raw.get("volumes"))), *_tmpfs(raw.get("tmpfs"))),
        networks=tuple(networks),
        secrets=_sources(raw.get("secrets")),
        configs=_sources(raw.get("configs")),
        environment=_environment(raw.get("environment")),
        constraints=tuple(str(each) for each in _items(_table(deploy.get("placement")).get("constraints"))),
        stop_grace_period=seconds(raw.get("stop_grace_period")),
        stop_signal=str(raw.get("stop_signal") or ""),
        aliases={key: tuple(map(str, _items(_table(each).get("aliases")))) for key, each in networks.items()},
    )


def _healthcheck(raw: object) -> HealthcheckFacts | None:
    table = _table(raw)
    if not table:
        return None
    test = table.get("test")
    words = ("CMD-SHELL", test) if isinstance(test, str) else tuple(str(word) for word in _items(test))
    retries = table.get("retries")
    return HealthcheckFacts(
        test=words,
        interval=seconds(table.get("interval")),
        timeout=seconds(table.get("timeout")),
        retries=None if retries is None else _whole(retries, 3),
        start_period=seconds(table.get("start_period")),
        start_interval=seconds(table.get("start_interval")),
        disabled=bool(table.get("disable")) or words[:1] == ("NONE",),
    )


def _volume(key: str, raw: Mapping[str, Any]) -> VolumeFacts:
    external, name = _external(key, raw)
    options = {str(option): str(value) for option, value in _table(raw.get("driver_opts")).items()}
    return VolumeFacts(key, name, external, str(raw.get("driver") or ""), options)


def _network(key: str, raw: Mapping[str, Any]) -> NetworkFacts:
    external, name = _external(key, raw)
    return NetworkFacts(key, name, external, bool(raw.get("internal")), bool(raw.get("attachable")))


def _object(key: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    external, name = _external(key, raw)
    return {"key": key, "name": name, "external": external, "file": str(raw.get("file") or "")}


def _external(key: str, raw: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it is external, and its explicit name: ``external: true`` with ``name``, or the old nested form."""
    external = raw.get("external")
    nested = _table(external).get("name")
    is_external = isinstance(external, Mapping) or bool(external)
    return is_external, str(raw.get("name") or nested or (key if is_external else ""))


def _networks_of(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {str(name): None for name in _items(raw)}


def _tmpfs(raw: object) -> Iterable[Mount]:
    paths = [raw] if isinstance(raw, str) else _items(raw)
    return (Mount("tmpfs", "", str(path).partition(":")[0]) for path in paths)


def _sources(raw: object) -> tuple[str, ...]:
    return tuple(
        str(_table(each).get("source", "")) if isinstance(each, Mapping) else str(each) for each in _items(raw)
    )


def _environment(raw: object) -> dict[str, str | None]:
    if isinstance(raw, Mapping):
        return {str(key): None if value is None else str(value) for key, value in raw.items()}
    pairs = (str(each).partition("=") for each in _items(raw))
    return {name: value if mark else None for name, mark, value in pairs}


def _section(config: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    return ((str(key), raw) for key, raw in _table(config.get(name)).items())


def _table(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _items(raw: object) -> list[Any]:
    return list(raw) if isinstance(raw, (list, tuple)) else []


def _whole(raw: object, default: int) -> int:
    try:
        return int(str(raw))
    except ValueError:
        return default
