"""Lists networks while others come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docker.errors import APIError

from pytest_ccci.engine.client import Engine
from pytest_ccci.waiting import Deadline, until

__all__ = ["is_gone", "networks"]

_PATIENCE = 10.0


def is_gone(error: APIError) -> bool:
    """Whether the engine says that the very thing is not there, by status or, from deep inside of Swarm, by words."""
    return error.status_code == 404 or "not found" in str(error.explanation or "")  # noqa: PLR2004  HTTP's own number


def networks(engine: Engine, *, filters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """What ``GET /networks`` says, asked again when one of them goes in the middle: the whole list is refused then.

    Raises:
        DeadlineExceeded: it was refused for that reason for 10 s.
    """
    refused: list[str] = []

    def listed() -> tuple[list[dict[str, Any]]] | None:
        try:
            return (list(engine.client.api.networks(filters=dict(filters or {}))),)
        except APIError as error:
            if not is_gone(error):
                raise
            refused.append(str(error.explanation))
            return None

    found = until(listed, deadline=Deadline(_PATIENCE), what="a list of networks", seen=lambda: refused[-1])
    return found[0]
