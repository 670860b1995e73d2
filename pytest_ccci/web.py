"""The only place that speaks HTTP and TLS: names of the zone are resolved here, its CA is trusted here.

Nothing on the machine is changed for it: no hosts file, no trust store. What the environment says about proxies or
CA bundles is not followed, since it would beat what we ask for (``REQUESTS_CA_BUNDLE`` does).
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util.connection import create_connection

__all__ = [
    "Answer",
    "PageServer",
    "PasswordForm",
    "PostServer",
    "Posted",
    "Route",
    "answers_from_here",
    "certificate",
    "connection_problem",
    "is_open",
    "nobody_answers",
    "password_form",
    "resolves",
    "session",
    "tls_socket",
    "udp_port_is_held",
]

_LOG = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10.0
"""Seconds to wait for a connection and between bytes, when a request names none."""


@dataclass(frozen=True)
class Route:
    """How to reach the zone: names at or under ``zone`` live at ``address``; ``ca_file`` is trusted for all names."""

    zone: str = ""
    address: str = ""
    ca_file: Path | None = None
    ports: Mapping[int, int] | None = None

    def resolve(self, host: str, port: int) -> tuple[str, int]:
        """The address and port to connect to for ``host``; the name itself where it is not of the zone."""
        name = host.rstrip(".").lower()
        if self.address and self.zone and (name == self.zone or name.endswith(f".{self.zone}")):
            return self.address, (self.ports or {}).get(port, port)
        return host, port


def session(route: Route | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> requests.Session:
    """A requests session that resolves the zone and trusts its CA, with the real name in SNI and in the check.

    No proxy is asked, whatever the environment says.
    """
    adapter = _ZoneAdapter(route or Route(), timeout)
    fresh = _Session(adapter.verify)
    fresh.mount("https://", adapter)
    fresh.mount("http://", adapter)
    return fresh


@dataclass(frozen=True)
class PasswordForm:
    """The form of a login page: where it is sent, and what is sent beside what a person types."""

    action: str
    hidden: Mapping[str, str]


def password_form(page: requests.Response) -> PasswordForm | None:
    """The first form of ``page`` that asks for a password; ``None`` where there is none."""
    found = _Forms()
    found.feed(page.text)
    for form in found.forms:
        if form.asks_password:
            return PasswordForm(urljoin(page.url, form.action), form.hidden)
    return None


@dataclass
class _Form:
    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    asks_password: bool = False


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        kind = known.get("type", "").lower()
        if tag == "form":
            self.forms.append(_Form(known.get("action", "")))
        elif tag == "input" and self.forms:
            self.forms[-1].asks_password |= kind == "password"
            if kind == "hidden":
                self.forms[-1].hidden[known.get("name", "")] = known.get("value", "")


@dataclass(frozen=True)
class Posted:
    """A request with a body: its headers in small letters, as often as they came, and the body as it came."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class PostServer:
    """Takes POSTs over plain HTTP, each bounded in size and time, a few at once; GET says that it is there.

    Args:
        address, port: where to listen; port 0 is any that is free.
        answer: says with which status a request is answered; what it raises is answered with 500.
        largest: bytes of a body; a larger one is not read.
        seconds: after which a connection is cut, however slowly it sends.
        most: connections at once; one more is closed without an answer.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(
        self,
        address: str,
        port: int,
        answer: Callable[[Posted], HTTPStatus],
        *,
        largest: int,
        seconds: float = 15.0,
        most: int = 16,
    ) -> None:
        self._server = _BoundedServer((address, port), _post_handler(answer, largest), seconds=seconds, most=most)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="webhooks")

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer, in threads of its own."""
        self._thread.start()

    def close(self) -> None:
        """Take no more requests; those that are being answered are answered."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _BoundedServer(ThreadingHTTPServer):
    """Each connection in a thread of its own, which is cut off after ``seconds``; ``most`` of them at once."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler], *, seconds: float, most: int
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(most)
        super().__init__(place, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        cut = threading.Timer(self._seconds, _cut, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone, or was cut, is no news."""


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _post_handler(answer: Callable[[Posted], HTTPStatus], largest: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "ccci"
        sys_version = ""

        def do_GET(self) -> None:
            self._say(HTTPStatus.OK)

        def do_POST(self) -> None:
            self.close_connection = True
            told = self.headers.get_all("Content-Length") or []
            if self.headers.get("Transfer-Encoding") or len(told) != 1 or not (told[0].isascii() and told[0].isdigit()):
                self._say(HTTPStatus.LENGTH_REQUIRED)
                return
            if len(told[0]) > len(str(largest)) or int(told[0]) > largest:
                self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            body = self.rfile.read(int(told[0]))
            if len(body) == int(told[0]):  # else it was cut off
                headers = tuple((name.lower(), value.strip()) for name, value in self.headers.items())
                self._say(self._answered(Posted(headers, body)))

        def _answered(self, posted: Posted) -> HTTPStatus:
            try:
                return answer(posted)
            except Exception:  # noqa: BLE001  whatever it is, the forge gets an answer
                _LOG.exception("a request could not be answered")
                return HTTPStatus.INTERNAL_SERVER_ERROR

        def _say(self, status: HTTPStatus) -> None:
            text = f"{status.phrase}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing: what is asked by whom is the service's to tell."""

    return Handler


def tls_socket(host: str, *, route: Route, port: int = 443, timeout: float = DEFAULT_TIMEOUT) -> ssl.SSLSocket:
    """A connected TLS socket to ``host``, for clients that bring their own protocol (WebSocket)."""
    plain = socket.create_connection(route.resolve(host, port), timeout=timeout)
    try:
        return _context(route).wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def certificate(host: str, *, route: Route, port: int = 443, timeout: float = DEFAULT_TIMEOUT) -> bytes:
    """The certificate (DER) that is served for ``host``, whoever signed it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(route.resolve(host, port), timeout=timeout) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def is_open(address: str, port: int, *, timeout: float = DEFAULT_TIMEOUT) -> bool:
    """Whether something takes connections at ``port``."""
    return not connection_problem(address, port, timeout=timeout)


def connection_problem(address: str, port: int, *, timeout: float = DEFAULT_TIMEOUT) -> str:
    """Why ``port`` takes no connection; empty where it takes one."""
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except OSError as error:
        return str(error)
    return ""


def udp_port_is_held(port: int) -> bool:
    """Whether a UDP port of this machine is taken, be it by the kernel itself (a tunnel)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def nobody_answers(error: requests.RequestException) -> bool:
    """Whether nothing took the connection at all, rather than answering badly or with another certificate."""
    return isinstance(error, requests.ConnectionError) and not isinstance(error, requests.exceptions.SSLError)


def answers_from_here(url: str, *, timeout: float = 4.0) -> bool:
    """Whether something out there answers at ``url``, whatever it says: asked as this machine's programs ask.

    That is through the proxies that ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` name, unlike requests to an app.
    """
    try:
        with requests.Session() as client:
            client.get(url, timeout=timeout)
    except (requests.RequestException, OSError):
        return False
    return True


def resolves(host: str) -> bool:
    """Whether the machine's own resolver knows ``host``."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def _context(route: Route) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(route.ca_file) if route.ca_file else None)


class _Session(requests.Session):
    def __init__(self, verify: str | bool) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = verify


class _ZoneAdapter(HTTPAdapter):
    """Connects as the route says, and gives every request a timeout."""

    def __init__(self, route: Route, timeout: float) -> None:
        self.route = route
        self.timeout = timeout
        self.verify: str | bool = str(route.ca_file) if route.ca_file else True
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **extra: Any) -> None:  # noqa: FBT002  requests' signature
        self.poolmanager = _ZonePools(self.route, num_pools=connections, maxsize=maxsize, block=block, **extra)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]  # the rest passes through
        if options.get("timeout") is None:
            options["timeout"] = self.timeout
        return super().send(request, **options)


class _ZonePools(PoolManager):
    def __init__(self, route: Route, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {
            "http": type("ZoneHTTPPool", (HTTPConnectionPool,), {"ConnectionCls": _connection(HTTPConnection, route)}),
            "https": type(
                "ZoneHTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": _connection(HTTPSConnection, route)}
            ),
        }


def _connection(base: type[HTTPConnection], route: Route) -> type[HTTPConnection]:
    """A connection class that dials the route's address while name, SNI and certificate check stay the host's own."""

    def dial(self: HTTPConnection) -> socket.socket:
        address = route.resolve(self.host, self.port or self.default_port)
        try:
            return create_connection(address, self.timeout, self.source_address, self.socket_options)
        except socket.gaierror as error:
            raise requests.ConnectionError(f"{self.host} does not resolve: {error}") from error
        except OSError as error:
            raise requests.ConnectionError(f"{self.host} ({address[0]}:{address[1]}): {error}") from error

    return type(f"Zone{base.__name__}", (base,), {"_new_conn": dial})


# -- pages, served to look at


@dataclass(frozen=True)
class Answer:
    """What a request for a page is answered with: ``size`` bytes of ``body``, which is closed then."""

    status: int
    kind: str
    body: BinaryIO
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)


_CONNECTIONS = 32
_BETWEEN_BYTES = 10.0
_A_CONNECTION = 120.0
_ALWAYS = {
    # A page's own policy names the digest of the one style that it has; of the two the stricter counts.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageServer(_BoundedServer):
    """Answers GET and HEAD with what ``answer`` makes of a request's path; each connection carries one request.

    At a loopback address it answers only to loopback names and ``names``: no page of somebody else's can read it
    through a browser on this machine, by a name that leads here. Connections are bounded in number and time.

    Args:
        address: where it listens; port 0 is any that is free.
        answer: makes the answer of the path, as it was sent, without its query.
        names: other host names under which it is asked for, as by a reverse proxy.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, address: tuple[str, int], answer: Callable[[str], Answer], *, names: frozenset[str]) -> None:
        host, port = address
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
        self.answer = answer
        self.names = {name.lower() for name in names}
        self.loopback = ip_address(place[0]).is_loopback
        super().__init__((str(place[0]), port), _Page, seconds=_A_CONNECTION, most=_CONNECTIONS)

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = self.server_address[:2]
        return f"http://{f'[{host!s}]' if ':' in str(host) else str(host)}:{port}/"

    def knows(self, host: str) -> bool:
        """Whether it answers to ``host``, as a request names it."""
        name = host.lower().rpartition("]")[0].lstrip("[") if host.startswith("[") else host.lower().partition(":")[0]
        if not self.loopback or name in self.names or name == "localhost":
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False


class _Page(BaseHTTPRequestHandler):
    """One request."""

    server: PageServer
    timeout = _BETWEEN_BYTES
    server_version = "ccci"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(shown=True)

    def do_HEAD(self) -> None:
        self._answer(shown=False)

    def refuse(self) -> None:
        """Any other method."""
        self.send_error(405)

    def _answer(self, *, shown: bool) -> None:
        if self.request_version == "HTTP/0.9":  # it knows no headers
            return
        if not self.server.knows(self.headers.get("Host", "")):
            self.send_error(421)
            return
        found = self.server.answer(self.path.partition("#")[0].partition("?")[0])
        with found.body as body:
            self._head(found.status, found.kind, found.size, found.headers)
            if shown:
                shutil.copyfileobj(_Part(body, found.size), self.wfile)

    def _head(self, status: int, kind: str, size: int, more: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**_ALWAYS, "Content-Type": kind, "Content-Length": str(size), **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """In plain text, without a word of the request."""
        del message, explain
        text = f"{int(code)} {self.responses.get(code, ('', ''))[0]}\n".encode()
        self._head(code, "text/plain; charset=utf-8", len(text), {"Allow": "GET, HEAD"} if code == 405 else {})  # noqa: PLR2004  as HTTP has it
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


for _method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
    setattr(_Page, f"do_{_method}", _Page.refuse)


@dataclass
class _Part:
    """The first ``left`` bytes of a file, which may be growing."""

    source: BinaryIO
    left: int

    def read(self, size: int = -1) -> bytes:
        """The next of them."""
        chunk = self.source.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(chunk)
        return chunk
