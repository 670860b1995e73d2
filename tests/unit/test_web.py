from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from cryptography import x509
from pytest_httpserver import HTTPServer

from pytest_ccci import web
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.certificates import Pair, make_ca, make_leaf
from pytest_ccci.web import Route

ZONE = "ci.test"


class Echo(BaseHTTPRequestHandler):
    """Answers with the host it was asked for; ``/slow`` does not answer at all, ``/away`` redirects."""

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.gate.wait(20)  # type: ignore[attr-defined]  # set by the fixture
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", "/")
        body = self.headers["Host"].encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@dataclass(frozen=True)
class Served:
    port: int
    route: Route
    leaf: Pair
    names: list[str]


@pytest.fixture(scope="module")
def authority() -> Pair:
    return make_ca("the zone's CA", now=datetime.now(UTC))


@pytest.fixture
def served(authority: Pair, tmp_path: Path) -> Iterator[Served]:
    leaf, names = make_leaf(authority, ZONE, now=datetime.now(UTC)), list[str]()
    for name, data in (("ca.pem", authority.certificate), ("leaf.pem", leaf.certificate), ("leaf.key", leaf.key)):
        (tmp_path / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    context.sni_callback = lambda _socket, name, _context: names.append(name or "")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.gate = threading.Event()  # type: ignore[attr-defined]  # Echo waits for it
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that refuse us are the point
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    port = int(server.server_address[1])
    yield Served(port, Route(ZONE, "127.0.0.1", tmp_path / "ca.pem", {443: port}), leaf, names)
    server.gate.set()  # type: ignore[attr-defined]  # Echo waits for it
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(served: Served) -> Iterator[requests.Session]:
    with web.session(served.route) as session:
        yield session


def test_a_name_of_the_zone_is_reached_with_its_own_name_in_host_and_sni(
    client: requests.Session, served: Served
) -> None:
    assert client.get(f"https://docs.{ZONE}/").text == f"docs.{ZONE}"
    assert served.names == [f"docs.{ZONE}"]


def test_the_zones_certificate_is_checked_not_waved_through(served: Served, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(make_ca("another", now=datetime.now(UTC)).certificate)
    route = Route(ZONE, "127.0.0.1", tmp_path / "other.pem", {443: served.port})
    with web.session(route) as session, pytest.raises(requests.exceptions.SSLError):
        session.get(f"https://docs.{ZONE}/")


def test_the_name_in_the_certificate_is_checked(served: Served) -> None:
    route = Route("other.test", "127.0.0.1", served.route.ca_file, {443: served.port})
    with web.session(route) as session, pytest.raises(requests.exceptions.SSLError):
        session.get("https://docs.other.test/")


def test_a_bundle_in_the_environment_does_not_win(
    client: requests.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In requests, ``REQUESTS_CA_BUNDLE`` beats ``Session.verify`` where the environment is trusted."""
    (tmp_path / "foreign.pem").write_bytes(make_ca("foreign", now=datetime.now(UTC)).certificate)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "foreign.pem"))
    assert client.get(f"https://docs.{ZONE}/").status_code == 200


def test_the_bundle_in_the_environment_would_win_in_a_plain_session(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard above is needed: with the environment trusted, the same request fails."""
    (tmp_path / "foreign.pem").write_bytes(make_ca("foreign", now=datetime.now(UTC)).certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "foreign.pem"))
    with web.session(served.route) as session:
        session.trust_env = True
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"https://docs.{ZONE}/")


def test_a_proxy_in_the_environment_is_not_followed(client: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert client.get(f"https://docs.{ZONE}/").status_code == 200


def test_a_request_that_names_no_timeout_still_has_one(served: Served) -> None:
    with web.session(served.route, timeout=0.2) as session, pytest.raises(requests.Timeout):
        session.get(f"https://docs.{ZONE}/slow")


def test_redirects_stay_on_the_route(client: requests.Session) -> None:
    answer = client.get(f"https://docs.{ZONE}/away")
    assert answer.url == f"https://docs.{ZONE}/"
    assert answer.status_code == 200


def test_nothing_listening_is_an_error_that_names_the_host_and_where_it_was_sought() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        web.session(Route(ZONE, "127.0.0.1", None, {443: port})) as session,
        pytest.raises(requests.ConnectionError, match=rf"docs\.{ZONE} \(127\.0\.0\.1:{port}\)"),
    ):
        session.get(f"https://docs.{ZONE}/")


def test_a_name_that_is_not_of_the_zone_and_unknown_says_so() -> None:
    with (
        web.session(Route(ZONE, "127.0.0.1")) as session,
        pytest.raises(requests.ConnectionError, match=r"docs\.invalid"),
    ):
        session.get("https://docs.invalid/")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ci.test", ("192.0.2.1", 8443)),
        ("docs.ci.test", ("192.0.2.1", 8443)),
        ("a.b.ci.test", ("192.0.2.1", 8443)),
        ("DOCS.CI.TEST.", ("192.0.2.1", 8443)),
        ("notci.test", ("notci.test", 443)),
        ("ci.test.example.org", ("ci.test.example.org", 443)),
        ("example.org", ("example.org", 443)),
    ],
)
def test_only_names_of_the_zone_are_resolved_by_the_route(host: str, expected: tuple[str, int]) -> None:
    assert Route("ci.test", "192.0.2.1", None, {443: 8443}).resolve(host, 443) == expected


