"""Which system packages are missing, decided from facts; and apt, which brings them without starting anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from pytest_ccci import process, web
from pytest_ccci.engine.client import find_cli
from pytest_ccci.engine.images import REQUIREMENTS
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, ProgramFailed
from pytest_ccci.locks import Tell
from pytest_ccci.settings import current_environment

__all__ = ["MachineFacts", "Need", "gather", "install", "missing"]

_ENGINE = {"dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "iptables": "iptables"}
_MAKES_STORE = "mkfs.xfs"
_REGISTRY = "https://registry-1.docker.io/v2/"
_POLICY = Path("/usr/sbin/policy-rc.d")
_UNITS = ("docker.service", "docker.socket")
_APT = 1800.0


@dataclass(frozen=True)
class MachineFacts:
    """What decides about packages. ``engine`` names the one that answers; ``cli`` says why no Docker CLI will do."""

    root: bool
    apt: bool
    engine: str
    registry: bool
    programs: frozenset[str]
    cli: str = ""


@dataclass(frozen=True)
class Need:
    """A package that is missing, and what for."""

    package: str
    why: str


def gather(engine: str) -> MachineFacts:
    """The facts of this machine; ``engine`` names the engine that answers, if one does."""
    wanted = ("git", "java", _MAKES_STORE, *REQUIREMENTS, *_ENGINE)
    return MachineFacts(
        root=os.geteuid() == 0,
        apt=process.which("apt-get") is not None,
        engine=engine,
        registry=_registry_answers(),
        programs=frozenset(name for name in wanted if process.which(name)),
        cli=_cli_problem(),
    )


def missing(
    facts: MachineFacts, *, requirements: Mapping[str, str] = REQUIREMENTS, store: bool = False
) -> tuple[Need, ...]:
    """The packages to install, none twice: with an engine and a registry there is little to miss.

    ``store``: an XFS store is to be made as well.
    """
    needs = [] if "git" in facts.programs else [Need("git", "recipes are git repositories")]
    if store and _MAKES_STORE not in facts.programs:
        needs.append(Need("xfsprogs", "--store-size: it makes the store's file system"))
    if not facts.engine:
        why = "no Docker engine answers: for a private one"
        needs += [Need(package, why) for program, package in _ENGINE.items() if program not in facts.programs]
    if facts.cli:
        needs.append(Need("docker-cli", f"'docker stack config' is needed ({facts.cli})"))
    if not facts.registry:
        why = "no image registry answers: images are built here"
        needs += [Need(package, why) for program, package in requirements.items() if program not in facts.programs]
        if "mvn" in requirements and "java" not in facts.programs:
            needs.append(Need("default-jre-headless", why))
    seen: dict[str, Need] = {}
    for need in needs:
        seen.setdefault(need.package, need)
    return tuple(seen.values())


def install(needs: tuple[Need, ...], *, tell: Tell) -> None:
    """Install the packages, and nothing they only recommend; no service is started by it.

    Raises:
        InfrastructureFault: apt failed; shows its own words.
    """
    if not needs:
        return
    tell("apt: reading package lists")
    _apt("update")
    packages = [need.package for need in needs]
    if "docker-cli" in packages and not _exists("docker-cli"):
        packages = [name for name in packages if name != "docker-cli"]  # older Debians have it in docker.io
    if packages:
        tell(f"apt: installing {', '.join(packages)}")
        with _services_stay_off(engine="docker.io" in packages):
            _apt("install", "--yes", "--no-install-recommends", *packages)


def _apt(*words: str) -> None:
    environment = {**current_environment(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    options = ("--quiet=2", "--option=DPkg::Lock::Timeout=300", "--option=Dpkg::Options::=--force-confold")
    try:
        process.run(["apt-get", *options, *words], timeout=_APT, env=environment)
    except ProgramFailed as error:
        raise InfrastructureFault(
            f"apt-get {words[0]} failed",
            seen=error.tail,
            advice="see whether apt's sources are within reach, or install the packages yourself and run this again",
        ) from error


def _exists(package: str) -> bool:
    done = process.run(["apt-cache", "policy", package], timeout=60, check=False)
    return "Candidate:" in done.stdout and "Candidate: (none)" not in done.stdout


@contextmanager
def _services_stay_off(*, engine: bool) -> Iterator[None]:
    """Let packages start no service: in a container without init that fails, and our private engine is our own.

    Debian's own way is a policy-rc.d that answers 101. One that is there already is left alone.
    """
    ours = not _POLICY.exists() and not _POLICY.is_symlink()
    if ours:
        _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
        if engine and Path("/run/systemd/system").is_dir():
            # Else the next boot would bring up a second engine, on the default socket, that is no Swarm.
            process.run(["systemctl", "disable", *_UNITS], timeout=60, check=False)


def _cli_problem() -> str:
    try:
        find_cli()
    except EngineUnavailable as error:
        return error.seen
    return ""


def _registry_answers() -> bool:
    try:
        with web.session(timeout=4.0) as client:
            client.get(_REGISTRY)
    except (requests.RequestException, OSError):
        return False
    return True
