from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.containers import exec_in_container, logs
from pytest_ccci.errors import DeadlineExceeded, EngineUnavailable

OUT, ERR = 1, 2
TOLD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)

Say = Callable[[bytes], None]


def frame(source: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", source, len(data)) + data


class Handler(BaseHTTPRequestHandler):
    """The three requests of an exec, answered as Docker answers them (moby's postContainerExecStart)."""

    protocol_version = "HTTP/1.1"
    server: Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({"ExitCode": self.server.rc, "Running": self.server.rc is None})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.path.endswith("/start"):
            self._answer({"Id": "x"})
            return
        head = UPGRADED if self.headers.get("Upgrade") else TOLD
        with suppress(OSError):
            self.server.talk(head, self.connection.sendall, self.server.over)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _answer(self, what: object) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingMixIn, UnixStreamServer):
    """An engine in whose container ``talk(head, say, over)`` prints, and which says that it ended with ``rc``."""

    daemon_threads = True

    def __init__(self, path: Path, talk: Callable[[bytes, Say, Event], None], rc: int | None) -> None:
        self.talk, self.rc, self.over = talk, rc, Event()
        super().__init__(str(path), Handler)


@pytest.fixture
def engine_where() -> Iterator[Callable[..., Any]]:
    """Start such an engine; its path is short, as a socket's must be."""
    servers: list[Server] = []
    with TemporaryDirectory(prefix="ccci-") as folder:

        def start(talk: Callable[[bytes, Say, Event], None], *, rc: int | None = 0) -> Any:
            path = Path(folder) / f"{len(servers)}.sock"
            servers.append(Server(path, talk, rc))
            Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

            class OneEngine:
                def new_api(self, *, timeout: float) -> docker.APIClient:
                    return docker.APIClient(base_url=f"unix://{path}", version="1.41", timeout=int(timeout))

            return OneEngine()

        yield start
        for server in servers:
            server.over.set()
            server.shutdown()
            server.server_close()


def printing(*parts: bytes) -> Callable[[bytes, Say, Event], None]:
    """It prints ``parts`` and ends."""

    def talk(head: bytes, say: Say, _over: Event) -> None:
        say(head)
        for part in parts:
            say(part)

    return talk


def test_what_a_program_prints_and_how_it_ends_is_returned(engine_where: Callable[..., Engine]) -> None:
    parts = [frame(OUT, b"one\n"), frame(ERR, b"two\xff\n"), frame(OUT, b""), frame(OUT, b"three\n")]
    done = exec_in_container(engine_where(printing(*parts), rc=3), "c", ["sh"])
    assert (done.rc, done.stdout, done.stderr) == (3, "one\nthree\n", "two\ufffd\n")


@pytest.mark.parametrize("size", [6, 4096, 300_000])
def test_what_comes_together_with_the_answers_headers_is_read_too(
    size: int, engine_where: Callable[..., Engine]
) -> None:
    whole = frame(OUT, b"x" * size)

    def talk(head: bytes, say: Say, _over: Event) -> None:
        say(head + whole)

    assert exec_in_container(engine_where(talk), "c", ["sh"]).stdout == "x" * size


@pytest.mark.parametrize("cut", [1, 7, 8, 11])
def test_an_output_that_is_cut_off_is_never_taken_for_a_whole_one(
    cut: int, engine_where: Callable[..., Engine]
) -> None:
    engine = engine_where(printing(frame(OUT, b"one\n"), frame(OUT, b"two\n")[:cut]))
    with pytest.raises(EngineUnavailable, match="cut off what a program prints"):
        exec_in_container(engine, "c", ["sh"], timeout=20)


def test_a_program_of_which_the_engine_does_not_know_the_end_has_not_ended_well(
    engine_where: Callable[..., Engine],
) -> None:
    engine = engine_where(printing(frame(OUT, b"one\n")), rc=None)
    with pytest.raises(EngineUnavailable, match="how psql in db ended is not known"):
        exec_in_container(engine, "c", ["psql"], where="db")


@pytest.mark.parametrize(("chatty", "said"), [(True, "still at it"), (False, "it printed nothing")])
def test_a_program_that_never_ends_is_given_up_whether_it_talks_or_not(
    chatty: bool, said: str, engine_where: Callable[..., Engine]
) -> None:
    def talk(head: bytes, say: Say, over: Event) -> None:
        say(head)
        while not over.wait(0.01):
            if chatty:
                say(frame(OUT, b"still at it\n"))

    with pytest.raises(DeadlineExceeded, match=r"sh in db did not end within 1 s") as caught:
        exec_in_container(engine_where(talk), "c", ["sh"], timeout=1, where="db")
    assert caught.value.seen == said


def test_a_program_that_is_never_started_is_given_up(engine_where: Callable[..., Engine]) -> None:
    def talk(_head: bytes, _say: Say, over: Event) -> None:
        over.wait(30)

    with pytest.raises(DeadlineExceeded, match="sh in db was not started within 1 s"):
        exec_in_container(engine_where(talk), "c", ["sh"], timeout=1, where="db")


def test_of_a_long_line_in_a_log_both_ends_are_kept() -> None:
    printed = [b"short\n", b"A" * 5000, b" the end\n", b"last"]
    api: Any = SimpleNamespace(logs=lambda *_, **__: iter(printed))
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    service: Any = SimpleNamespace(tasks=(SimpleNamespace(container="c1"),))
    head, short, long, last = logs(engine, service).splitlines()
    assert (head, short, last) == ("--- container c1", "short", "last")
    assert long == f"{'A' * 1000} … (3608 more characters) … {'A' * 392} the end"
