"""The Swarm's nodes, as far as data is concerned: a local volume is on one of them."""

from __future__ import annotations

from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.recipe.coverage import Nodes

__all__ = ["nodes_of"]


def nodes_of(engine: Engine) -> Nodes:
    """How many nodes there are, and which one answers."""
    with engine_errors("asking for the Swarm's nodes"):
        facts: dict[str, Any] = engine.client.api.info()
    swarm = facts.get("Swarm") or {}
    return Nodes(int(swarm.get("Nodes") or 1), str(facts.get("Name") or ""), str(swarm.get("NodeID") or ""))
