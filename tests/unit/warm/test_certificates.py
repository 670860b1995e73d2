from __future__ import annotations

import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509

from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.certificates import CA_LIFE, CA_SPARE, LEAF_LIFE, make_ca, make_leaf, prepare, stays_valid

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def critical_extensions(pem: bytes) -> set[str]:
    return {type(found.value).__name__ for found in x509.load_pem_x509_certificate(pem).extensions if found.critical}


def all_extensions(pem: bytes) -> set[str]:
    return {type(found.value).__name__ for found in x509.load_pem_x509_certificate(pem).extensions}


def test_the_ca_carries_what_a_strict_verifier_asks_for() -> None:
    ca = make_ca("ours", now=NOW)

    assert critical_extensions(ca.certificate) == {"BasicConstraints", "KeyUsage"}
    assert all_extensions(ca.certificate) >= {"SubjectKeyIdentifier", "AuthorityKeyIdentifier"}


def test_the_leaf_names_the_zone_and_everything_right_under_it() -> None:
    leaf = make_leaf(make_ca("ours", now=NOW), "ci.test", now=NOW)

    names = x509.load_pem_x509_certificate(leaf.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["ci.test", "*.ci.test"]
    assert "ExtendedKeyUsage" in all_extensions(leaf.certificate)


def test_a_client_that_checks_strictly_accepts_the_pair(state: StateDir) -> None:
    made = prepare(state, "ci.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate_file, made.key_file)
    client = ssl.create_default_context(cafile=str(made.ca_file))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as wrapped:
            wrapped.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours, server_hostname="keycloak.ci.test") as wrapped:
        wrapped.sendall(b"x")
    thread.join()


def test_a_second_preparation_finds_the_same_certificates(state: StateDir) -> None:
    first = prepare(state, "ci.test", now=NOW)
    before = {path.name: path.read_bytes() for path in state.ca.iterdir()}

    assert prepare(state, "ci.test", now=NOW + timedelta(days=100)) == first
    assert {path.name: path.read_bytes() for path in state.ca.iterdir()} == before


def test_eight_preparations_at_once_agree(state: StateDir) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = {made.version for made in pool.map(lambda _: prepare(state, "ci.test", now=NOW), range(8))}

    assert len(versions) == 1


def test_keys_are_for_their_owner_alone(state: StateDir) -> None:
    made = prepare(state, "ci.test", now=NOW)

    assert stat.S_IMODE(state.ca.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((state.ca / "ca.key").stat().st_mode) == 0o600


def test_the_leaf_is_renewed_in_time_and_the_ca_stays(state: StateDir) -> None:
    first = prepare(state, "ci.test", now=NOW)
    ca = first.ca_file.read_bytes()

    second = prepare(state, "ci.test", now=NOW + LEAF_LIFE - timedelta(days=20))

    assert second.version != first.version
    assert second.ca_file.read_bytes() == ca


def test_a_new_ca_signs_a_new_leaf_and_is_in_the_bundle(state: StateDir) -> None:
    first = prepare(state, "ci.test", now=NOW)
    late = NOW + CA_LIFE - CA_SPARE + timedelta(days=1)

    second = prepare(state, "ci.test", now=late)

    assert second.version != first.version
    assert second.ca_file.read_bytes() in second.bundle_file.read_bytes()
    x509.load_pem_x509_certificate(second.certificate_file.read_bytes()).verify_directly_issued_by(
        x509.load_pem_x509_certificate(second.ca_file.read_bytes())
    )


def test_the_bundle_keeps_the_public_cas(state: StateDir) -> None:
    bundle = prepare(state, "ci.test", now=NOW).bundle_file.read_bytes()

    assert bundle.startswith(Path(certifi.where()).read_bytes().rstrip())


@pytest.mark.parametrize("torn", ["ca.key", "ci.test.key"])
def test_a_pair_torn_by_a_kill_is_made_anew(state: StateDir, torn: str) -> None:
    prepare(state, "ci.test", now=NOW)
    other = make_ca("other", now=NOW)
    (state.ca / torn).write_bytes(other.key)

    made = prepare(state, "ci.test", now=NOW)

    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.certificate_file, made.key_file)


def test_unreadable_certificates_count_as_invalid() -> None:
    assert not stays_valid(b"nonsense", now=NOW, spare=timedelta())
