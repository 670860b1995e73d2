"""What an app reaches of the machine and of other apps, told from its compose files; and what of that is refused.

A compose file is as mighty as root on the machine that deploys it. What is the app's own (names that begin with its
stack's, its domain, files of its recipe) is no reach, nor is the network ``proxy``, on which Traefik meets the apps.
Everything else that leads out of the app's containers is listed, and so is each key that is not known here: what
nobody looked at is not taken for harmless.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pytest_ccci.recipe.compose_facts import labels, mount_fields, port_fields
from pytest_ccci.recipe.compose_files import ComposeFile
from pytest_ccci.recipe.router_rules import confined_to
from pytest_ccci.redact import printable

__all__ = ["Judged", "OwnPlace", "Reach", "judge", "reach", "tagged"]

_SHARED = "proxy"
_SECTIONS = frozenset({"services", "volumes", "networks", "secrets", "configs"})
_HARMLESS = frozenset({
    *("image", "command", "entrypoint", "environment", "healthcheck", "user", "working_dir", "tty", "stdin_open"),
    *("stop_grace_period", "stop_signal", "read_only", "init", "dns", "dns_search", "dns_opt", "expose"),
    *("extra_hosts", "mac_address", "depends_on", "links", "restart", "container_name", "tmpfs", "cap_drop"),
    *("shm_size", "mem_limit", "memswap_limit", "mem_reservation", "cpus", "cpu_shares", "cpu_quota", "cpuset"),
    *("pids_limit", "platform", "pull_policy", "scale", "profiles", "annotations", "attach", "stop_timeout"),
})  # fmt: skip
"""Keys of a service that lead nowhere outside of its container."""
_DEPLOY = frozenset({
    *("mode", "replicas", "labels", "update_config", "rollback_config", "restart_policy", "placement"),
    *("endpoint_mode", "resources"),
})  # fmt: skip
_VOLUME = frozenset({"name", "external", "driver", "driver_opts", "labels"})
_NETWORK = frozenset({
    *("name", "external", "driver", "driver_opts", "labels", "ipam", "internal", "attachable", "enable_ipv6"),
})  # fmt: skip
_OBJECT = frozenset({"name", "external", "file", "content", "labels", "template_driver", "driver", "environment"})
_ATTACHED = frozenset({"aliases", "ipv4_address", "ipv6_address", "priority", "link_local_ips", "mac_address"})
_MODES = {
    "network_mode": "network",
    "pid": "process table",
    "ipc": "shared memory",
    "userns_mode": "user namespace",
    "uts": "host name",
    "cgroup": "control groups",
    "cgroupns_mode": "control groups",
    "cgroup_parent": "control groups",
}
_FINITE = frozenset({"nofile", "nproc", "stack", "fsize", "data", "cpu"})
"""Limits of a process that may be raised to a number: each is bounded by the kernel's own."""
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/lib/docker")
_INFRA = {"keycloak": "Keycloak's", "traefik": "Traefik's"}
_TRAEFIK = re.compile(r"traefik\.(http|tcp|udp)\.(routers|services|middlewares|serverstransports)\.([^.]+)\.?(.*)")
_ROUTER_SAYS = re.compile(
    r"rule|service|middlewares|entrypoints|priority|rulesyntax|tls|tls\.(?:certresolver|options|passthrough)"
    r"|tls\.domains\[\d+\]\.(?:main|sans)|observability\..*"
)
_SERVICE_SAYS = re.compile(
    r"loadbalancer(?:\.(?:server\.(?:port|scheme|weight|preservepath)|passhostheader|terminationdelay|strategy"
    r"|(?:sticky|healthcheck|responseforwarding|proxyprotocol)(?:\..*)?))?"
)
_MIDDLEWARE_READS = re.compile(r"plugin\b.*|.*\.(?:usersfile|tls|tls\..*)")
"""What a middleware of Traefik reads of its own: files in its container, programs that it loads."""
_PLAIN_TRAEFIK = frozenset({"traefik.enable", "traefik.docker.lbswarm", "traefik.swarm.lbswarm"})
_TRAEFIK_NETWORK = frozenset({"traefik.docker.network", "traefik.swarm.network"})
_WORDS = 300
_NOT_OURS = ("com.docker.", "org.pytest-ccci.")


