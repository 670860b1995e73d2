"""How an engine is found and spoken to: by the CLI's own rules, or refused with words before anything starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import DockerException

from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine, EngineFacts, connect, find_cli, tls_of
from pytest_ccci.engine.discovery import NamedEngine, find_engine, named_engine
from pytest_ccci.errors import EngineUnavailable
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import open_state

TCP = "tcp://engine.example.org:2376"


def certificates(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names or ("ca", "cert", "key"):
        (folder / f"{name}.pem").write_text("x")
    return folder


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def docker_of(folder: Path, version: str) -> Path:
    return program(folder / "docker", f"#!/bin/sh\necho 'Docker version {version}, build abc'\n")


@pytest.mark.parametrize(
    "host", ["ssh://root@engine.example.org", "npipe:////./pipe/docker_engine", "fd://", "nonsense"]
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_starts(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "DockerClient", lambda **_: pytest.fail("a connection was tried"))
    monkeypatch.setattr(discovery, "attach_or_start", lambda *_, **__: pytest.fail("an engine was started"))
    with pytest.raises(EngineUnavailable, match=r"cannot be used|no address") as caught:
        find_engine(resolve({}, {}, {"DOCKER_HOST": host}), open_state(tmp_path / "state"))
    assert caught.value.where == host
    assert "unix://" in caught.value.seen
    assert "need a local one" in caught.value.advice


@pytest.mark.parametrize(
    ("host", "environment", "verify"),
    [
        (TCP, {"DOCKER_TLS_VERIFY": "1"}, True),
        (TCP, {"DOCKER_TLS": "1"}, False),
        (TCP, {"DOCKER_TLS_VERIFY": ""}, None),
        (TCP, {}, None),
        ("unix:///run/docker.sock", {"DOCKER_TLS_VERIFY": "1"}, None),
    ],
    ids=["verified", "not verified", "empty is off", "plain tcp", "a socket"],
)
def test_tls_is_used_as_the_docker_cli_does(
    tmp_path: Path, host: str, environment: dict[str, str], *, verify: bool | None
) -> None:
    tls = tls_of(host, {**environment, "DOCKER_CERT_PATH": str(certificates(tmp_path / "certs"))})
    assert (None if tls is None else tls.verify) == verify


def test_the_certificates_are_looked_for_in_home_by_default(tmp_path: Path) -> None:
    certificates(tmp_path / ".docker")
    tls = tls_of(TCP, {"DOCKER_TLS_VERIFY": "1", "HOME": str(tmp_path)})
    assert tls is not None
    assert tls.ca_cert == str(tmp_path / ".docker" / "ca.pem")


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder = certificates(tmp_path / "certs", "ca", "cert")
    with pytest.raises(EngineUnavailable, match="certificates cannot be read") as caught:
        connect(TCP, environment={"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)})
    assert caught.value.seen == f"not readable: {folder}/key.pem"


def test_each_further_connection_uses_the_same_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(docker, "APIClient", lambda **options: given.update(options) or SimpleNamespace())
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates(tmp_path / "certs"))}
    Engine(None, Path("docker"), TCP, EngineFacts("i", "1", "1.44", "28", "x"), environment).new_api(timeout=5)
    assert given["tls"].verify is True
    assert given["base_url"] == TCP


@pytest.mark.parametrize(("host", "asked"), [("unix:///run/docker.sock", False), (TCP, True)])
def test_a_proxy_is_looked_for_only_before_an_engine_elsewhere(
    host: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "APIClient", lambda **_: SimpleNamespace(trust_env=True))
    api = Engine(None, Path("docker"), host, EngineFacts("i", "1", "1.44", "28", "x"), {}).new_api(timeout=5)
    assert api.trust_env is asked


@pytest.mark.parametrize(
    ("context", "named"),
    [
        ({"Endpoints": {"docker": {"Host": "unix:///var/run/docker.sock"}}}, None),
        ({"Endpoints": {"docker": {"Host": "unix:///run/other.sock"}}}, NamedEngine("unix:///run/other.sock")),
        ({"Endpoints": {"docker": {"Host": "ssh://there"}}}, NamedEngine("ssh://there")),
        (
            {
                "Endpoints": {"docker": {"Host": TCP, "SkipTLSVerify": False}},
                "TLSMaterial": {"docker": ["ca.pem", "cert.pem", "key.pem"]},
                "Storage": {"TLSPath": "/ctx/tls/abc"},
            },
            NamedEngine(TCP, {"DOCKER_CERT_PATH": "/ctx/tls/abc/docker", "DOCKER_TLS_VERIFY": "1"}),
        ),
        (
            {
                "Endpoints": {"docker": {"Host": TCP, "SkipTLSVerify": True}},
                "TLSMaterial": {"docker": ["cert.pem", "key.pem"]},
                "Storage": {"TLSPath": "/ctx/tls/abc"},
            },
            NamedEngine(TCP, {"DOCKER_CERT_PATH": "/ctx/tls/abc/docker", "DOCKER_TLS": "1"}),
        ),
    ],
    ids=["default", "a socket", "ssh", "tls", "tls, not verified"],
)
def test_a_docker_context_is_used_with_its_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: dict[str, Any], named: NamedEngine | None
) -> None:
    cli = program(tmp_path / "docker", f"#!/bin/sh\ncat <<'END'\n{json.dumps([context])}\nEND\n")
    monkeypatch.setattr(discovery, "find_cli", lambda: (cli, "28.0"))
    assert named_engine(resolve({}, {}, {"PATH": "/usr/bin:/bin"})) == named


def test_the_engine_of_a_docker_context_is_connected_to_with_its_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def refuse(**options: Any) -> None:
        given.update(options)
        raise DockerException("nobody is there")

    tls = {"DOCKER_CERT_PATH": str(certificates(tmp_path / "certs")), "DOCKER_TLS_VERIFY": "1"}
    monkeypatch.setattr(docker, "DockerClient", refuse)
    monkeypatch.setattr(discovery, "named_engine", lambda _: NamedEngine(TCP, tls))
    with pytest.raises(EngineUnavailable, match="does not answer"):
        find_engine(resolve({}, {}, {}), open_state(tmp_path / "state"))
    assert (given["base_url"], given["tls"].verify) == (TCP, True)


def test_the_docker_cli_is_found_in_the_usual_places_under_crons_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PATH with an empty entry, a folder that is none, one that cannot be read, and a program too old."""
    old, usual, secret = (
        docker_of(tmp_path / "old", "20.10.24"),
        docker_of(tmp_path / "usual", "28.2.2"),
        tmp_path / "no",
    )
    monkeypatch.setattr("pytest_ccci.process._USUAL", (str(usual.parent),))
    monkeypatch.setenv("PATH", f":{tmp_path}/none:{secret}:{old.parent}")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.chdir(docker_of(tmp_path / "here", "99.0").parent)
    real = os.path.isfile
    monkeypatch.setattr("os.path.isfile", lambda path: False if Path(path).parent == secret else real(path))
    assert find_cli() == (usual, "28.2.2")


