from __future__ import annotations

import threading
import time
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from pytest_ccci.engine.registry import Registries, State, classify, parse_reference
from pytest_ccci.errors import EngineUnavailable
from pytest_ccci.progress import received


@pytest.mark.parametrize(
    ("text", "host", "name", "tag"),
    [
        ("postgres:15", "docker.io", "postgres", "15"),
        ("postgres", "docker.io", "postgres", "latest"),
        ("docker.io/library/postgres:15", "docker.io", "postgres", "15"),
        ("coopcloud/x:1", "docker.io", "coopcloud/x", "1"),
        ("quay.io/keycloak/keycloak:26.7.3", "quay.io", "quay.io/keycloak/keycloak", "26.7.3"),
        ("registry.test:5000/a/b", "registry.test:5000", "registry.test:5000/a/b", "latest"),
        ("localhost/x:1", "localhost", "localhost/x", "1"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, host: str, name: str, tag: str) -> None:
    reference = parse_reference(text)

    assert (reference.host, reference.name, reference.tag) == (host, name, tag)


def test_a_digest_is_kept_beside_the_tag() -> None:
    reference = parse_reference("redis:7@sha256:abc")

    assert (reference.tag, reference.digest, str(reference)) == ("7", "sha256:abc", "redis:7@sha256:abc")


def test_a_registry_on_localhost_with_a_port_is_a_registry() -> None:
    assert not parse_reference("localhost:5000/x:1").local


@pytest.mark.parametrize(
    ("status", "text", "state"),
    [
        (
            500,
            'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            "UNREACHABLE",
        ),
        (500, 'Get "https://quay.io/v2/": net/http: request canceled (Client.Timeout exceeded)', "UNREACHABLE"),
        (500, "x509: certificate signed by unknown authority", "UNREACHABLE"),
        (503, "service unavailable", "UNREACHABLE"),
        (404, "manifest unknown: manifest unknown", "MISSING"),
        (500, "manifest unknown", "MISSING"),
        (403, "pull access denied for x, repository does not exist or may require 'docker login'", "DENIED"),
        (500, 'Get "https://registry-1.docker.io/v2/": Forbidden', "UNREACHABLE"),
        (500, 'Get "https://registry-1.docker.io/v2/": Proxy Authentication Required', "UNREACHABLE"),
        (500, 'Get "https://quay.io/v2/": proxyconnect tcp: dial tcp: lookup proxy: no such host', "UNREACHABLE"),
        (403, "denied: requested access to the resource is forbidden", "DENIED"),
        (401, "unauthorized: authentication required", "DENIED"),
        (429, "", "LIMITED"),
        (500, "toomanyrequests: You have reached your pull rate limit.", "LIMITED"),
    ],
)
def test_what_an_engines_error_means(status: int, text: str, state: str) -> None:
    assert classify(status, text) is State[state]


class _Engine:
    """An engine whose registry access ends as told."""

    def __init__(self, outcome: Any) -> None:
        self.asked: list[str] = []
        self.outcome = outcome
        self.images = self
        self.api = self
        self.base_url = "http+docker://localhost"

    def info(self) -> dict[str, str]:
        return {"HttpsProxy": "http://xxxxx:xxxxx@proxy:3128", "NoProxy": "localhost"}

    def get_registry_data(self, ref: str) -> None:
        self.asked.append(ref)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            self.outcome.wait()


def as_client(engine: _Engine) -> docker.DockerClient:
    return cast(docker.DockerClient, engine)


def api_error(text: str) -> APIError:
    return APIError("failed", None, text)


def test_a_registry_out_of_reach_is_asked_once_and_said_once() -> None:
    engine = _Engine(api_error("dial tcp: lookup x: no such host"))
    said: list[str] = []
    registries = Registries()
    with received(said.append):
        first = [registries.ask(as_client(engine), parse_reference(f"x:{n}")) for n in range(3)]

    assert [answer.state for answer in first] == [State.UNREACHABLE] * 3
    assert engine.asked == ["x:0"]
    assert len(said) == 1
    assert "docker.io cannot be reached" in said[0]
    assert "the engine asks through the proxy http://xxxxx:xxxxx@proxy:3128 but for localhost" in said[0]


def test_a_registry_that_hangs_is_given_up_within_the_bound() -> None:
    never = threading.Event()
    started = time.monotonic()

    answer = Registries(seconds=0.05).ask(as_client(_Engine(never)), parse_reference("quay.io/x:1"))

    never.set()
    assert answer.state is State.UNREACHABLE
    assert time.monotonic() - started < 2


def test_a_missing_image_says_nothing_about_the_next() -> None:
    engine = _Engine(api_error("manifest unknown"))
    registries = Registries()

    states = [registries.ask(as_client(engine), parse_reference(f"x:{n}")).state for n in range(2)]

    assert states == [State.MISSING, State.MISSING]
    assert engine.asked == ["x:0", "x:1"]


def test_an_engine_that_is_gone_is_not_a_registry_out_of_reach() -> None:
    with pytest.raises(EngineUnavailable):
        Registries().ask(as_client(_Engine(ConnectionRefusedError())), parse_reference("x:1"))
