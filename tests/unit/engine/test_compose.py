"""The overlay: how long Swarm watches an update. The CLI's environment: nothing of the app's is obeyed by it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine.client import Engine, EngineFacts
from pytest_ccci.engine.compose import OverlaySettings, build_overlay, raised_version, run_stack, stack_config
from pytest_ccci.errors import ProgramFailed, RecipeInvalid
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


@pytest.mark.parametrize(
    ("check", "every", "pace"),
    [
        ({"interval": "30s"}, None, {"interval": "1s", "retries": 90}),
        ({"interval": "500ms"}, None, None),
        ({"interval": "2s", "retries": 30}, 5.0, {"interval": "5s", "retries": 12}),
        ({"interval": "1m", "retries": 2}, 5.0, {"interval": "5s", "retries": 24}),
        ({"interval": "5s"}, 5.0, None),
        ({"disable": True}, 5.0, None),
    ],
    ids=["faster in a run", "fast enough", "slower for what stays", "faster for what stays", "as it is", "off"],
)
def test_the_pace_of_health_checks_and_the_same_time_until_they_give_up(
    check: dict[str, Any], every: float | None, pace: dict[str, Any] | None
) -> None:
    service = {"image": "docs:1", "healthcheck": {"test": ["CMD", "true"], **check}}
    settings = OverlaySettings(check_every=every)
    overlay = build_overlay(compose_facts({"services": {"app": service}}), settings, version="3.8")
    assert overlay["services"]["app"].get("healthcheck") == pace


@pytest.mark.parametrize(
    ("version", "every", "check", "start"),
    [
        ("3.12", None, {"start_period": "1m"}, "1s"),
        (None, None, {"start_period": "1m"}, "1s"),
        ("3.12", None, {"start_period": "1m", "start_interval": "20s"}, "1s"),
        ("3.12", None, {"start_period": "1m", "start_interval": "500ms"}, None),
        ("3.12", None, {}, None),
        ("3.12", 5.0, {"start_period": "1m"}, None),
        ("3.8", None, {"start_period": "1m"}, None),
    ],
    ids=["said", "no version", "slower", "fast enough", "no start period", "what stays", "the version cannot say it"],
)
def test_checks_in_a_start_period_are_as_fast_where_the_engine_has_a_pace_of_their_own(
    version: str | None, every: float | None, check: dict[str, Any], start: str | None
) -> None:
    service = {"image": "docs:1", "healthcheck": {"test": ["CMD", "true"], "interval": "30s", **check}}
    facts = compose_facts({"services": {"app": service}})
    for knows in (True, False):
        settings = OverlaySettings(check_every=every, start_interval=knows)
        said = build_overlay(facts, settings, version=version)["services"]["app"]["healthcheck"]
        assert said.get("start_interval") == (start if knows else None)


@pytest.mark.parametrize("mode", ["replicated-job", "global-job"])
def test_a_job_gets_no_update_config_which_docker_refuses_for_it(mode: str) -> None:
    service = {"image": "docs:1", "deploy": {"mode": mode}}
    overlay = build_overlay(compose_facts({"services": {"app": service}}), OverlaySettings(), version="3.8")
    assert "update_config" not in overlay["services"]["app"].get("deploy", {})


def test_swarms_own_monitor_is_left_alone_without_fast_health() -> None:
    assert monitor_of({"healthcheck": CHECK}, fast_health=False) is None


@pytest.mark.parametrize(
    ("volumes", "order"),
    [
        (["data:/srv"], "stop-first"),
        (["/host:/srv"], "stop-first"),
        (["data:/srv:ro", "/dev/dri:/dev/dri", "/etc/localtime:/etc/localtime", "/run/x.sock:/x"], None),
        ([{"type": "tmpfs", "target": "/tmp"}], None),
    ],
)
def test_only_data_that_two_tasks_would_write_to_stops_a_start_first(volumes: list[Any], order: str | None) -> None:
    service = {"image": "nginx:1.22", "volumes": volumes, "deploy": {"update_config": {"order": "start-first"}}}
    overlay = build_overlay(compose_facts({"services": {"app": service}}), OverlaySettings(), version="3.8")
    assert overlay["services"]["app"]["deploy"]["update_config"].get("order") == order


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("3.3", {"external": {"name": "ca"}}),
        ("3.4", {"external": {"name": "ca"}}),
        ("3.5", {"external": True, "name": "ca"}),
        ("3.13", {"external": True, "name": "ca"}),
        ("3", {"external": True, "name": "ca"}),
        (None, {"external": True, "name": "ca"}),
    ],
)
def test_the_overlay_speaks_the_compose_version_of_the_recipe(version: str | None, config: dict[str, Any]) -> None:
    facts = compose_facts({"services": {"app": {"image": "nginx:1.22"}}})
    overlay = build_overlay(facts, OverlaySettings(ca_config="ca"), version=version)
    assert list(overlay["configs"].values()) == [config]


@pytest.mark.parametrize("version", ["3.0", "3.1", "3.2"])
def test_a_compose_version_without_configs_is_refused_in_words(version: str) -> None:
    facts = compose_facts({"services": {"app": {"image": "nginx:1.22"}}})
    with pytest.raises(RecipeInvalid, match=f"compose version {version} knows no configs") as caught:
        build_overlay(facts, OverlaySettings(ca_config="ca"), version=version)
    assert "3.8" in caught.value.advice
    assert build_overlay(facts, OverlaySettings(), version=version)["version"] == version


@pytest.mark.parametrize("port", ["x:y", "80:", "80:²", {"target": None}])
def test_a_port_that_is_no_number_is_refused_in_words(port: Any) -> None:
    facts = compose_facts({"services": {"app": {"image": "nginx:1.22", "ports": [port]}}})
    with pytest.raises(RecipeInvalid, match="is no number"):
        build_overlay(facts, OverlaySettings(vip=False), version=None)


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


def test_what_docker_prints_is_read_whatever_the_values_are(tmp_path: Path) -> None:
    """Docker prints a plain ``=``, which is a type of its own to other readers of YAML (measured)."""
    cli = tmp_path / "docker"
    cli.write_text(
        "#!/bin/sh\nprintf 'services:\\n  app:\\n    environment: {A: =, D: 2001-99-99}\\n'\n", encoding="utf-8"
    )
    cli.chmod(0o755)
    file = tmp_path / "compose.yml"
    file.write_text("services: {}\n", encoding="utf-8")
    engine: Any = SimpleNamespace(cli=str(cli), docker_env=dict)
    config = stack_config(engine, [file], {})
    assert config["services"]["app"]["environment"] == {"A": "=", "D": "2001-99-99"}


CLI = """#!/bin/sh
env
for word in "$@"; do case $word in *.yml) echo "== $word"; cat "$word" ;; esac; done
case " $* " in *" refused "*) echo "required variable CCCI_APP_HOME is missing a value" >&2; exit 1 ;; esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine whose CLI says in which environment it was started, and what the files hold."""
    cli = tmp_path / "bin" / "docker"
    cli.parent.mkdir()
    cli.write_text(CLI, encoding="utf-8")
    cli.chmod(0o755)
    facts = EngineFacts("", "", "", "", "")
    return Engine(None, cli, "unix:///ours", facts, environment={"PATH": "/usr/bin:/bin", "HOME": "/root"})


def told(engine: Engine, files: tuple[Path, ...], env: dict[str, str]) -> tuple[dict[str, str], str]:
    """The CLI's environment and what it read."""
    environment, _, read = run_stack(engine, ["config"], files, env, timeout=20).stdout.partition("== ")
    return dict(line.partition("=")[::2] for line in environment.splitlines()), read