def test_a_private_engine_that_runs_is_attached_to_though_none_could_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "named_engine", lambda _: None)
    monkeypatch.setattr(discovery, "_DEFAULT_SOCKET", tmp_path / "none.sock")
    monkeypatch.setattr(discovery, "running_pid", lambda _: 42)
    monkeypatch.setattr(discovery, "possible", lambda: "not installed: dockerd")
    monkeypatch.setattr(discovery, "_require_manager", lambda _: None)
    monkeypatch.setattr(discovery, "_gateway", lambda _: "172.18.0.1")
    engine = Engine(None, Path("docker"), "unix:///x", EngineFacts("i", "1", "1.44", "28", "x"))
    monkeypatch.setattr(discovery, "attach_or_start", lambda *_, **__: engine)
    assert find_engine(resolve({}, {}, {}), open_state(tmp_path / "state")).host == "unix:///x"


@pytest.mark.parametrize(
    ("api", "cli", "known"),
    [
        ("1.41", "28.2.2", False),
        ("1.43", "28.2.2", False),
        ("1.44", "28.2.2", True),
        ("1.45", "26.1.5+dfsg1", True),
        ("1.51", "24.0.9", False),
        ("2.0", "28.2.2", True),
        ("", "", False),
    ],
)
def test_start_periods_have_a_pace_from_api_1_44_and_cli_25_on(api: str, cli: str, known: bool) -> None:
    assert EngineFacts("i", "1", api, cli, "x").start_interval is known
