"""A passphrase around a few bytes: scrypt makes the key, AES-256-GCM encrypts and shows each change."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pytest_ccci.errors import ArchiveError, UsageError
from pytest_ccci.redact import SECRETS

__all__ = ["decrypt", "encrypt", "require_passphrase"]

_SALT, _NONCE, _KEY = 16, 12, 32
# The parameters are ours and never read from a file, so that no file can ask for more work than this: 128 MiB, once.
_COST, _BLOCK, _PARALLEL = 1 << 17, 8, 1
_SHORTEST = 12


def require_passphrase(text: str) -> str:
    """``text``, if it is long enough to be worth the name.

    Raises:
        UsageError: it is too short.
    """
    if len(text) < _SHORTEST:
        raise UsageError(f"a passphrase has at least {_SHORTEST} characters", advice="several random words are good")
    SECRETS.learn(text)
    return text


def encrypt(data: bytes, passphrase: str, *, bound_to: bytes) -> bytes:
    """``data``, readable only with the passphrase and only beside the very same ``bound_to``."""
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, data, bound_to)


def decrypt(sealed: bytes, passphrase: str, *, bound_to: bytes) -> bytes:
    """What was encrypted.

    Raises:
        ArchiveError: the passphrase is another one, or something was changed; the two cannot be told apart.
    """
    salt, nonce, body = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE], sealed[_SALT + _NONCE :]
    try:
        return AESGCM(_key(passphrase, salt)).decrypt(nonce, body, bound_to)
    except (InvalidTag, ValueError) as error:
        raise ArchiveError(
            "the secrets cannot be decrypted: the passphrase is another one, or they were changed",
            advice="give the passphrase that `ccci export --with-secrets` was given",
        ) from error


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY, n=_COST, r=_BLOCK, p=_PARALLEL).derive(passphrase.encode("utf-8"))
