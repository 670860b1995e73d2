"""What a lease hands out: realm, client, people. The same people again on kept data, new secrets every time."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Endpoints", "RealmLease", "User", "make_lease", "people", "realm_name"]

_PEOPLE = (("alice", "Alice", "Archer"), ("bob", "Bob", "Baker"))
_SECRET_BYTES = 24


@dataclass(frozen=True)
class User:
    """A person of the realm. ``sub`` is what apps remember people by."""

    username: str
    password: str = field(repr=False)
    email: str
    first_name: str
    last_name: str
    sub: str


@dataclass(frozen=True)
class Endpoints:
    """The realm's OIDC endpoints."""

    authorization: str
    token: str
    userinfo: str
    jwks: str
    logout: str

    @classmethod
    def of(cls, issuer: str) -> Endpoints:
        """Those of a Keycloak realm with this issuer."""
        base = f"{issuer}/protocol/openid-connect"
        return cls(f"{base}/auth", f"{base}/token", f"{base}/userinfo", f"{base}/certs", f"{base}/logout")


@dataclass(frozen=True)
class RealmLease:
    """One Keycloak realm that belongs to one run."""

    realm: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    users: tuple[User, ...]
    endpoints: Endpoints
    run_id: str
    nonce: str

    @property
    def user(self) -> User:
        """The first person, where one is enough."""
        return self.users[0]

    @property
    def discovery(self) -> str:
        """The address of the OIDC discovery document."""
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must never be shown."""
        return (self.client_secret, *(user.password for user in self.users))

    def context(self) -> Mapping[str, object]:
        """What recipe.toml's templates see as ``realm``."""
        return dict(_public(self))


def realm_name(recipe: str, run_id: str, *, kept: bool) -> str:
    """``warm-<recipe>`` for an app on kept data, which must meet the same issuer again; else one of the run's own."""
    return f"warm-{recipe}" if kept else f"{recipe}-{run_id}"


def people(domain: str, zone: str) -> tuple[User, ...]:
    """The realm's people, with new passwords. Who they are depends on ``domain`` alone."""
    return tuple(
        User(
            username=name,
            password=secrets.token_urlsafe(_SECRET_BYTES),
            email=f"{name}@{zone}",
            first_name=first,
            last_name=last,
            sub=str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{domain}")),
        )
        for name, first, last in _PEOPLE
    )


def make_lease(*, recipe: str, run_id: str, domain: str, zone: str, base_url: str, kept: bool) -> RealmLease:
    """A lease for the app at ``domain``, not yet known to Keycloak (at ``base_url``)."""
    realm = realm_name(recipe, run_id, kept=kept)
    issuer = f"{base_url}/realms/{realm}"
    return RealmLease(
        realm=realm,
        issuer=issuer,
        client_id=recipe,
        client_secret=secrets.token_urlsafe(_SECRET_BYTES),
        users=people(domain, zone),
        endpoints=Endpoints.of(issuer),
        run_id=run_id,
        nonce=secrets.token_hex(8),
    )


def _public(lease: RealmLease) -> Iterator[tuple[str, object]]:
    yield "name", lease.realm
    yield "realm", lease.realm
    yield "issuer", lease.issuer
    yield "discovery", lease.discovery
    yield "client_id", lease.client_id
    yield "client_secret", lease.client_secret
    yield "user", lease.user
    yield "users", lease.users
    yield "endpoints", lease.endpoints
