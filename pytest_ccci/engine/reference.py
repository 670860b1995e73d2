"""An image reference as Docker reads it: which registry, which name, which tag, which digest."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reference", "parse_reference"]

_HUB = "docker.io"
_LOCAL = "localhost"


@dataclass(frozen=True)
class Reference:
    """``name`` is the familiar form without tag: ``postgres``, ``quay.io/keycloak/keycloak``, ``localhost/x``."""

    host: str
    name: str
    tag: str
    digest: str

    @property
    def local(self) -> bool:
        """Whether no registry is ever asked for it."""
        return self.host == _LOCAL

    def __str__(self) -> str:
        tagged = f"{self.name}:{self.tag}" if self.tag else self.name
        return f"{tagged}@{self.digest}" if self.digest else tagged


def parse_reference(text: str) -> Reference:
    """Read ``text`` as distribution/reference does: a first part with a dot or colon, or ``localhost``, is a host."""
    rest, _, digest = text.partition("@")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    host, slash, remainder = path.partition("/")
    if not slash or not ("." in host or ":" in host or host == _LOCAL):
        host, remainder = _HUB, path
    if host in {_HUB, "index.docker.io"}:
        host, name = _HUB, remainder.removeprefix("library/")
    else:
        name = f"{host}/{remainder}"
    return Reference(host, name, tag if tag or digest else "latest", digest)
