"""Databases outside of the stack, as far as a service's environment names them.

What an app is told by a secret, a config file or in its own settings is not seen here: nobody can know it from a
compose file. Values may hold passwords, so that only the variable, the kind and the host are ever told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_ccci.recipe.facts import ComposeFacts, ServiceFacts

__all__ = ["OutsideDatabase", "outside_databases"]

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
    "ldap": "LDAP",
    "ldaps": "LDAP",
    "s3": "S3",
}
_NAMED = re.compile(
    r"(?:^|_)(DB|DATABASE|POSTGRES|POSTGRESQL|PG|MYSQL|MARIADB|MONGO|MONGODB|REDIS)_?(?:HOST|HOSTNAME|SERVER|ADDR)$"
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
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
    inside = _names(facts, stack)
    return tuple(found for service in facts.services.values() for found in _told(service, inside))


def _told(service: ServiceFacts, inside: Collection[str]) -> Iterator[OutsideDatabase]:
    for variable, value in sorted(service.environment.items()):
        for kind, host in _places(variable, value or ""):
            if host.lower().removeprefix("tasks.") not in inside:
                yield OutsideDatabase(service.name, variable, kind, host)


def _places(variable: str, value: str) -> Iterator[tuple[str, str]]:
    """The databases that a variable names: by URL, or by a host in a variable that is called like one."""
    for scheme, rest in re.findall(r"\b([a-z][a-z0-9]*)(?:\+[a-z0-9]+)?://([^\s'\"]+)", value):
        if scheme in _SCHEMES:
            yield from ((_SCHEMES[scheme], host) for host in _hosts(rest))
    named = _NAMED.search(variable.upper())
    if named and "://" not in value:
        host = value.strip().partition(":")[0]
        if _HOST.fullmatch(host):
            yield named[1].capitalize(), host


def _hosts(rest: str) -> Iterator[str]:
    """The hosts of a URL after its scheme; some kinds name several, and a socket's path is none."""
    authority = urlsplit(f"//{rest}").netloc.rpartition("@")[2]
    for part in authority.split(","):
        host = part.rpartition(":")[0] if re.search(r":\d*$", part) else part
        if _HOST.fullmatch(host.strip("[]")):
            yield host.strip("[]")


def _names(facts: ComposeFacts, stack: str) -> frozenset[str]:
    """By which names the stack's services reach each other, in lower case."""
    names = set(_HERE)
    for service in facts.services.values():
        names |= {service.name, *(alias for each in service.aliases.values() for alias in each)}
        names |= {f"{stack}_{service.name}"} if stack else set()
    return frozenset(name.lower() for name in names)
