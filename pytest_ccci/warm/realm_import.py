"""A lease as the one body that Keycloak imports: realm, key, client and people in a single transaction.

An own RSA key halves the time (the server would generate one), and a password policy with cheap hashing takes another
fifth; both are right for a realm that lives for one run and whose passwords are random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pytest_ccci.warm.identity import RealmLease, User

__all__ = ["OWNER_PREFIX", "owner_of", "realm_body", "signing_key"]

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
