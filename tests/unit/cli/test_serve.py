"""``ccci serve``: the pages over HTTP, read only, and nothing else of the machine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from maderuns import made_result, written

from pytest_ccci import cli, web
from pytest_ccci.ops.report import open_page
from pytest_ccci.results.pages import dashboard_page
from pytest_ccci.results.publish import publish
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.web import PageServer

RUN = made_result().run_id
NOT_THERE = "There is no such page"


@pytest.fixture
def filled(state: StateDir) -> StateDir:
    """One run with its pages, and what must never be shown."""
    publish(state, written(state, made_result()))
    page = dashboard_page([], kept=lambda _: True, has_page=lambda _: True)
    (state.pages / "index.html").write_text(page, "utf-8")
    (state.run(RUN) / "journal.jsonl").write_text('{"what": "<b>open"}\n', "utf-8")
    (state.run(RUN) / "owned.json").write_text("[]", "utf-8")
    (state.root / "secret.txt").write_text("not for you", "utf-8")
    evil = state.run("evil")
    evil.mkdir()
    (evil / "index.html").symlink_to(state.root / "secret.txt")
    os.mkfifo(evil / "journal.jsonl")
    (evil / "results.json").mkdir()
    (state.runs / "link").symlink_to(state.root)
    (state.root / "index.html").write_text("not for you", "utf-8")
    return state


@pytest.fixture
def serve(filled: StateDir) -> Iterator[Callable[..., PageServer]]:
    opened: list[PageServer] = []

    def start(host: str = "127.0.0.1", **more: frozenset[str]) -> PageServer:
        server = PageServer((host, 0), partial(open_page, filled), **{"names": frozenset[str](), **more})
        opened.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    yield start
    for server in opened:
        server.shutdown()
        server.server_close()


def place(server: PageServer) -> tuple[str, int]:
    return str(server.server_address[0]), int(server.server_address[1])


def asked(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    link = HTTPConnection(*place(server), timeout=5)
    link.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        link.putheader(name, value)
    link.endheaders()
    answer = link.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    link.close()
    return found


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/pages/index.html", "text/html; charset=utf-8", "<h1>Recipes</h1>"),
        ("/pages/", "text/html; charset=utf-8", "<h1>Recipes</h1>"),
        ("/pages/index.html?x=/../../secret.txt", "text/html; charset=utf-8", "<h1>Recipes</h1>"),
        ("/pages/lasuite-docs/index.html", "text/html; charset=utf-8", "<h1>lasuite-docs"),
        ("/pages/lasuite-docs/badge.svg", "image/svg+xml", "<svg"),
        ("/pages/lasuite-docs/badge.json", "application/json", "schemaVersion"),
        (f"/runs/{RUN}/", "text/html; charset=utf-8", "<h1>lasuite-docs"),
        (f"/runs/{RUN}/results.json", "application/json", '"schema_version": 1'),
        (f"/runs/{RUN}/journal.jsonl", "text/plain; charset=utf-8", "<b>open"),
    ],
)
def test_what_is_there_is_shown_as_what_it_is(
    serve: Callable[..., PageServer], path: str, kind: str, words: str
) -> None:
    status, headers, body = asked(serve(), path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert words in body
    assert int(headers["Content-Length"]) == len(body.encode())


NO_PAGES = (
    "/secret.txt",
    "/pages",
    "/runs/",
    "/runs/index.sqlite",
    f"/runs/{RUN}",
    f"/runs/{RUN}/owned.json",
    "/pages/../secret.txt",
    "/pages/%2e%2e/index.html",
    "/pages/..%2f..%2fsecret.txt/index.html",
    "/pages/%252e%252e/index.html",
    "/runs/../index.html",
    "/runs/./index.html",
    "/runs/link/index.html",
    "/runs/evil/index.html",
    "/runs/evil/journal.jsonl",
    "/runs/evil/results.json",
    "/runs/none/index.html",
    "/runs/a%00b/index.html",
    f"/runs/{'x' * 5000}/index.html",
    "*",
    "/pages/index.html/",
    "/%70ages%2findex.html%2f",
)


def test_what_is_no_page_is_a_page_that_says_so_and_no_word_of_it(serve: Callable[..., PageServer]) -> None:
    server = serve()
    for path in NO_PAGES:
        status, headers, body = asked(server, path)
        assert (path, status, headers["Content-Type"]) == (path, 404, "text/html; charset=utf-8")
        assert NOT_THERE in body
        assert "not for you" not in body


def test_a_file_that_is_too_large_is_not_shown(serve: Callable[..., PageServer], filled: StateDir) -> None:
    with (filled.run(RUN) / "journal.jsonl").open("ab") as sink:
        sink.truncate((64 << 20) + 1)
    assert asked(serve(), f"/runs/{RUN}/journal.jsonl")[0] == 404


def test_every_answer_forbids_scripts_frames_and_guesses(serve: Callable[..., PageServer]) -> None:
    server = serve()
    for method, path in (("GET", "/"), ("GET", "/none"), ("HEAD", "/pages/"), ("POST", "/pages/")):
        _, headers, _ = asked(server, path, method)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"].strip() == "ccci"


def test_head_has_the_headers_of_get_and_no_body(serve: Callable[..., PageServer]) -> None:
    server = serve()
    status, headers, body = asked(server, "/pages/lasuite-docs/", "HEAD")
    _, whole, text = asked(server, "/pages/lasuite-docs/")
    assert (status, body) == (200, "")
    assert headers["Content-Length"] == whole["Content-Length"] == str(len(text.encode()))


def test_the_top_leads_to_the_page_of_all_recipes(serve: Callable[..., PageServer]) -> None:
    status, headers, _ = asked(serve(), "/")
    assert (status, headers["Location"]) == (302, "/pages/index.html")


def test_nothing_but_reading_is_allowed(serve: Callable[..., PageServer]) -> None:
    server = serve()
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        status, headers, body = asked(server, "/pages/index.html", method)
        assert (status, headers["Allow"], body) == (405, "GET, HEAD", "405 Method Not Allowed\n")


def test_on_loopback_it_answers_only_to_names_of_its_own(serve: Callable[..., PageServer]) -> None:
    server = serve(names=frozenset({"CI.example.org"}))
    ours = ("localhost", "127.0.0.1:8642", "[::1]:8642", "ci.example.org")
    theirs = ("evil.example.org", "localhost.evil.example.org", "", "[::1", "192.0.2.1")
    told = {host: asked(server, "/pages/", Host=host)[0] for host in (*ours, *theirs)}
    assert told == {**dict.fromkeys(ours, 200), **dict.fromkeys(theirs, 421)}
    assert asked(server, "http://evil.example.org/pages/")[0] == 421


def test_at_another_address_it_answers_to_any_name(serve: Callable[..., PageServer]) -> None:
    assert asked(serve("0.0.0.0"), "/pages/", Host="ci.example.org")[0] == 200  # noqa: S104  that is what is tested


def test_what_is_no_request_gets_no_page(serve: Callable[..., PageServer]) -> None:
    server = serve()
    for line in (b"GET /pages/index.html\r\n\r\n", b"nonsense\r\n\r\n", b"GET " + b"x" * 70000 + b"\r\n\r\n"):
        found = b""
        with socket.create_connection(place(server), timeout=5) as link, suppress(ConnectionError):
            link.sendall(line)
            found = link.makefile("rb").read()
        assert b"<h1>" not in found


def _answers(server: PageServer) -> bool:
    try:
        return asked(server, "/pages/")[0] == 200
    except ConnectionError:
        return False


def test_too_many_connections_are_closed_and_those_that_say_nothing_are_cut_off(
    serve: Callable[..., PageServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_CONNECTIONS", 2)
    monkeypatch.setattr(web, "_A_CONNECTION", 0.2)
    server = serve()
    silent = [socket.create_connection(place(server), timeout=5) for _ in range(3)]
    try:
        assert [link.recv(1) for link in silent] == [b"", b"", b""]
    finally:
        for link in silent:
            link.close()
    # What cuts a connection off may not have counted it yet when its other end sees it.
    until(lambda: _answers(server), deadline=Deadline(10), what="a free connection", every=0.01)


def test_the_command_says_where_it_serves_and_ends_well_when_it_is_stopped(
    filled: StateDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: PageServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", stopped)
    before = {path: path.lstat().st_mtime_ns for path in filled.root.rglob("*")}
    assert cli.main(["serve", f"--ccci-state-dir={filled.root}", "--ccci-serve-at=127.0.0.1:0"]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    assert {path: path.lstat().st_mtime_ns for path in filled.root.rglob("*")} == before


def test_a_place_that_is_taken_is_told_with_the_way_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main(["serve", f"--ccci-state-dir={tmp_path}", f"--ccci-serve-at={place}"]) == 1
    assert "--ccci-serve-at" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["8642", "here", ":8642", "::1:8642", "127.0.0.1:0x1", "127.0.0.1:70000", "[a:1"])
def test_what_is_no_place_is_refused(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", f"--ccci-serve-at={place}"]) == 2
    assert "--ccci-serve-at" in capsys.readouterr().err