@dataclass(frozen=True)
class OwnPlace:
    """Where an app is deployed, by which what is its own can be told.

    ``folder`` is the recipe, ``base`` the folder of its first compose file, from which relative paths count;
    ``links`` are the symbolic links in ``folder`` that lead out of it, as paths from there.
    """

    stack: str
    domain: str
    folder: PurePath
    base: PurePath | None = None
    links: frozenset[str] = frozenset()

    def owns(self, name: str) -> bool:
        """Whether an object of this name is the stack's own. A template is filled in later, with nobody knows what."""
        return name.startswith(f"{self.stack}_") and "{{" not in name

    def owns_host(self, host: str) -> bool:
        """Whether requests for ``host`` are the app's: its domain, or a name below it."""
        plain = host.lower().rstrip(".")
        return plain == self.domain.lower() or plain.endswith(f".{self.domain.lower()}")

    def owner(self, name: str) -> str:
        """Whose ``name`` is where it is not the app's own: Keycloak's, Traefik's, another app's; empty if unknown."""
        low = name.lower()
        for app, whose in _INFRA.items():
            if re.match(rf"{app}(?:[^a-z0-9]|$)", low):
                return whose
        zone = self.domain.lower().partition(".")[2]
        stacks, hosts = re.escape("_" + zone.replace(".", "_")), re.escape(f".{zone}")
        return "another app's" if zone and re.search(rf"{stacks}(?![a-z0-9])|{hosts}(?![a-z0-9.-])", low) else ""

    def within(self, path: str) -> str | None:
        """``path`` as it is from the recipe's folder; ``None`` where it is not in it."""
        if path.startswith("~"):
            return None
        full = PurePath(os.path.normpath((self.base or self.folder) / path))
        if not full.is_relative_to(self.folder):
            return None
        inner = full.relative_to(self.folder)
        ways = {inner.as_posix(), *(parent.as_posix() for parent in inner.parents)}
        return None if ways & self.links else inner.as_posix()


