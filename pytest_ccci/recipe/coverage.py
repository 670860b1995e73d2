"""Which stateful paths of an app a snapshot covers, which no backup holds, and which databases lie outside."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pytest_ccci.recipe.backup_labels import BackupPlan
from pytest_ccci.recipe.compose_facts import ComposeFacts, Mount, NetworkFacts, ServiceFacts, VolumeFacts
from pytest_ccci.recipe.spec import Disposable

__all__ = [
    "CoverageStatement",
    "Nodes",
    "OutsideDatabase",
    "StatefulPath",
    "coverage",
    "not_backed_up",
    "outside_databases",
    "shared_data",
]

_SCHEMES = {
    "postgres": "Postgres",
    "postgresql": "Postgres",
    "postgis": "Postgres",
    "pgsql": "Postgres",
    "mysql": "MySQL",
    "mysql2": "MySQL",
    "mariadb": "MariaDB",
    "mongodb": "MongoDB",
    "redis": "Redis",
    "rediss": "Redis",
    "valkey": "Redis",
    "amqp": "RabbitMQ",
    "amqps": "RabbitMQ",
    "couchdb": "CouchDB",
    "mssql": "SQL Server",
    "sqlserver": "SQL Server",
    "cockroachdb": "CockroachDB",
    "clickhouse": "ClickHouse",
    "ldap": "LDAP",
    "ldaps": "LDAP",
    "s3": "S3",
}
_KINDS = frozenset(
    [
        "DB",
        "DATABASE",
        "POSTGRES",
        "POSTGRESQL",
        "PG",
        "PSQL",
        "MYSQL",
        "MARIADB",
        "MONGO",
        "MONGODB",
        "REDIS",
        "VALKEY",
        "MSSQL",
        "COUCHDB",
        "CLICKHOUSE",
    ]
)
_HOSTS = ("HOSTNAMES", "HOSTNAME", "HOSTS", "HOST", "SERVERS", "SERVER", "ADDRESSES", "ADDRESS", "ADDR")
_NOT_TO_REACH = frozenset(
    ["ALLOW", "ALLOWED", "ANNOUNCE", "ADVERTISE", "ADVERTISED", "BIND", "LISTEN", "ROOT", "TRUSTED"]
)
"""Words of variables by which a database is told where to listen or whom to let in, not an app whom to ask."""
_URL = re.compile(r"\b([a-z][a-z0-9]*)(?:[+-][a-z0-9]+)*://([^\s'\"]+)", re.IGNORECASE)
_GO_MYSQL = re.compile(r"@tcp\(([^()\s]+)\)")
_PAIR = re.compile(r"(?:^|[\s;:])(host|server|data source|addr)\s*=\s*'?([^\s;']+)", re.IGNORECASE)
_PAIR_OF_A_DATABASE = re.compile(r"(?:^|[\s;])(?:dbname|database|initial catalog)\s*=", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?", re.ASCII)
_NO_HOST = re.compile(r"\d+|true|false|yes|no|on|off|none|null", re.IGNORECASE | re.ASCII)
_HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0"}  # noqa: S104  a name that is looked for, nothing is bound


@dataclass(frozen=True)
class OutsideDatabase:
    """A database that a service is told of and that is none of the stack's services."""

    service: str
    variable: str
    kind: str
    host: str


def outside_databases(facts: ComposeFacts, *, stack: str = "") -> tuple[OutsideDatabase, ...]:
    """Every database outside; ``stack`` is the stack's name, by which its services are reached too."""
    inside = _host_names(facts, stack)
    return tuple(found for service in facts.services.values() for found in _told(service, inside))


def _told(service: ServiceFacts, inside: Collection[str]) -> Iterator[OutsideDatabase]:
    for variable, value in sorted(service.environment.items()):
        for kind, host in dict.fromkeys(_places(variable, value or "")):
            if host.lower().removeprefix("tasks.") not in inside:
                yield OutsideDatabase(service.name, variable, kind, host)


