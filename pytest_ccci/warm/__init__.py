"""The live-warm apps: Traefik and Keycloak, the zone's CA, realm leases, alerts, the gate."""

from __future__ import annotations

__all__: list[str] = []
