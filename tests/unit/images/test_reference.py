from __future__ import annotations

import pytest

from pytest_ccci.engine.reference import parse_reference


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