def _places(variable: str, value: str) -> Iterator[tuple[str, str]]:
    """The databases that a variable names: by URL, by ``host=`` pairs, or by hosts where it is called like a host."""
    for row in value.splitlines():
        for scheme, rest in _urls(row, structured=len(value.splitlines()) > 1 or value.lstrip()[:1] in {"{", "["}):
            yield from ((_SCHEMES[scheme], host) for host in _hosts(rest))
    for address in _GO_MYSQL.findall(value):
        yield from (("MySQL", host) for host in _plain_hosts(address))
    words = _words(variable)
    named = [word for word in words if word in _KINDS]
    if "://" in value:
        return
    if _PAIR_OF_A_DATABASE.search(value):
        kind = named[-1].capitalize() if named else "SQL"
        yield from ((kind, host) for _, address in _PAIR.findall(value) for host in _plain_hosts(address))
    elif named and words[-1] in _HOSTS and not _NOT_TO_REACH & set(words):
        yield from ((named[-1].capitalize(), host) for host in _plain_hosts(value))


def _words(variable: str) -> list[str]:
    """``database__connection__host`` and ``dbHost`` in words, in capitals; ``PGHOST`` is two."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", variable)
    words = [word for word in re.split(r"[^A-Z0-9]+", apart.upper()) if word]
    last = words[-1] if words else ""
    for host in _HOSTS:
        if last.endswith(host) and last.removesuffix(host) in _KINDS:
            return [*words[:-1], last.removesuffix(host), host]
    return words


def _urls(row: str, *, structured: bool) -> Iterator[tuple[str, str]]:
    """Scheme and rest of each database URL in ``row`` that is a setting: one among the words of a sentence is none."""
    tokens = row.split()
    for at, token in enumerate(tokens):
        before, after = tokens[at - 1] if at else "", tokens[at + 1] if at + 1 < len(tokens) else ""
        if structured or before.startswith("-") or (_is_setting(before) and _is_setting(after)):
            found = ((scheme.lower(), rest) for scheme, rest in _URL.findall(token))
            yield from ((scheme, rest) for scheme, rest in found if scheme in _SCHEMES)


def _is_setting(token: str) -> bool:
    return not token or token.startswith("-") or "=" in token or "://" in token


def _hosts(rest: str) -> Iterator[str]:
    """The hosts of a URL after its scheme; some kinds name several, and a socket's path is none."""
    yield from _plain_hosts(re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2])


def _plain_hosts(text: str) -> Iterator[str]:
    """The hosts of ``a.example.org,[::1]:5432,b:5432``."""
    for part in re.split(r"[,;\s]+", text.strip().strip("\"'")):
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d*)?", part)
        host = bracketed[1] if bracketed else re.sub(r":\d*$", "", part)
        if bracketed or (_HOST.fullmatch(host) and not _NO_HOST.fullmatch(host)):
            yield host.removesuffix(".")


def _host_names(facts: ComposeFacts, stack: str) -> frozenset[str]:
    """By which names the stack's services reach each other, in lower case."""
    names = set(_HERE)
    for service in facts.services.values():
        own = {service.name, *(alias for each in service.aliases.values() for alias in each)}
        own |= {f"{stack}_{service.name}"} if stack else set()
        networks = {key: facts.networks.get(key, NetworkFacts(key)) for key in service.networks or ("default",)}
        reached = {network.name or f"{stack}_{key}" for key, network in networks.items() if network.name or stack}
        names |= own | {f"{name}.{network}" for name in own for network in reached}
    return frozenset(name.lower() for name in names)


_ENGINE = "docker.sock"
_SOCKETS = (".sock", ".socket")
_DEVICES = "/dev"
_MEMORY = "/dev/shm"  # noqa: S108  a place that is looked for, nothing is written
_HOST_FILES = (
    "/etc/localtime",
    "/etc/timezone",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/group",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/lib/modules",
    "/proc",
    "/sys",
)
"""What tells a container about its host; these and all below them."""
_NO_DATA = frozenset({"tmpfs", "docker.sock", "socket", "device", "host file", "anonymous volume", "image volume"})
"""Kinds of mounts whose content nobody misses."""


@dataclass(frozen=True)
class Nodes:
    """The Swarm's nodes: how many there are, and how constraints name the one that we are on."""

    count: int = 1
    hostname: str = ""
    node_id: str = ""

    def pinned_here(self, service: ServiceFacts) -> bool:
        """Whether nothing of the service can run elsewhere."""
        plain = {re.sub(r"\s", "", constraint) for constraint in service.constraints}
        ours = {f"node.hostname=={self.hostname}"} if self.hostname else set()
        ours |= {f"node.id=={self.node_id}"} if self.node_id else set()
        return self.count <= 1 or bool(plain & ours)


