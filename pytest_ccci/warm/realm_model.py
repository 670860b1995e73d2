"""What a lease hands out (realm, client, people), and the one body that Keycloak imports for it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = [
    "OWNER_PREFIX",
    "Endpoints",
    "RealmLease",
    "User",
    "make_lease",
    "owner_of",
    "people",
    "realm_body",
    "realm_name",
    "signing_key",
]

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


OWNER_PREFIX = "ccci."
_CHEAP_HASHING = "hashAlgorithm(pbkdf2-sha512) and hashIterations(1)"
_KEY_BITS = 2048


def signing_key() -> str:
    """A new RSA private key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def realm_body(
    lease: RealmLease,
    *,
    owner: Mapping[str, str],
    redirect_uris: Sequence[str],
    post_logout_uris: Sequence[str] = (),
    public: bool = False,
    key: str,
) -> dict[str, Any]:
    """The realm representation for ``POST /admin/realms``. ``owner`` is kept as the realm's attributes."""
    return {
        "realm": lease.realm,
        "enabled": True,
        "sslRequired": "external",
        "attributes": {f"{OWNER_PREFIX}{name}": value for name, value in owner.items()},
        "passwordPolicy": _CHEAP_HASHING,
        "components": {"org.keycloak.keys.KeyProvider": _keys(key)},
        "clients": [_client(lease, redirect_uris, post_logout_uris, public=public)],
        "users": [_user(user) for user in lease.users],
    }


def owner_of(realm: Mapping[str, Any]) -> dict[str, str]:
    """The owner's facts in a realm's representation; empty for a realm that is no lease."""
    attributes = realm.get("attributes") or {}
    return {
        name.removeprefix(OWNER_PREFIX): str(value)
        for name, value in attributes.items()
        if name.startswith(OWNER_PREFIX)
    }


def _keys(pem: str) -> list[dict[str, Any]]:
    # A realm that brings one key provider gets no default ones, so that the two cheap ones are named as well.
    return [
        _provider("rsa", "rsa", algorithm="RS256", privateKey=pem),
        _provider("hmac", "hmac-generated", algorithm="HS512"),
        _provider("aes", "aes-generated"),
    ]


def _provider(name: str, provider: str, **config: str) -> dict[str, Any]:
    settings = {"priority": "100", "enabled": "true", "active": "true", **config}
    return {"name": name, "providerId": provider, "config": {key: [value] for key, value in settings.items()}}


def _client(
    lease: RealmLease, redirect_uris: Sequence[str], post_logout_uris: Sequence[str], *, public: bool
) -> dict[str, Any]:
    # A public client has no secret and must prove by PKCE that it is the one that asked.
    own = {"pkce.code.challenge.method": "S256"} if public else {}
    return {
        "clientId": lease.client_id,
        **({} if public else {"secret": lease.client_secret}),
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": public,
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": True,
        "redirectUris": list(redirect_uris),
        "webOrigins": ["+"],
        "attributes": {"post.logout.redirect.uris": "##".join(post_logout_uris) or "+", **own},
    }


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.sub,
        "username": user.username,
        "enabled": True,
        "email": user.email,
        "emailVerified": True,
        "firstName": user.first_name,
        "lastName": user.last_name,
        "credentials": [{"type": "password", "value": user.password, "temporary": False}],
    }