def test_a_variable_that_the_docker_cli_obeys_is_called_otherwise_where_the_app_uses_it(
    engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    plain, uses = folder / "compose.yml", folder / "compose.socket.yml"
    plain.write_text("services: {app: {environment: {OWN: '${DOMAIN}'}}}\n", encoding="utf-8")
    uses.write_text(USES, encoding="utf-8")
    env = {"DOCKER_HOST": "tcp://socket-proxy:2375", "HTTPS_PROXY": "http://there", "DOMAIN": "x.ci.test"}
    seen, text = told(engine, (plain, uses), env)
    assert text.startswith(f"{plain}\n")
    assert (seen["DOMAIN"], seen["DOCKER_HOST"], seen["HOME"]) == ("x.ci.test", "unix:///ours", "/root")
    assert "HTTPS_PROXY" not in seen
    named = {value: name for name, value in seen.items()}
    assert f"HOST: ${{{named['tcp://socket-proxy:2375']}}}" in text
    assert f"ELSE: ${{{named['http://there']}:-none}}" in text
    assert "$$HOME $${PATH}" in text
    assert "BARE: $HOME" not in text, "the home of who tests is not the app's"
    assert "OWN: ${DOMAIN}" in text
    assert sorted(folder.iterdir()) == sorted((plain, uses))


def test_what_docker_says_of_a_variable_names_it_as_the_recipe_does(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: {app: {image: '${HOME:?must be set}'}}\n", encoding="utf-8")
    with pytest.raises(ProgramFailed) as caught:
        run_stack(engine, ["refused"], (file,), {}, timeout=20)
    assert "required variable HOME is missing a value" in caught.value.tail
    assert not list(tmp_path.glob(".ccci-*"))


@pytest.mark.parametrize(
    "name",
    ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "HOME", "PATH", "PYTHONPATH", "http_proxy", "LD_PRELOAD"],
)
def test_a_variable_of_the_app_never_reaches_what_the_cli_obeys(name: str, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "compose.yml"
    file.write_text("services: {}\n", encoding="utf-8")
    seen, text = told(engine, (file,), {name: "the app's"})
    assert "the app's" not in seen.values()
    assert text.startswith(f"{file}\n")


def test_what_the_cli_obeys_is_ours_whatever_the_app_says(engine: Engine) -> None:
    env = engine.docker_env({"DOCKER_HOST": "tcp://theirs", "PATH": "/theirs", "HOME": "/theirs", "DOMAIN": "x"})
    assert (env["DOCKER_HOST"], env["PATH"], env["HOME"], env["DOMAIN"]) == (
        "unix:///ours",
        "/usr/bin:/bin",
        "/root",
        "x",
    )


def told_by(api: str, version: str, files: dict[str, str], folder: Path) -> str:
    """The version that files of these texts are deployed with on an engine of this API."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    engine = Engine(None, Path("docker"), "unix:///x", EngineFacts("i", "1", api, "28.2.2", "x"))
    return raised_version(engine, version, [folder / name for name in files])


@pytest.mark.parametrize(
    ("api", "version", "text", "raised"),
    [
        ("1.44", "3.8", '---\nversion: "3.8" # as abra\nservices: {}\n', "3.12"),
        ("1.41", "3.8", 'version: "3.8"\n', "3.8"),
        ("1.44", "3.4", 'version: "3.4"\n', "3.4"),
        ("1.44", "3.13", 'version: "3.13"\n', "3.13"),
        ("1.44", "3.8", '{"version": "3.8"}\n', "3.8"),
    ],
    ids=["raised", "an old engine", "external names are said otherwise", "new enough", "in no line of its own"],
)
def test_a_compose_version_is_raised_only_where_it_matters_and_can_be(
    api: str, version: str, text: str, raised: str, tmp_path: Path
) -> None:
    assert told_by(api, version, {"a.yml": 'version: "3.8"\n', "b.yml": text}, tmp_path) == raised


def test_docker_reads_all_files_in_the_raised_version_and_the_recipe_keeps_its_own(
    engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yml"
    file.write_text(text := 'version: "3.8"\nservices:\n  version: 3\n', encoding="utf-8")
    read = run_stack(engine, ["config"], (file,), {}, version="3.12", timeout=20).stdout
    assert 'version: "3.12"\nservices:\n  version: 3' in read
    assert file.read_text(encoding="utf-8") == text
    assert list(tmp_path.glob(".ccci-*")) == []
