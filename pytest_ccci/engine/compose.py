"""Compose files as Docker's own loader reads them, and the overlay file of ours: environment only, never a version."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import ProgramFailed, RecipeInvalid
from pytest_ccci.recipe.compose_facts import (
    WITH_CONFIGS,
    ComposeFacts,
    HealthcheckFacts,
    Port,
    ServiceFacts,
    minor_version,
)
from pytest_ccci.recipe.compose_yaml import load_yaml
from pytest_ccci.recipe.coverage import shared_data

__all__ = [
    "BUNDLE_TARGET",
    "OverlaySettings",
    "build_overlay",
    "raised_version",
    "run_stack",
    "stack_config",
    "write_compose",
]

_TIMEOUT = 60.0
_OBEYED = re.compile(
    r"(?:DOCKER|BUILDKIT|BUILDX|LD|GO|XDG|SSL|OTEL|PYTHON|GLIBC|MALLOC)[A-Z0-9_]*"
    r"|PATH|HOME|TMPDIR|SHELL|PWD|USER|TERM|COLUMNS|LANG|LC_[A-Z]+|LANGUAGE|NO_COLOR"
    r"|(?:HTTP|HTTPS|NO|ALL|FTP)_PROXY",
    re.IGNORECASE,
)
"""Variables that the Docker CLI, its libraries or the loader act on: in its environment they are ours alone."""
_USE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<brace>\{?)(?P<name>[A-Za-z_][A-Za-z0-9_]*))")
_APART = "CCCI_APP_"


def stack_config(engine: Engine, files: Sequence[Path], env: Mapping[str, str]) -> dict[str, Any]:
    """What ``docker stack config`` makes of ``files``, interpolated from ``env`` alone.

    Raises:
        RecipeInvalid: Docker rejects the files; its own words are shown.
    """
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise RecipeInvalid(
            f"{', '.join(file.name for file in missing)} does not exist",
            where=str(missing[0].parent),
            advice="check COMPOSE_FILE in .env.sample and in recipe.toml [env]",
        )
    try:
        done = run_stack(engine, ["config"], files, env, timeout=_TIMEOUT)
    except ProgramFailed as error:
        raise RecipeInvalid(
            "Docker rejects the compose files",
            where=", ".join(file.name for file in files),
            seen=error.tail,
            advice="run 'docker stack config' on them",
        ) from error
    loaded = load_yaml(done.stdout, where="docker stack config")
    return loaded if isinstance(loaded, dict) else {}


def run_stack(
    engine: Engine,
    words: Sequence[str],
    files: Sequence[Path],
    env: Mapping[str, str],
    *,
    stack: str = "",
    version: str = "",
    timeout: float,
    dies_with_us: bool = False,
) -> process.Finished:
    """Run ``docker stack`` with ``words`` on ``files``, interpolated from ``env`` alone.

    With ``version`` (of `raised_version`) each file is read as if it said that one.

    Raises:
        ProgramFailed: it ended with an error; what it printed names variables as the recipe does.
    """
    with _interpolation(files, env, version) as (copies, values):
        named = [word for file in copies for word in ("--compose-file", str(file))]
        try:
            return process.run(
                [engine.cli, "stack", *words, *named, *([stack] if stack else [])],
                env=engine.docker_env(values),
                cwd=files[0].parent,
                timeout=timeout,
                dies_with_us=dies_with_us,
            )
        except ProgramFailed as error:
            tail = error.tail.replace(_APART, "")
            raise ProgramFailed(error.what, rc=error.rc, tail=tail, where=error.where, advice=error.advice) from error


@contextmanager
def _interpolation(
    files: Sequence[Path], env: Mapping[str, str], version: str
) -> Iterator[tuple[tuple[Path, ...], dict[str, str]]]:
    """Compose files, and variables for the Docker CLI's environment of which the CLI itself obeys none.

    Docker interpolates from the environment of its own process. A variable of the app that is called as one that the
    CLI obeys (``DOCKER_HOST``, ``HOME``, a proxy) has another name there, and in copies of the files that use it; where
    the app does not set it, it is empty and not ours. The copies lie beside the first file, since Docker reads
    relative paths from there, and are removed in the end.
    """
    values = {name: value for name, value in env.items() if not _OBEYED.fullmatch(name)}
    copies = []
    made = []
    try:
        for number, file in enumerate(files):
            text = file.read_bytes().decode("utf-8", "surrogateescape")
            apart = _USE.sub(_use_apart, text)
            if version:
                apart = _VERSION.sub(f'version: "{version}"', apart, count=1)
            if apart != text:
                made.append(file := files[0].with_name(f".ccci-{number}-{file.name}"))
                file.write_bytes(apart.encode("utf-8", "surrogateescape"))
            copies.append(file)
        if made:
            values |= {_APART + name: value for name, value in env.items() if name not in values}
        yield tuple(copies), values
    finally:
        for file in made:
            file.unlink(missing_ok=True)


def raised_version(engine: Engine, version: str, files: Sequence[Path]) -> str:
    """The compose version to deploy ``files`` with: ``version``, or one in which our overlay can say a start interval.

    Docker wants one version in all files. What it has by then read as ``version`` means the same in the raised one.
    """
    minor = minor_version(version)
    if not engine.facts.start_interval or minor is None or not _WITH_NAMES <= minor < _WITH_START_INTERVAL:
        return version
    raisable = all(_VERSION.search(file.read_bytes().decode("utf-8", "surrogateescape")) for file in files)
    return f"3.{_WITH_START_INTERVAL}" if raisable else version


def _use_apart(use: re.Match[str]) -> str:
    if use["dollar"] or not _OBEYED.fullmatch(use["name"]):
        return use[0]
    return f"${use['brace']}{_APART}{use['name']}"


def write_compose(path: Path, content: Mapping[str, Any]) -> None:
    """Write a compose file that says literally what ``content`` says: every ``$`` is doubled for the interpolation."""
    text = yaml.safe_dump(dict(content), sort_keys=False).replace("$", "$$")
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


BUNDLE_TARGET = "/etc/ssl/ccci-ca-bundle.crt"

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_CA_KEY = "ccci_ca_bundle"
_INTERVAL = 1.0
_DOCKER_INTERVAL = 30.0
_DOCKER_RETRIES = 3
_DOCKER_START_INTERVAL = 5.0
_WITH_NAMES = 5
_WITH_START_INTERVAL = 12
_VERSION = re.compile(r"^version:.*$", re.MULTILINE)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class OverlaySettings:
    """What the overlay brings.

    ``hosts`` maps names to addresses for every service; ``ca_config`` names the swarm config with the CA bundle;
    ``vip`` says whether service VIPs work here; ``labels`` go on service ``app``; ``app_env`` is offered to it, too.
    ``fast_health``: health checks are made every second, or every ``check_every`` seconds where it is given;
    ``start_interval`` says that the engine has a pace of its own for those in a start period.
    """

    hosts: Mapping[str, str] = field(default_factory=dict)
    ca_config: str = ""
    fast_health: bool = True
    check_every: float | None = None
    start_interval: bool = False
    vip: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    app_env: Mapping[str, str] = field(default_factory=dict)


def build_overlay(facts: ComposeFacts, settings: OverlaySettings, *, version: str | None) -> dict[str, Any]:
    """The overlay for a recipe as a compose mapping. ``version`` repeats the recipe's own (all files must agree).

    Raises:
        RecipeInvalid: that version has no place for what the overlay brings.
    """
    overlay: dict[str, Any] = {"version": version} if version else {}
    minor = minor_version(version or "")
    if minor is not None and minor < _WITH_START_INTERVAL:
        settings = replace(settings, start_interval=False)  # a file of that version that names it is refused
    overlay["services"] = {
        name: _service(name, service, settings, shared=bool(shared_data(service, facts)))
        for name, service in facts.services.items()
    }
    if settings.ca_config:
        overlay["configs"] = {_CA_KEY: _external(settings.ca_config, version or "")}
    return overlay


def _external(name: str, version: str) -> dict[str, Any]:
    """An external config as the compose version says it: configs came with 3.3, their ``name`` beside with 3.5."""
    minor = minor_version(version)
    if minor is not None and minor < WITH_CONFIGS:
        raise RecipeInvalid(
            f"compose version {version} knows no configs, in which a run brings its CA",
            advice='write version: "3.8" in each compose file',
        )
    if minor is not None and minor < _WITH_NAMES:
        return {"external": {"name": name}}
    return {"external": True, "name": name}


def _service(name: str, facts: ServiceFacts, settings: OverlaySettings, *, shared: bool) -> dict[str, Any]:
    parts: dict[str, Any] = {"deploy": _deploy(name, facts, settings, shared=shared)}
    if settings.hosts:
        parts["extra_hosts"] = [f"{host}:{address}" for host, address in settings.hosts.items()]
    environment = _environment(name, facts, settings)
    if environment:
        parts["environment"] = environment
    if settings.ca_config:
        parts["configs"] = [{"source": _CA_KEY, "target": BUNDLE_TARGET, "mode": 0o444}]
    if settings.fast_health and facts.healthcheck is not None:
        parts["healthcheck"] = _healthcheck(facts.healthcheck, settings)
    if not settings.vip and facts.ports:
        parts["ports"] = [_host_port(port) for port in facts.ports]
    return {key: value for key, value in parts.items() if value}


def _deploy(name: str, facts: ServiceFacts, settings: OverlaySettings, *, shared: bool) -> dict[str, Any]:
    deploy: dict[str, Any] = {}
    update: dict[str, Any] = {}
    if settings.fast_health and facts.monitor is None and not facts.one_shot:  # Docker refuses it for a job
        # The proof that the same tasks stay up is ours and lasts until settle; Swarm's own monitor only adds to it.
        # Where a check says when a task is up, Swarm counts a death before that whatever the monitor (measured).
        checked = facts.healthcheck is not None and not facts.healthcheck.disabled
        update["monitor"] = "100ms" if checked else "1s"
    if facts.update_order == "start-first" and (shared or facts.ports):
        # Two tasks on one data directory or one host port: both say they are healthy, or the new one never starts.
        update["order"] = "stop-first"
    if update:
        deploy["update_config"] = update
    if not settings.vip:
        deploy["endpoint_mode"] = "dnsrr"
    if name == "app" and settings.labels:
        deploy["labels"] = dict(settings.labels)
    return deploy


def _environment(name: str, facts: ServiceFacts, settings: OverlaySettings) -> dict[str, str]:
    environment: dict[str, str] = {}
    if name == "app":
        # abra gives the whole environment to service app: Go-templated configs read the service's own.
        environment.update({k: v for k, v in settings.app_env.items() if k not in facts.environment and "{{" not in v})
    if settings.ca_config:
        environment.update({key: BUNDLE_TARGET for key in _CA_VARIABLES if key not in facts.environment})
    return environment


def _healthcheck(check: HealthcheckFacts, settings: OverlaySettings) -> dict[str, Any]:
    """Another pace, and as many retries as give up after the same time. In a start period no failure counts."""
    if check.disabled:
        return {}
    interval = check.interval or _DOCKER_INTERVAL
    pace = settings.check_every or min(check.interval or _INTERVAL, _INTERVAL)
    said: dict[str, Any] = {}
    if interval != pace:
        retries = check.retries or _DOCKER_RETRIES
        said = {"interval": f"{pace:g}s", "retries": math.ceil(retries * interval / pace)}
    if settings.start_interval and check.start_period and pace < (check.start_interval or _DOCKER_START_INTERVAL):
        said["start_interval"] = f"{pace:g}s"
    return said


def _host_port(port: Port) -> dict[str, Any]:
    if not _NUMBER.fullmatch(port.target):
        raise RecipeInvalid(f"the port {port.target!r} is no number", advice="write ports as published:target")
    given = {"published": int(port.published)} if _NUMBER.fullmatch(port.published) else {}
    return {"target": int(port.target), **given, "protocol": port.protocol or "tcp", "mode": "host"}