def test_a_port_without_a_mapping_stays_as_it_is() -> None:
    assert Route("ci.test", "192.0.2.1", None, {443: 8443}).resolve("docs.ci.test", 9000) == ("192.0.2.1", 9000)


def test_a_route_to_nowhere_leaves_every_name_alone() -> None:
    assert Route().resolve("docs.ci.test", 443) == ("docs.ci.test", 443)


def test_a_socket_for_other_protocols_is_checked_the_same_way(served: Served) -> None:
    with web.tls_socket(f"docs.{ZONE}", route=served.route) as wrapped:
        assert wrapped.server_hostname == f"docs.{ZONE}"
    wrong = Route("other.test", "127.0.0.1", served.route.ca_file, {443: served.port})
    with pytest.raises(ssl.SSLCertVerificationError):
        web.tls_socket("docs.other.test", route=wrong)


def test_the_served_certificate_can_be_looked_at_whoever_signed_it(served: Served) -> None:
    route = Route(ZONE, "127.0.0.1", None, {443: served.port})
    expected = x509.load_pem_x509_certificate(served.leaf.certificate)
    assert x509.load_der_x509_certificate(web.certificate(f"docs.{ZONE}", route=route)) == expected


def test_the_machines_own_resolver_is_asked_only_by_name() -> None:
    assert web.resolves("localhost")
    assert not web.resolves("nowhere.invalid")


def test_what_is_out_there_is_asked_through_the_proxy_and_an_app_never_is(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpserver.expect_request("/v2/").respond_with_data("no entry", status=401)
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", httpserver.url_for(""))
    assert web.answers_from_here("http://registry.invalid/v2/")
    monkeypatch.setenv("NO_PROXY", "registry.invalid")
    assert not web.answers_from_here("http://registry.invalid/v2/")


# --- what is posted to us


@pytest.fixture
def posts() -> Iterator[tuple[web.PostServer, list[web.Posted]]]:
    taken: list[web.Posted] = []

    def answer(posted: web.Posted) -> HTTPStatus:
        taken.append(posted)
        if posted.body == b"break":
            raise RuntimeError("planted")
        return HTTPStatus.ACCEPTED

    server = web.PostServer("127.0.0.1", 0, answer, largest=100, seconds=0.5, most=2)
    server.start()
    yield server, taken
    server.close()


def raw_answer(server: web.PostServer, sent: bytes, *, then: bytes = b"") -> bytes:
    """What a server says to bytes as they are, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        said = b""
        if then:
            connection.sendall(then)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(4096):
                said += part
    return said.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("sent", "said", "count"),
    [
        (b"POST / HTTP/1.1\r\nX-A: one\r\nX-A: two\r\nContent-Length: 4\r\n\r\nbody", b"HTTP/1.0 202 Accepted", 1),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nbreak", b"HTTP/1.0 500 Internal Server Error", 1),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.0 200 OK", 0),
        (b"POST / HTTP/1.1\r\n\r\nbody", b"HTTP/1.0 411 Length Required", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 4\r\n\r\nb", b"HTTP/1.0 411 Length Required", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nbody", b"HTTP/1.0 411 Length Required", 0),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.0 411 Length Required", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", b"HTTP/1.0 413 Request Entity Too Large", 0),
        (
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"HTTP/1.0 413 Request Entity Too Large",
            0,
        ),
        (b"POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\nhalf", b"", 0),
        (b"POST / HTTP/1.1\r\nX-Slow: ", b"", 0),
        (b"DELETE / HTTP/1.1\r\n\r\n", b"HTTP/1.0 501 Unsupported method ('DELETE')", 0),
    ],
    ids=[
        *("taken", "breaks", "get", "no-length", "two-lengths", "negative", "chunked", "large", "digits"),
        *("half", "slow", "verb"),
    ],
)
def test_a_post_is_taken_whole_and_bounded_or_not_at_all(
    posts: tuple[web.PostServer, list[web.Posted]], sent: bytes, said: bytes, count: int
) -> None:
    server, taken = posts
    assert raw_answer(server, sent) == said
    assert len(taken) == count
    if count and said.endswith(b"Accepted"):
        assert taken[0] == web.Posted((("x-a", "one"), ("x-a", "two"), ("content-length", "4")), b"body")


def test_more_connections_than_it_takes_are_closed_and_it_goes_on(
    posts: tuple[web.PostServer, list[web.Posted]],
) -> None:
    server, taken = posts
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(2)]
    for one in held:
        one.sendall(b"POST / HTTP/1.1\r\n")
    whole = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"
    assert raw_answer(server, whole) == b""
    assert [one.recv(100) for one in held] == [b"", b""]  # cut after half a second
    for one in held:
        one.close()
    assert until(lambda: raw_answer(server, whole) == b"HTTP/1.0 202 Accepted", deadline=Deadline(5), what="room")
    assert len(taken) == 1
