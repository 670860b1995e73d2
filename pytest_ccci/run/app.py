"""The app as a test sees it: its address, its services, a client that reaches it, a way into its containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.containers import ExecResult, exec_in
from pytest_ccci.engine.inspect import inspect_stack
from pytest_ccci.errors import DeadlineExceeded, ProgramHangs
from pytest_ccci.web import Route, session, tls_socket

if TYPE_CHECKING:
    import websocket

__all__ = ["App"]


@dataclass(frozen=True)
class App:
    """A deployed recipe.

    ``url`` is ``https://<domain>`` (with the port where it is not 443), without a slash at the end. Requests through
    ``http`` resolve the zone and trust its CA; nothing on the machine needs to be set up for that.
    """

    url: str
    domain: str
    stack: str
    engine: Engine = field(repr=False)
    route: Route = field(repr=False)

    @cached_property
    def http(self) -> requests.Session:
        """This test's own session, without the cookies of another test; for one that tests share see ``new_http()``."""
        return session(self.route)

    def renew_http(self) -> None:
        """Give ``http`` a session without cookies: done before every test."""
        if (known := self.__dict__.pop("http", None)) is not None:
            known.close()

    def new_http(self) -> requests.Session:
        """Another session: another browser, so to say."""
        return session(self.route)

    @property
    def services(self) -> tuple[str, ...]:
        """Short names of the services that are deployed now."""
        return tuple(service.name for service in inspect_stack(self.engine, self.stack).services)

    def exec(
        self, service: str, argv: Sequence[str], *, timeout: float = 60.0, env: Mapping[str, str] | None = None
    ) -> ExecResult:
        """Run ``argv`` (no shell) in the running container of ``service``; any exit status is an answer.

        Raises:
            NotConverged: nothing of that service runs.
            ProgramHangs: it did not end within ``timeout`` seconds; it is left running.
        """
        try:
            return exec_in(self.engine, self.stack, service, argv, timeout=timeout, env=env)
        except DeadlineExceeded as error:
            raise ProgramHangs(error.what, where=self.stack, seen=error.seen) from error

    def websocket(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0
    ) -> websocket.WebSocket:
        """A connected WebSocket to ``path`` (needs the package websocket-client)."""
        import websocket  # noqa: PLC0415  an optional package: only for tests that speak WebSocket

        port = urlsplit(self.url).port or 443
        socket = tls_socket(self.domain, route=self.route, port=port, timeout=timeout)
        return websocket.create_connection(
            f"wss://{urlsplit(self.url).netloc}{path}",
            socket=socket,
            header=[f"{name}: {value}" for name, value in (headers or {}).items()],
            timeout=timeout,
        )