@dataclass(frozen=True)
class Reach:
    """One thing that an app reaches outside of itself.

    ``service`` is empty for what is declared and used by none; ``owner`` says whose it is (see `OwnPlace.owner`).
    """

    service: str
    kind: str
    name: str
    text: str
    owner: str = ""
    read_only: bool = False

    @property
    def key(self) -> str:
        """How a grant names it: ``volume:shared``, ``bind:/etc/localtime:ro``."""
        return f"{self.kind}:{self.name}" + (":ro" if self.read_only else "")

    @property
    def wider(self) -> str:
        """The key of the same thing with write access."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Judged:
    """A reach, and what is said to it. ``why`` holds the words of a refusal, or why there is none."""

    reach: Reach
    refused: bool
    why: str


def judge(head: Iterable[Reach], base: Iterable[Reach] | None, *, grants: Iterable[str] = ()) -> tuple[Judged, ...]:
    """What is refused of what ``head`` reaches: what ``base`` does not, and what is another app's in any case.

    Args:
        head: of the tested version.
        base: of the version it is compared with; ``None`` where there is none.
        grants: keys (`Reach.key`) that a maintainer allows.
    """
    known = tuple(base or ())
    of_services = {(each.service, each.key) for each in known}
    at_all = {each.key for each in known}
    granted = frozenset(grants)
    judged = []
    for each in head:
        keys = {each.key, each.wider}
        in_base = any((each.service, key) in of_services for key in keys) or (not each.service and bool(keys & at_all))
        if keys & granted:
            judged.append(Judged(each, refused=False, why="granted"))
        elif each.owner:
            judged.append(Judged(each, refused=True, why=f"it is {each.owner}: no version of this recipe may reach it"))
        elif in_base:
            judged.append(Judged(each, refused=False, why="the base reaches it, too"))
        else:
            why = "there is no base that reaches it" if base is None else "the base does not reach it"
            judged.append(Judged(each, refused=True, why=why))
    return tuple(sorted(judged, key=lambda one: not one.refused))


def reach(renderings: Sequence[Mapping[str, Any]], own: OwnPlace) -> tuple[Reach, ...]:
    """Everything outside of the app that its compose files reach, each once.

    Args:
        renderings: compose models with their variables filled in: the merged one, and each file by itself, so that
            nothing is hidden by the order in which files are laid over each other.
        own: what is the app's own.
    """
    found = list(dict.fromkeys(each for compose in renderings for each in _Reader(compose, own).read()))
    used = {each.wider for each in found if each.service}
    return tuple(each for each in found if each.service or each.wider not in used)


_Found = tuple[str, str, str]
"""Kind, name and words of something that is reached."""


class _Reader:
    """Reads one compose model, in whatever shape it is."""

    def __init__(self, compose: Mapping[str, Any], own: OwnPlace) -> None:
        self.compose = compose
        self.own = own
        self.keys: Mapping[str, Callable[[str, Any], Iterator[Reach]]] = {
            "volumes": self._mounts,
            "secrets": lambda service, raw: self._objects(service, "secret", raw),
            "configs": lambda service, raw: self._objects(service, "config", raw),
            "networks": self._networks,
            "hostname": self._hostname,
            "domainname": self._hostname,
            "ports": self._ports,
            "deploy": self._deploy,
            "labels": self._labels,
            "logging": self._logging,
            "ulimits": self._ulimits,
            "env_file": lambda service, raw: self._files(service, "env_file", raw),
            "label_file": lambda service, raw: self._files(service, "label_file", raw),
            "volumes_from": self._volumes_from,
            "security_opt": self._security,
            "privileged": lambda service, raw: self._flag(
                service, "privileged", raw, "all of the machine, as its root"
            ),
            "use_api_socket": lambda service, raw: self._flag(
                service, "bind", raw, "the Docker socket, which is root on the machine", name="use_api_socket"
            ),
            "oom_kill_disable": lambda service, raw: self._flag(
                service, "oom", raw, "that the kernel ends others when memory is short", name="oom_kill_disable"
            ),
            **{key: self._mode(key, what) for key, what in _MODES.items()},
            "cap_add": self._each("capability", "the capability {} of the machine's kernel"),
            "devices": self._each("device", "the device {} of the machine"),
            "device_cgroup_rules": self._each("device", "devices by the rule {}"),
            "gpus": self._each("device", "the graphics cards {} of the machine"),
            "sysctls": self._each("sysctl", "the kernel's setting {}"),
            "external_links": self._each("link", "the container {}, which is not the app's own"),
            "group_add": self._each("group", "files of the machine's group {}"),
            "extends": self._each("file", "a service from elsewhere: {}"),
            "build": self._each("build", "the machine's builder, which runs what {} says"),
            "credential_spec": self._each("credential", "credentials of the machine: {}"),
            "runtime": self._each("runtime", "the container runtime {}"),
            "oom_score_adj": self._each("oom", "whom the kernel ends when memory is short: {}"),
        }  # fmt: skip

    def read(self) -> Iterator[Reach]:
        for key, raw in self.compose.items():
            if key == "include":
                yield from self._each("file", "compose files from elsewhere: {}")("", raw)
            elif key not in _SECTIONS | {"version"} and not key.startswith("x-"):
                yield self._reach("", ("unknown", key, f"what the key {key} means, which is not known here"))
        for name, raw in self._section("services"):
            yield from self._service(name, raw)
        declared = (
            *(self._volume(name) for name, _ in self._section("volumes")),
            *(self._network(name) for name, _ in self._section("networks")),
            *(self._object(kind, name) for kind in ("secret", "config") for name, _ in self._section(f"{kind}s")),
        )
        yield from (self._reach("", one) for each in declared for one in each)

    def _service(self, name: str, raw: Any) -> Iterator[Reach]:
        for key, value in _table(raw).items():
            yield from self._key(name, str(key), value)
        if not isinstance(raw, Mapping) and raw is not None:
            yield self._reach(name, ("unknown", "services", "what its service means: it is no mapping"))
        yield from self._name_on_shared(name, _table(raw))
        if raw is None or not _table(raw).get("networks"):
            yield from (self._reach(name, one) for one in self._network("default"))

    def _key(self, service: str, key: str, raw: Any) -> Iterator[Reach]:
        if raw is None or key in _HARMLESS or key.startswith("x-"):
            return
        act = self.keys.get(key)
        if act is None:
            yield self._reach(service, ("unknown", key, f"what the key {key} means, which is not known here"))
        else:
            yield from act(service, raw)

    # --- what is declared for all services

    def _volume(self, key: str) -> Iterator[_Found]:
        raw = self._declared("volumes", key)
        yield from self._foreign("volume", key, raw, "the volume {}, which is not the app's own")
        yield from self._unknown_keys("volume", key, raw, _VOLUME)
        driver = str(raw.get("driver") or "local")
        if driver != "local":
            yield "driver", driver, f"the volume driver {driver} of the machine"
        options = {str(name): str(value) for name, value in _table(raw.get("driver_opts")).items()}
        if options and options.get("type", "").lower() != "tmpfs":
            device = options.get("device", "")
            others = ",".join(f"{name}={value}" for name, value in sorted(options.items()) if name != "device")
            if device.startswith(("/", "~")) and not device.startswith("//"):
                yield self._bind(device)
            yield "volume-option", f"{others},device={device}", f"what a volume with {others} of {device} mounts"

    def _object(self, kind: str, key: str) -> Iterator[_Found]:
        raw = self._declared(f"{kind}s", key)
        yield from self._foreign(kind, key, raw, f"the {kind} {{}}, which is not the app's own")
        yield from self._unknown_keys(kind, key, raw, _OBJECT)
        yield from self._file(f"the {kind} {key}", raw.get("file"))
        if raw.get("driver"):
            yield "driver", str(raw["driver"]), f"the {kind} driver {raw['driver']} of the machine"
        if raw.get("environment"):
            name = str(raw["environment"])
            yield "environment", name, f"the variable {name} of the process that deploys it"

    def _network(self, key: str) -> Iterator[_Found]:
        raw = self._declared("networks", key)
        name = self._network_name(key)
        if name != _SHARED:
            yield from self._foreign("network", key, raw, "the network {}, which is not the app's own")
        yield from self._unknown_keys("network", key, raw, _NETWORK)
        driver = str(raw.get("driver") or "overlay")
        if driver != "overlay":
            yield "driver", driver, f"the network driver {driver}, which reaches the machine's own networks"
        for option in _table(raw.get("driver_opts")):
            if str(option) != "encrypted":
                yield "network-option", str(option), f"the option {option} of the network's driver"
        if raw.get("ipam"):
            yield "subnet", _flat(raw["ipam"]), f"addresses that it chooses itself: {_flat(raw['ipam'])}"

    def _foreign(self, kind: str, key: str, raw: Mapping[str, Any], words: str) -> Iterator[_Found]:
        external = raw.get("external")
        named = raw.get("name") or _table(external).get("name")
        name = str(named or key)
        if (named or external) and not self.own.owns(name):
            yield kind, name, words.format(name)

    @staticmethod
    def _unknown_keys(kind: str, name: str, raw: Mapping[str, Any], known: frozenset[str]) -> Iterator[_Found]:
        for key in map(str, raw):
            if key not in known and not key.startswith("x-"):
                yield "unknown", key, f"what the key {key} of the {kind} {name} means, which is not known here"

    def _network_name(self, key: str) -> str:
        raw = self._declared("networks", key)
        external = raw.get("external")
        named = raw.get("name") or _table(external).get("name")
        return str(named or (key if external else f"{self.own.stack}_{key}"))

    # --- what a service says

    def _mounts(self, service: str, raw: Any) -> Iterator[Reach]:
        for each in _items(raw):
            fields = mount_fields(each)
            kind, source, read_only = fields["kind"], fields["source"], fields["read_only"]
            if kind == "tmpfs":
                continue
            if kind == "bind" or source.startswith(("/", ".", "~", "\\")):
                yield self._reach(service, self._bind(source), read_only=read_only)
            elif kind != "volume":
                yield self._reach(service, ("bind", source, f"a mount of the kind {kind}: {source}"))
            elif "{{" in source:
                words = f"the volume {source}, whose name is only known when a task starts"
                yield self._reach(service, ("volume", source, words))
            elif source:
                yield from (self._reach(service, one, read_only=read_only) for one in self._volume(source))
            subpath = str(_table(_table(each).get("volume")).get("subpath") or "") if isinstance(each, Mapping) else ""
            if ".." in PurePath(subpath).parts or subpath.startswith("/"):
                yield self._reach(service, ("bind", subpath, f"{subpath}, which leaves its volume"))
            propagation = str(_table(_table(each).get("bind")).get("propagation") or "")
            if propagation and propagation not in {"private", "rprivate"}:
                yield self._reach(service, ("bind", propagation, f"mounts that come and go ({propagation})"))

    def _bind(self, path: str) -> _Found:
        inner = None if path.startswith(("/", "\\")) and not self._is_ours(path) else self.own.within(path)
        if inner is not None:
            return "bind", f"./{inner}", f"the recipe's folder on the machine: {inner}"
        plain = os.path.normpath(path)
        plain = f"/{plain.lstrip('/')}" if plain.startswith("/") else plain
        if plain == "/":
            return "bind", plain, "all files of the machine, which is root on it"
        if any(f"{each}/".startswith(f"{plain}/") or plain.startswith(f"{each}/") for each in _SOCKETS):
            return "bind", plain, f"{plain}, by which the Docker engine is reached: that is root on the machine"
        return "bind", plain, f"{plain} of the machine"

    def _is_ours(self, path: str) -> bool:
        return PurePath(os.path.normpath(path)).is_relative_to(self.own.folder)

    def _objects(self, service: str, kind: str, raw: Any) -> Iterator[Reach]:
        for each in _items(raw):
            key = str(each.get("source") or "") if isinstance(each, Mapping) else str(each)
            yield from (self._reach(service, one) for one in self._object(kind, key))

    def _networks(self, service: str, raw: Any) -> Iterator[Reach]:
        tables = raw if isinstance(raw, Mapping) else dict.fromkeys(map(str, _items(raw)))
        for key, table in tables.items():
            yield from (self._reach(service, one) for one in self._network(str(key)))
            name = self._network_name(str(key))
            for what in map(str, _table(table)):
                if what not in _ATTACHED:
                    yield self._reach(service, ("unknown", what, f"what {what} on the network {name} means"))
            for alias in map(str, _items(_table(table).get("aliases"))):
                if not self.own.owns(name) and not self._own_name(alias):
                    words = f"requests for {alias} on the network {name}, which other apps share"
                    yield self._reach(service, ("alias", alias, words))
            if _table(table).get("ipv4_address") and not self.own.owns(name):
                address = str(_table(table)["ipv4_address"])
                yield self._reach(service, ("alias", address, f"the address {address} on the network {name}"))

    def _own_name(self, name: str) -> bool:
        return self.own.owns(name) or self.own.owns_host(name)

    def _hostname(self, service: str, raw: Any) -> Iterator[Reach]:
        name = str(raw)
        table = _table(_table(self.compose.get("services")).get(service))
        if self._is_on_shared(table) and not self._own_name(name) and "{{" not in name:
            yield self._reach(service, ("alias", name, f"requests for {name} on a network that other apps share"))

    def _name_on_shared(self, service: str, table: Mapping[str, Any]) -> Iterator[Reach]:
        """A service's own name is an alias on each of its networks: ``app`` is everybody's, a host's name is not."""
        if self._is_on_shared(table) and (self.own.owner(service) or "." in service) and not self._own_name(service):
            words = f"requests for {service} on a network that other apps share, by its own name"
            yield self._reach(service, ("alias", service, words))

    def _is_on_shared(self, table: Mapping[str, Any]) -> bool:
        raw = table.get("networks") or ["default"]
        keys = raw if isinstance(raw, Mapping) else _items(raw)
        return any(not self.own.owns(self._network_name(str(key))) for key in keys)

    def _ports(self, service: str, raw: Any) -> Iterator[Reach]:
        for each in _items(raw):
            fields = port_fields(each)
            host = fields["mode"] == "host"
            port = f"{fields['published'] or 'any'}/{fields['protocol']}" + ("/host" if host else "")
            how = " past the ingress network (mode: host)" if host else ""
            yield self._reach(service, ("port", port, f"the port {port.removesuffix('/host')} of the machine{how}"))

    def _deploy(self, service: str, raw: Any) -> Iterator[Reach]:
        for key, value in _table(raw).items():
            if str(key) not in _DEPLOY and not str(key).startswith("x-"):
                yield self._reach(service, ("unknown", f"deploy.{key}", f"what deploy.{key} means"))
            elif key == "labels":
                yield from self._labels(service, value)
        reservations = _table(_table(_table(raw).get("resources")).get("reservations"))
        for what in ("devices", "generic_resources"):
            if reservations.get(what):
                words = f"devices of the machine: {_flat(reservations[what])}"
                yield self._reach(service, ("device", _flat(reservations[what]), words))

    def _logging(self, service: str, raw: Any) -> Iterator[Reach]:
        driver = str(_table(raw).get("driver") or "json-file")
        if driver not in {"json-file", "local", "none"}:
            words = f"the logging driver {driver}: it is the engine that sends, not the container"
            yield self._reach(service, ("logging", f"{driver} {_flat(_table(raw).get('options'))}".strip(), words))

    def _ulimits(self, service: str, raw: Any) -> Iterator[Reach]:
        for name, value in _table(raw).items():
            numbers = [str(each) for each in (value.values() if isinstance(value, Mapping) else [value])]
            if str(name) not in _FINITE or not all(number.isdecimal() for number in numbers):
                limit = f"{name}={'/'.join(numbers)}"
                yield self._reach(service, ("ulimit", limit, f"more of the machine than a container has: {limit}"))

    def _files(self, service: str, key: str, raw: Any) -> Iterator[Reach]:
        for each in _items(raw):
            path = each.get("path") if isinstance(each, Mapping) else each
            yield from (self._reach(service, one) for one in self._file(key, path))

    def _file(self, what: str, raw: Any) -> Iterator[_Found]:
        path = ("" if raw is None else str(raw)).removeprefix(f"{self.own.base or self.own.folder}/")
        if path and self.own.within(path) is None:
            yield "file", path, f"the file {path}, which is not in the recipe ({what})"

    def _volumes_from(self, service: str, raw: Any) -> Iterator[Reach]:
        for each in map(str, _items(raw)):
            yield self._reach(service, ("volume", each, f"the volumes of {each}, whatever they are"))

    def _security(self, service: str, raw: Any) -> Iterator[Reach]:
        for each in map(str, _items(raw)):
            if re.sub(r"[=:]true$", "", each.replace(" ", "")) != "no-new-privileges":
                yield self._reach(service, ("security", each, f"less protection of the machine: {each}"))

    def _flag(self, service: str, kind: str, raw: Any, words: str, *, name: str = "true") -> Iterator[Reach]:
        if str(raw).lower() not in {"false", ""}:
            yield self._reach(service, (kind, name, words))

    def _mode(self, key: str, what: str) -> Callable[[str, Any], Iterator[Reach]]:
        def told(service: str, raw: Any) -> Iterator[Reach]:
            mode = str(raw)
            if mode not in {"", "private", "none", "bridge", "default", "shareable"} or key == "cgroup_parent":
                whose = "the machine's" if mode == "host" else f"another's ({mode})"
                yield self._reach(service, ("host-mode", f"{key}={mode}", f"{whose} {what}"))

        return told

    def _each(self, kind: str, words: str) -> Callable[[str, Any], Iterator[Reach]]:
        def told(service: str, raw: Any) -> Iterator[Reach]:
            if isinstance(raw, Mapping) and kind == "sysctl":
                rows = [f"{name}={value}" for name, value in raw.items()]
            else:
                rows = [_flat(each) for each in (raw if isinstance(raw, list | tuple) else [raw])]
            for row in rows:
                yield self._reach(service, (kind, row, words.format(row)))

        return told

    # --- labels

    def _labels(self, service: str, raw: Any) -> Iterator[Reach]:
        for key, value in labels(raw).items():
            low = key.strip().lower()
            if low.startswith(_NOT_OURS):
                words = f"the label {key}, by which the engine and this program know whose something is"
                yield self._reach(service, ("label", key, words))
            elif low.startswith("traefik."):
                yield from (self._reach(service, each) for each in self._traefik(low, value))

    def _traefik(self, key: str, value: str) -> Iterator[_Found]:
        """What a label asks of Traefik; ``key`` is in small letters, as Traefik reads it."""
        if key in _PLAIN_TRAEFIK:
            return
        if key in _TRAEFIK_NETWORK:
            if value != _SHARED and not self.own.owns(value):
                yield "network", value, f"the network {value}, on which Traefik is to look for it"
            return
        hit = _TRAEFIK.fullmatch(key)
        if hit is None:
            yield "traefik", key, f"Traefik's own settings, by {key}"
            return
        protocol, part, name, what = hit.groups()
        if not re.fullmatch(rf"{re.escape(self.own.stack.lower())}(?:[^a-z0-9].*)?", name):
            words = f"the {part.removesuffix('s')} {name} of Traefik, which is not named after the stack"
            yield "traefik", f"{protocol}.{part}.{name}", words
        known = {"routers": _ROUTER_SAYS, "services": _SERVICE_SAYS}.get(part)
        if part == "middlewares" and what.endswith((".address", ".service")):
            yield "route", value, f"{value}, to which Traefik would send requests ({what})"
        elif part == "middlewares" and not _MIDDLEWARE_READS.fullmatch(what):
            return
        elif known is None or not known.fullmatch(what):
            yield "traefik", f"{what}={value}", f"what Traefik makes of {part}.{name}.{what}"
        elif part == "routers":
            yield from self._router(protocol, what, value)

    def _router(self, protocol: str, what: str, value: str) -> Iterator[_Found]:
        if protocol == "udp":
            yield "route", f"udp {what}={value}", f"packets that are for no host at all ({what} {value})"
        elif what == "rule" and not confined_to(value, self.own.owns_host, tcp=protocol == "tcp"):
            yield "route", value, f"requests that are not for the app's own host: {value}"
        elif what == "service" and not re.match(rf"{re.escape(self.own.stack.lower())}(?:[^a-z0-9]|$)", value.lower()):
            yield "route", value, f"the service {value} of Traefik, which is not the app's own"
        elif what == "middlewares":
            for each in (part.strip() for part in value.split(",")):
                own = re.match(rf"{re.escape(self.own.stack.lower())}(?:[^a-z0-9]|$)", each.lower())
                if each and not own and not each.endswith("@file"):
                    yield "traefik", f"middleware {each}", f"the middleware {each} of Traefik, which is another's"
        elif re.fullmatch(r"tls\.domains\[\d+\]\.(?:main|sans)", what):
            for host in (part.strip() for part in value.split(",")):
                if not self.own.owns_host(host):
                    yield "route", host, f"a certificate for {host}, which is not the app's own host"

    # --- help

    def _reach(self, service: str, found: _Found, *, read_only: bool = False) -> Reach:
        kind, name, text = found
        hosts = re.findall(r"`([^`]*)`", name) if kind == "route" else []
        plain = name.rpartition("=")[2] if kind == "host-mode" else name
        plain = re.sub(r"^\w+\.\w+\.|^middleware ", "", plain) if kind == "traefik" else plain
        named = kind not in {"bind", "file", "sysctl", "unknown", "build", "environment"}
        owner = next((whose for each in (*hosts, plain) if named and (whose := self.own.owner(each))), "")
        if hosts and all(map(self.own.owns_host, hosts)):
            owner = ""
        if kind in {"volume", "secret", "config", "network"} and self.own.owns(name):
            owner = ""
        return Reach(printable(service), kind, printable(name), printable(text, _WORDS), owner, read_only)

    def _section(self, name: str) -> Iterator[tuple[str, Any]]:
        yield from ((str(key), raw) for key, raw in _table(self.compose.get(name)).items())

    def _declared(self, section: str, key: str) -> Mapping[str, Any]:
        return _table(_table(self.compose.get(section)).get(key))


def tagged(file: ComposeFile) -> Iterator[Reach]:
    """What a compose file says with a YAML tag, which Docker and this program may read as different values."""
    for tag, line in file.document.tags:
        words = f"what the tag {tag} makes of a value ({file.name}:{line})"
        yield Reach("", "unknown", printable(tag), printable(words, _WORDS))


def _table(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _items(raw: object) -> list[Any]:
    """The items of a list; what stands alone is one of its own."""
    if raw is None:
        return []
    return list(raw) if isinstance(raw, list | tuple) else [raw]


def _flat(raw: object) -> str:
    """A value as one short line, the same for the same value."""
    if isinstance(raw, Mapping):
        return "{" + ", ".join(f"{key}: {_flat(value)}" for key, value in sorted(raw.items(), key=str)) + "}"
    if isinstance(raw, list | tuple):
        return ", ".join(map(_flat, raw))
    return str(raw)