@dataclass(frozen=True)
class StatefulPath:
    """One path of a service that may hold state, or a place that it is told to keep it in.

    ``kind``: named volume, volume on any node, anonymous volume, image volume (``source`` is the image), external
    volume, remote volume, templated volume, cluster volume, bind, tmpfs, docker.sock, socket, device, host file,
    secret, config, or outside database (``target`` is the variable that names it, ``source`` its host).
    ``blocks``: it is writable, not covered, and nobody said that it is disposable.
    """

    service: str
    target: str
    kind: str
    source: str
    writable: bool
    covered: bool
    why: str
    blocks: bool = False


@dataclass(frozen=True)
class CoverageStatement:
    """Every stateful path of an app, and the disposable entries that named none of them."""

    paths: tuple[StatefulPath, ...]
    unused: tuple[str, ...] = ()

    @property
    def blocking(self) -> tuple[StatefulPath, ...]:
        """What makes a canonical impossible."""
        return tuple(path for path in self.paths if path.blocks)

    @property
    def complete(self) -> bool:
        """Whether a snapshot holds everything that matters."""
        return not self.blocking

    @property
    def volumes(self) -> tuple[str, ...]:
        """The keys of the covered volumes, each once."""
        kept = (path.source for path in self.paths if path.covered and path.kind == "named volume")
        return tuple(dict.fromkeys(kept))


ONE_NODE = Nodes()
NOTHING_DECLARED: Mapping[str, Collection[str]] = {}


def coverage(
    facts: ComposeFacts,
    *,
    disposable: Iterable[Disposable] = (),
    nodes: Nodes = ONE_NODE,
    stack: str = "",
    declared: Mapping[str, Collection[str]] = NOTHING_DECLARED,
) -> CoverageStatement:
    """State, for every path of every service, whether a snapshot covers it and why.

    ``declared`` has, per image, the paths that it declares as volumes.
    """
    waived = tuple(disposable)
    paths = [path for service in facts.services.values() for path in _paths(service, facts, waived, nodes)]
    paths += [path for service in facts.services.values() for path in _declared(service, declared)]
    paths += [_database(found, waived) for found in outside_databases(facts, stack=stack)]
    unused = tuple(each.names for each in waived if not any(_is_of(each, path) for path in paths))
    return CoverageStatement(tuple(paths), unused)


def not_backed_up(facts: ComposeFacts, plan: BackupPlan) -> dict[str, str]:
    """Where the app may write what no backup of ``plan`` holds, each volume or path of the host with the reason."""
    kept = {volume.volume for volume in plan.volumes}
    left: dict[str, str] = {}
    for path in coverage(facts).paths:
        if not path.writable or path.kind in {*_NO_DATA, "outside database"} or path.source in kept:
            continue
        why = "no service says backupbot.backup=true"
        if plan.enabled:
            why = plan.excluded.get(path.source, "it is a path of the host, and backups hold volumes only")
        left[path.source] = why
    return dict(sorted(left.items()))


def shared_data(service: ServiceFacts, facts: ComposeFacts) -> tuple[Mount, ...]:
    """The mounts that two tasks of the service would both write to, if they ran at once."""
    writable = (mount for mount in service.mounts if not mount.read_only)
    return tuple(mount for mount in writable if _judge(mount, facts.volumes)[0] not in _NO_DATA)


def _is_of(entry: Disposable, path: StatefulPath) -> bool:
    """Whether ``entry`` names ``path`` in its own kind: a volume of the name of a secret is none."""
    if path.kind == "outside database":
        return entry.host is not None and _same_host(entry.host, path.source)
    if path.kind in {"secret", "config"} or entry.host is not None:
        return False
    return entry.path == path.target if entry.path is not None else entry.volume == path.source


def _same_host(said: str, host: str) -> bool:
    """Whether recipe.toml's ``said`` is ``host``; a port, capitals and a last dot say nothing else."""
    return any(each.lower() == host.lower() for each in (said, *_plain_hosts(said)))


def _paths(
    service: ServiceFacts, facts: ComposeFacts, waived: tuple[Disposable, ...], nodes: Nodes
) -> Iterable[StatefulPath]:
    elsewhere = "" if nodes.pinned_here(service) else f"may be on any of the Swarm's {nodes.count} nodes"
    for mount in service.mounts:
        yield _mount(service.name, mount, facts.volumes, waived, elsewhere=elsewhere)
    for key in service.secrets:
        yield StatefulPath(
            service.name,
            f"/run/secrets/{key}",
            "secret",
            key,
            writable=False,
            covered=True,
            why="kept with the snapshot",
        )
    for key in service.configs:
        yield StatefulPath(service.name, key, "config", key, writable=False, covered=True, why="comes with the release")


