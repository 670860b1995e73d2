"""The zone: the DNS name under which apps get their domains, and how a client reaches and trusts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.web import Route

__all__ = ["Zone"]

_HTTPS = 443


@dataclass(frozen=True)
class Zone:
    """Names at or under ``name`` are served at ``address``; ``ca_file`` signs them.

    ``bundle_file`` is what a container trusts: the public CAs and the zone's own. Both are ``None`` where the zone's
    certificates come from a CA that everybody trusts already.
    """

    name: str = "ci.test"
    address: str = "127.0.0.1"
    http_port: int = 80
    https_port: int = _HTTPS
    ca_file: Path | None = None
    bundle_file: Path | None = None

    def domain(self, label: str) -> str:
        """The domain of ``label`` in this zone."""
        return f"{label}.{self.name}"

    def url(self, domain: str) -> str:
        """The address a browser uses for ``domain``, without a slash at the end."""
        return f"https://{domain}" if self.https_port == _HTTPS else f"https://{domain}:{self.https_port}"

    @property
    def route(self) -> Route:
        """How our own HTTP clients reach the zone."""
        return Route(zone=self.name, address=self.address, ca_file=self.ca_file)
