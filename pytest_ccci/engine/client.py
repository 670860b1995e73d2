"""The connection to one Docker engine in Swarm mode, and what is known about it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig

from pytest_ccci.errors import CcciError, DeadlineExceeded, EngineUnavailable, ProgramFailed
from pytest_ccci.process import every_program, run, search_path
from pytest_ccci.settings import current_environment

__all__ = [
    "Engine",
    "EngineFacts",
    "connect",
    "engine_errors",
    "find_cli",
    "knows_start_interval",
    "require_supported",
    "tls_of",
]

_OLDEST_CLI = 23
_WITH_START_INTERVAL = (1, 44)
_CLI_WITH_START_INTERVAL = 25
_TIMEOUT = 60
_PASSED_ON = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class EngineFacts:
    """What is known about an engine: identity, versions, and what its network can do.

    ``gateway`` is this machine's address as tasks see it; ``vip`` whether service VIPs and the ingress mesh work.
    ``data_root`` is where it keeps images and volumes, on its own machine.
    """

    engine_id: str
    version: str
    api_version: str
    cli_version: str
    storage: str
    private: bool = False
    gateway: str = ""
    vip: bool = True
    data_root: str = ""

    @property
    def start_interval(self) -> bool:
        """Whether health checks in a start period have a pace of their own, and the CLI can say which (Docker 25)."""
        return knows_start_interval(self.api_version) and _major(self.cli_version) >= _CLI_WITH_START_INTERVAL


def knows_start_interval(api_version: str) -> bool:
    """Whether an engine of this API version has ``start_interval``; it takes 5 s where nothing is said."""
    return tuple(int(part) for part in api_version.split(".") if part.isdigit()) >= _WITH_START_INTERVAL


def _major(version: str) -> int:
    major = version.split(".", maxsplit=1)[0]
    return int(major) if major.isdigit() else 0


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

    @property
    def data_root(self) -> Path | None:
        """Where it keeps images and volumes, if that is seen from here: not of an engine elsewhere."""
        place = Path(self.facts.data_root) if self.facts.data_root and self.socket_path else None
        return place if place is not None and place.is_dir() else None

    def new_api(self, *, timeout: float) -> docker.APIClient:
        """Another connection, whose requests end after ``timeout`` seconds without an answer."""
        tls = tls_of(self.host, self.environment)
        api = docker.APIClient(
            base_url=self.host,
            version=self.facts.api_version,
            timeout=int(timeout),
            tls=tls if tls is not None else False,
        )
        return _without_proxies(api, self.host)

    def docker_env(self, values: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment for the Docker CLI: ``values`` and only what finding the engine needs.

        ``docker stack deploy`` interpolates compose files from its process environment, so that nothing of ours may
        be in it (measured: ``LANG=${LANG:-…}`` took the host's). What the CLI obeys is ours, whatever ``values`` say.
        """
        kept = {name: self.environment[name] for name in _PASSED_ON if name in self.environment}
        passed = {name: value for name, value in self.environment.items() if name.startswith("DOCKER_")}
        return {**(values or {}), **kept, **passed, "DOCKER_HOST": self.host, "DOCKER_CLI_HINTS": "false"}


def _without_proxies(api: docker.APIClient, host: str) -> docker.APIClient:
    """No proxy stands before a socket of this machine; looking through the environment for one takes long."""
    api.trust_env = not host.startswith("unix://")
    return api


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
    """The first Docker CLI on PATH, else in the usual places, that has ``docker stack config``; and its version.

    Raises:
        EngineUnavailable: there is none; says what was found.
    """
    found = []
    for candidate in every_program("docker"):
        try:
            version = run([candidate, "--version"], timeout=20).stdout.split("version ")[-1].split(",")[0].strip()
        except (ProgramFailed, DeadlineExceeded):
            continue
        if _major(version) >= _OLDEST_CLI:
            return candidate, version
        found.append(f"{candidate} is {version}")
    raise EngineUnavailable(
        f"no Docker CLI of version {_OLDEST_CLI} or newer on PATH ('docker stack config' is needed)",
        seen="; ".join(found) or f"no docker program in {search_path()}",
        advice="install a newer docker-ce-cli",
    )


def tls_of(host: str, environment: Mapping[str, str]) -> TLSConfig | None:
    """The TLS that the Docker CLI would use for ``host``: ``DOCKER_TLS_VERIFY``, ``DOCKER_TLS``, ``DOCKER_CERT_PATH``.

    Raises:
        EngineUnavailable: TLS is asked for, and its certificates cannot be read.
    """
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    if not host.startswith("tcp://") or not (verify or environment.get("DOCKER_TLS")):
        return None
    folder = Path(environment.get("DOCKER_CERT_PATH") or Path(environment.get("HOME", "/root"), ".docker"))
    names = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    needed = [path for name, path in names.items() if verify or name != "ca"]
    missing = [str(path) for path in needed if not os.access(path, os.R_OK)]
    if missing:
        raise EngineUnavailable(
            "TLS to the engine is asked for, and its certificates cannot be read",
            where=host,
            seen=f"not readable: {', '.join(missing)}",
            advice="set DOCKER_CERT_PATH to the folder with ca.pem, cert.pem and key.pem",
        )
    return TLSConfig(
        client_cert=(str(names["cert"]), str(names["key"])),
        ca_cert=str(names["ca"]) if verify else None,
        verify=verify,
    )


def require_supported(host: str) -> None:
    """Refuse the address of an engine that we cannot speak to, before anything is started.

    Raises:
        EngineUnavailable: says which addresses can be used.
    """
    scheme = host.partition("://")[0] if "://" in host else ""
    if scheme not in {"unix", "tcp"}:
        raise EngineUnavailable(
            f"an engine at a {scheme}:// address cannot be used" if scheme else "this is no address of an engine",
            where=host,
            seen="usable are unix:// (an engine on this machine) and tcp://, with or without TLS",
            advice="run pytest on the machine of that engine: kept volumes and the warm apps' state need a local one",
        )


def connect(host: str, *, private: bool = False, environment: Mapping[str, str] | None = None) -> Engine:
    """Connect to the engine at ``host`` (``unix://…`` or ``tcp://…``), with the negotiated API version.

    ``environment`` (default: the process's) says whether TLS is used, as for the Docker CLI.

    Raises:
        EngineUnavailable: it does not answer, its address cannot be used, or no usable CLI is there.
    """
    require_supported(host)
    env = current_environment() if environment is None else environment
    tls = tls_of(host, env)
    with engine_errors(f"connecting to {host}"):
        client = docker.DockerClient(
            base_url=host, version="auto", timeout=_TIMEOUT, max_pool_size=32, tls=tls if tls is not None else False
        )
        _without_proxies(client.api, host)
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
        data_root=str(info.get("DockerRootDir") or ""),
    )
    return Engine(client, cli, host, facts, dict(env))