def _declared(service: ServiceFacts, declared: Mapping[str, Collection[str]]) -> Iterator[StatefulPath]:
    """What the image declares as a volume and the recipe mounts nothing at: Docker makes a new one for each task."""
    mounted = {posixpath.normpath(mount.target) for mount in service.mounts}
    for path in sorted(declared.get(service.image, ())):
        if posixpath.normpath(path) not in mounted:
            why = "a VOLUME of the image that no mount covers: gone with every task, and in no snapshot"
            yield StatefulPath(service.name, path, "image volume", service.image, writable=True, covered=False, why=why)


def _database(found: OutsideDatabase, waived: tuple[Disposable, ...]) -> StatefulPath:
    reason = next((each.reason for each in waived if each.host and _same_host(each.host, found.host)), None)
    why = f"a {found.kind} database that is no service of the stack, outside our care"
    return StatefulPath(
        found.service,
        found.variable,
        "outside database",
        found.host,
        writable=True,
        covered=False,
        why=why if reason is None else f"{why}; disposable: {reason}",
        blocks=reason is None,
    )


def _mount(
    service: str,
    mount: Mount,
    volumes: Mapping[str, VolumeFacts],
    waived: tuple[Disposable, ...],
    *,
    elsewhere: str,
) -> StatefulPath:
    kind, covered, why = _judge(mount, volumes)
    if covered and elsewhere:
        kind, covered, why = "volume on any node", False, elsewhere
    writable = not mount.read_only
    reason = next((each.reason for each in waived if _names(each, mount)), None)
    matters = writable and not covered and kind not in _NO_DATA
    if matters and reason is not None:
        why = f"{why}; disposable: {reason}"
    elif not covered and not writable:
        why = f"{why}; read-only"
    return StatefulPath(
        service, mount.target, kind, mount.source, writable, covered, why, blocks=matters and reason is None
    )


def _names(entry: Disposable, mount: Mount) -> bool:
    if entry.host is not None:
        return False
    if entry.volume is not None:
        return mount.kind == "volume" and entry.volume == mount.source
    return entry.path == mount.target


def _judge(mount: Mount, volumes: Mapping[str, VolumeFacts]) -> tuple[str, bool, str]:
    """Kind, whether a snapshot covers it, and why."""
    if mount.kind == "tmpfs":
        return "tmpfs", False, "lives in memory, gone with every task"
    if mount.kind == "bind":
        return _judge_bind(posixpath.normpath(mount.source))
    if mount.kind == "npipe":
        return "socket", False, "a socket holds no data of the app"
    if mount.kind != "volume":
        return f"{mount.kind} volume", False, "not on this node"
    if not mount.source:
        return "anonymous volume", False, "gone with every task"
    return _judge_volume(volumes.get(mount.source, VolumeFacts(mount.source)))


def _judge_bind(source: str) -> tuple[str, bool, str]:
    if source.endswith(_ENGINE):
        return "docker.sock", False, "the engine's socket holds no data of the app"
    if source.endswith(_SOCKETS):
        return "socket", False, "a socket holds no data of the app"
    if _below(source, _DEVICES) and not _below(source, _MEMORY):
        return "device", False, "a device holds no data of the app"
    if any(_below(source, each) for each in _HOST_FILES):
        return "host file", False, "what it tells of its host is no data of the app"
    return "bind", False, "a path of the host, outside our care"


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _judge_volume(volume: VolumeFacts) -> tuple[str, bool, str]:
    if "{{" in (volume.name or volume.key):
        return "templated volume", False, "its name comes out only when a task starts, and can differ for each"
    if volume.external:
        return "external volume", False, "belongs to somebody else, outside our care"
    if volume.driver not in {"", "local"} or volume.driver_opts.get("type", "").startswith(("nfs", "cifs")):
        where = f"kept by the driver {volume.driver}" if volume.driver not in {"", "local"} else "on another machine"
        return "remote volume", False, where
    if volume.driver_opts.get("type") == "tmpfs":
        return "tmpfs", False, "lives in memory, gone with every task"
    if volume.driver_opts:
        return "bind", False, "a place that the recipe chose by driver options, outside our care"
    return "named volume", True, "in every snapshot"
