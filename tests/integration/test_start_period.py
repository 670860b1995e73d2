"""Health checks in a start period: Docker 25 and newer make them every five seconds unless they are told otherwise."""

from __future__ import annotations

from pathlib import Path

from realruns import own_name

from pytest_ccci.engine.compose import OverlaySettings, build_overlay, raised_version, stack_config, write_compose
from pytest_ccci.engine.deploy import deploy, undeploy
from pytest_ccci.engine.inspect import stack_filter
from pytest_ccci.engine.vip_probe import PROBE_IMAGE
from pytest_ccci.recipe.compose_facts import compose_facts
from pytest_ccci.run.host import Machine
from pytest_ccci.waiting import Deadline

COMPOSE = f"""\
version: "3.8"
services:
  app:
    image: {PROBE_IMAGE}
    command: ["sleep", "300"]
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "true"], interval: 30s, start_period: 1m}}
"""


def test_an_old_compose_version_keeps_no_engine_from_checking_every_second_in_a_start_period(
    machine: Machine, tmp_path: Path
) -> None:
    engine, stack = machine.engine, own_name()
    file, overlay = tmp_path / "compose.yml", tmp_path / "overlay.yml"
    file.write_text(COMPOSE, encoding="utf-8")
    facts = compose_facts(stack_config(engine, [file], {}))
    version = raised_version(engine, "3.8", [file])
    settings = OverlaySettings(start_interval=engine.facts.start_interval)
    write_compose(overlay, build_overlay(facts, settings, version=version))
    try:
        deploy(engine, stack, (file, overlay), {}, version=version)
        [service] = engine.client.api.services(filters=stack_filter(stack))
    finally:
        undeploy(engine, stack, volumes=True, deadline=Deadline(60))
    check = service["Spec"]["TaskTemplate"]["ContainerSpec"]["Healthcheck"]
    assert check["Interval"] == 10**9
    assert check["StartPeriod"] == 60 * 10**9
    assert check.get("StartInterval") == (10**9 if engine.facts.start_interval else None)
    assert file.read_text(encoding="utf-8") == COMPOSE
