"""The overlay: how long Swarm watches an update. The CLI's environment: nothing of the app's is obeyed by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.engine.client import Engine, EngineFacts
from pytest_ccci.engine.compose import OverlaySettings, build_overlay, interpolation
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


USES = """\
services:
  app:
    image: nginx:1.22
    command: sh -c 'echo $$HOME $${PATH}'
    environment:
      HOST: ${DOCKER_HOST}
      BARE: $HOME
      ELSE: ${HTTPS_PROXY:-none}
      OWN: ${DOMAIN}
"""


def test_a_variable_that_the_docker_cli_obeys_is_called_otherwise_where_the_app_uses_it(tmp_path: Path) -> None:
    plain, uses = tmp_path / "compose.yml", tmp_path / "compose.socket.yml"
    plain.write_text("services: {app: {environment: {OWN: '${DOMAIN}'}}}\n", encoding="utf-8")
    uses.write_text(USES, encoding="utf-8")
    env = {"DOCKER_HOST": "tcp://socket-proxy:2375", "HTTPS_PROXY": "http://there", "DOMAIN": "x.ci.test"}
    with interpolation((plain, uses), env) as (files, values):
        assert files[0] == plain
        assert files[1].parent == plain.parent
        text = files[1].read_text(encoding="utf-8")
        assert values["DOMAIN"] == "x.ci.test"
        assert {"DOCKER_HOST", "HTTPS_PROXY", "HOME"} & set(values) == set()
        named = {value: name for name, value in values.items()}
        assert f"HOST: ${{{named['tcp://socket-proxy:2375']}}}" in text
        assert f"ELSE: ${{{named['http://there']}:-none}}" in text
    assert "$$HOME $${PATH}" in text
    assert "BARE: $HOME" not in text, "the home of who tests is not the app's"
    assert "OWN: ${DOMAIN}" in text
    assert sorted(tmp_path.iterdir()) == sorted((plain, uses))


@pytest.mark.parametrize(
    "name",
    ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "HOME", "PATH", "PYTHONPATH", "http_proxy", "LD_PRELOAD"],
)
def test_a_variable_of_the_app_never_reaches_what_the_cli_obeys(name: str, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: {}\n", encoding="utf-8")
    with interpolation((file,), {name: "the app's"}) as (files, values):
        assert files == (file,)
        assert values == {}


def test_what_the_cli_obeys_is_ours_whatever_the_app_says() -> None:
    facts = EngineFacts("", "", "", "", "")
    engine = Engine(None, Path("docker"), "unix:///ours", facts, environment={"PATH": "/bin", "HOME": "/root"})
    env = engine.docker_env({"DOCKER_HOST": "tcp://theirs", "PATH": "/theirs", "HOME": "/theirs", "DOMAIN": "x"})
    assert (env["DOCKER_HOST"], env["PATH"], env["HOME"], env["DOMAIN"]) == ("unix:///ours", "/bin", "/root", "x")
