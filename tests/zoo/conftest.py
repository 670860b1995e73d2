"""What the zoo's rows may name, and the zoo's table at the end of the session."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pytest_ccci.engine.client import Engine
from pytest_ccci.settings import resolve

__all__ = ["known"]

collect_ignore = ["good"]  # a recipe's folder to look at, and no test of ours


class _EmptyRegistry(BaseHTTPRequestHandler):
    """An image registry that has nothing. Docker speaks plain HTTP to one on a loopback address."""

    def do_GET(self) -> None:
        body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        self.send_response(200 if self.path == "/v2/" else 404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  the name is the library's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the same
        """Nobody reads it."""


@pytest.fixture(scope="session")
def known(engine: Engine) -> Iterator[Mapping[str, str]]:
    """What rows may name as ``@NAME@``: an empty registry, images (one that moves, two with health checks of their own,
    of which one is never well), the engine's socket, Traefik's port."""
    moving = f"localhost/zoo-{os.getpid()}"
    checked = {
        "SLOWLY_CHECKED": _with_check(engine, f"{moving}:slow", "--interval=10m CMD perl /serve.pl check"),
        "SICK": _with_check(engine, f"{moving}:sick", "--interval=2s --retries=2 CMD echo the queue is stuck; exit 1"),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyRegistry) as registry:
        threading.Thread(target=registry.serve_forever, name="registry", daemon=True).start()
        assert engine.client.api.tag("debian:bookworm-slim", moving, "latest")
        yield {
            "REGISTRY": f"127.0.0.1:{registry.server_port}",
            "MOVING": f"{moving}:latest",
            **checked,
            "SOCKET": str(engine.socket_path or "/var/run/docker.sock"),
            "HTTPS_PORT": str(resolve({}, {}).https_port),
            "STRAY": f"zoo-stray-{os.getpid()}",
        }
        for ref in (f"{moving}:latest", *checked.values()):
            engine.client.api.remove_image(ref, force=True)
        registry.shutdown()


def _with_check(engine: Engine, ref: str, healthcheck: str) -> str:
    """Make the image ``ref``: Debian with a health check of its own."""
    api = engine.client.api
    container = api.create_container("debian:bookworm-slim")["Id"]
    name, _, tag = ref.rpartition(":")
    api.commit(container, repository=name, tag=tag, changes=[f"HEALTHCHECK {healthcheck}"])
    api.remove_container(container)
    return ref


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the zoo's table: what was expected of each row, what was seen, and how long it took."""
    reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, "when")]
    rows = [dict(report.user_properties) for report in reports if report.when == "call"]
    rows = [row for row in rows if "zoo.row" in row]
    if not rows:
        return
    terminalreporter.section("zoo")
    width = max(len(row["zoo.row"]) for row in rows)
    wide = max(len(row["zoo.expected"]) for row in rows)
    for row in sorted(rows, key=lambda row: (row["zoo.table"], row["zoo.row"])):
        seen = row["zoo.seen"] if row["zoo.problems"] else "as expected"
        more = f"; {row['zoo.problems']} differences" if row["zoo.problems"] else ""
        terminalreporter.write_line(
            f"{row['zoo.table']:<7}  {row['zoo.row']:<{width}}  {row['zoo.expected']:<{wide}}  "
            f"{row['zoo.seconds']:>5.1f} s  {seen}{more}",
            **({"red": True} if row["zoo.problems"] and row["zoo.table"] != "not yet" else {}),
        )
    for table in sorted({row["zoo.table"] for row in rows}):
        these = [row for row in rows if row["zoo.table"] == table]
        shown = sum(not row["zoo.problems"] for row in these)
        terminalreporter.write_line(f"{table}: {shown} of {len(these)} rows as expected")
