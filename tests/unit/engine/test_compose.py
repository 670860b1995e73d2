"""The overlay: how long Swarm watches an update before it calls it completed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.engine.compose import OverlaySettings, build_overlay
from pytest_ccci.recipe.compose_facts import compose_facts

CHECK = {"test": ["CMD", "true"], "interval": "5s"}


def monitor_of(service: dict[str, Any], *, fast_health: bool = True) -> str | None:
    config = {"services": {"app": {"image": "nginx:1.22", **service}}}
    overlay = build_overlay(compose_facts(config), OverlaySettings(fast_health=fast_health), version="3.8")
    monitor: str | None = overlay["services"]["app"].get("deploy", {}).get("update_config", {}).get("monitor")
    return monitor


@pytest.mark.parametrize(
    ("service", "monitor"),
    [
        ({"healthcheck": CHECK}, "100ms"),
        ({}, "1s"),
        ({"healthcheck": {"disable": True}}, "1s"),
        ({"healthcheck": CHECK, "deploy": {"update_config": {"monitor": "60s"}}}, None),
    ],
    ids=["a check says when it is up", "nothing says when it is up", "its check is off", "the author said how long"],
)
def test_swarms_own_monitor_is_short_where_a_check_already_proves_the_start(
    service: dict[str, Any], monitor: str | None
) -> None:
    assert monitor_of(service) == monitor


def test_swarms_own_monitor_is_left_alone_without_fast_health() -> None:
    assert monitor_of({"healthcheck": CHECK}, fast_health=False) is None
