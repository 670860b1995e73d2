"""The app as a test sees it: its address, its services, a client that reaches it, a way into its containers."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import requests

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.containers import ExecResult, exec_in
from pytest_ccci.engine.inspect import inspect_stack
from pytest_ccci.errors import DeadlineExceeded, LoginFailed, ProgramHangs
from pytest_ccci.web import Route, password_form, session, tls_socket

if TYPE_CHECKING:
    import websocket

    from pytest_ccci.warm.realm_model import User

__all__ = ["App"]


_PATIENCE = 60.0
"""Seconds that a request of an author's may take: a busy machine is no fault of the app's."""


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
        return self.new_http()

    def renew_http(self) -> None:
        """Give ``http`` a session without cookies: done before every test."""
        if (known := self.__dict__.pop("http", None)) is not None:
            known.close()

    def new_http(self, *, timeout: float = _PATIENCE) -> requests.Session:
        """Another session: another browser, so to say. A request that names no timeout has ``timeout`` seconds."""
        return session(self.route, timeout=timeout)

    def login(self, user: User, path: str = "/", *, http: requests.Session | None = None) -> requests.Response:
        """Sign ``user`` in by the app's own login at ``path`` (OIDC, authorization code), as a browser does.

        Follows the app to the form that asks for a password, fills it in, and follows it back; ``http`` (default: this
        test's own session) has the person's cookies from then on. Where the app's server only answers with the address
        of the form, ``path`` is that whole address.

        Returns:
            The page at which they end, of the app; whether it knows them is for the test to ask.

        Raises:
            LoginFailed: there is no such form, or the person is not let in.

        Example:
            ``app.login(keycloak_realm.user, "/auth/oauth2").url == f"{app.url}/"``
        """
        client = http or self.http
        page = client.get(urljoin(f"{self.url}/", path))
        form = password_form(page)
        if form is None:
            raise LoginFailed(
                f"{path.partition('?')[0]} leads to no login form: {page.status_code} {_text_of(page)}",
                where=page.url.partition("?")[0],
                advice="name the path of the app's login, to which its button leads",
            )
        page = client.post(form.action, data={**form.hidden, "username": user.username, "password": user.password})
        if password_form(page) is not None or not page.url.startswith(f"{self.url}/"):
            where = page.url.partition("?")[0]
            raise LoginFailed(
                f"{user.username} is not let in: {_text_of(page)}", where=where, seen=str(page.status_code)
            )
        return page

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


def _text_of(page: requests.Response) -> str:
    """The beginning of what a person reads on a page."""
    bare = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", page.text)
    return " ".join(html.unescape(bare).split())[:200]
