"""The connection to one Docker engine in Swarm mode, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from pytest_ccci.errors import CcciError, EngineUnavailable, ProgramFailed
from pytest_ccci.process import run
from pytest_ccci.settings import current_environment

__all__ = ["Engine", "EngineFacts", "connect", "engine_errors", "find_cli"]

_OLDEST_CLI = 23
_TIMEOUT = 60
_PASSED_ON = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class EngineFacts:
    """What is known about an engine: identity, versions, and what its network can do.

    ``gateway`` is this machine's address as tasks see it; ``vip`` whether service VIPs and the ingress mesh work.
    """

    engine_id: str
    version: str
    api_version: str
    cli_version: str
    storage: str
    private: bool = False
    gateway: str = ""
    vip: bool = True


@dataclass(frozen=True)
class Engine:
    """An engine that answers and is a Swarm manager."""

    client: Any
    cli: Path
    host: str
    facts: EngineFacts
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def socket_path(self) -> Path | None:
        """The engine's socket on this machine; ``None`` for an engine elsewhere."""
        return Path(self.host.removeprefix("unix://")) if self.host.startswith("unix://") else None

    def docker_env(self, values: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment for the Docker CLI: ``values`` and only what finding the engine needs.

        ``docker stack deploy`` interpolates compose files from its process environment, so that nothing of ours may
        be in it (measured: ``LANG=${LANG:-…}`` took the host's).
        """
        kept = {name: self.environment[name] for name in _PASSED_ON if name in self.environment}
        passed = {name: value for name, value in self.environment.items() if name.startswith("DOCKER_")}
        return {**kept, **passed, "DOCKER_HOST": self.host, **(values or {}), "DOCKER_CLI_HINTS": "false"}


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turn what the Docker SDK raises into our errors; ours pass through.

    Raises:
        EngineUnavailable: the engine refused or did not answer; ``what`` says what was attempted.
    """
    try:
        yield
    except CcciError:
        raise
    except APIError as error:
        raise EngineUnavailable(f"{what}: the engine refused", seen=str(error.explanation or error)) from error
    except (DockerException, requests.RequestException, ConnectionError) as error:
        raise EngineUnavailable(
            f"{what}: the engine does not answer", seen=str(error)[:500], advice="see whether dockerd runs: ccci doctor"
        ) from error


def find_cli() -> tuple[Path, str]:
    """The first Docker CLI on PATH that is new enough for ``docker stack config``, and its version.

    Raises:
        EngineUnavailable: there is none; says what was found.
    """
    found = []
    for folder in current_environment().get("PATH", "").split(":"):
        candidate = Path(folder or ".") / "docker"
        if not candidate.is_file():
            continue
        try:
            version = run([candidate, "--version"], timeout=20).stdout.split("version ")[-1].split(",")[0].strip()
        except ProgramFailed:
            continue
        major = version.split(".")[0]
        if major.isdigit() and int(major) >= _OLDEST_CLI:
            return candidate, version
        found.append(f"{candidate} is {version}")
    raise EngineUnavailable(
        f"no Docker CLI of version {_OLDEST_CLI} or newer on PATH ('docker stack config' is needed)",
        seen="; ".join(found) or "no docker program at all",
        advice="install a newer docker-ce-cli",
    )


def connect(host: str, *, private: bool = False) -> Engine:
    """Connect to the engine at ``host`` (``unix://…``, ``tcp://…``, ``ssh://…``), with the negotiated API version.

    Raises:
        EngineUnavailable: it does not answer, or no usable CLI is there.
    """
    with engine_errors(f"connecting to {host}"):
        client = docker.DockerClient(base_url=host, version="auto", timeout=_TIMEOUT, max_pool_size=32)
        info = client.info()
        version = client.version()
    cli, cli_version = find_cli()
    facts = EngineFacts(
        engine_id=info["ID"],
        version=version["Version"],
        api_version=client.api.api_version,
        cli_version=cli_version,
        storage=info["Driver"],
        private=private,
    )
    return Engine(client, cli, host, facts, current_environment())
