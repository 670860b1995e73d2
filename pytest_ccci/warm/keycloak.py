"""The connection to a Keycloak's admin API over its real route, patient over short restarts."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requests import Response

from pytest_ccci import web
from pytest_ccci.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    InfrastructureFault,
    KeycloakUnavailable,
    RecipeFault,
)
from pytest_ccci.progress import WaitLine
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.redact import SECRETS
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.warm.infra_recipe import read_secret
from pytest_ccci.warm.zone import Site
from pytest_ccci.web import Route

if TYPE_CHECKING:
    from keycloak import KeycloakError, KeycloakOpenIDConnection

__all__ = ["Keycloak", "open_keycloak"]

_LOG = logging.getLogger(__name__)

OK, CREATED, NO_CONTENT, UNAUTHORIZED, NOT_FOUND, CONFLICT = 200, 201, 204, 401, 404, 409
_PASSING = frozenset({500, 502, 503, 504})
"""What a Keycloak that restarts, or the Traefik before it, answers for a while."""
_NO_ROUTE = b"404 page not found"
"""Traefik's own 404: Keycloak's container is not there right now."""
_PATIENCE = 90.0
_TIMEOUT = 30
_EVERY = 0.25


class Keycloak:
    """The Keycloak at ``url``, as its administrator. Safe to share between threads: each has a connection of its own.

    Every call is repeated for up to ``patience`` seconds while nobody answers, so that callers must be idempotent.
    """

    def __init__(
        self, url: str, *, route: Route, password: str, username: str = "admin", patience: float = _PATIENCE
    ) -> None:
        self.url = url.rstrip("/")
        self.route = route
        self._username = username
        self._password = password
        SECRETS.learn(password)
        self._patience = patience
        self._mine = threading.local()

    def __repr__(self) -> str:
        return f"Keycloak({self.url})"

    @property
    def password(self) -> str:
        """The administrator's password."""
        return self._password

    def create_realm(self, body: Mapping[str, Any]) -> bool:
        """Import a realm; ``False`` when something of it exists already (its name, or a user's id).

        Raises:
            KeycloakUnavailable: Keycloak refused it, or does not answer.
        """
        text = json.dumps(body)
        answer = self._call("import realm", lambda link: link.raw_post("admin/realms", data=text))
        if answer.status_code == CONFLICT:
            return False
        _expect(answer, f"importing realm {body['realm']}", CREATED)
        return True

    def realm(self, name: str) -> dict[str, Any] | None:
        """A realm's representation, or ``None``."""
        answer = self._call("read realm", lambda link: link.raw_get(f"admin/realms/{name}"))
        if answer.status_code == NOT_FOUND:
            return None
        _expect(answer, f"reading realm {name}", OK)
        return dict(answer.json())

    def realms(self) -> tuple[dict[str, Any], ...]:
        """All realms' representations, with their attributes."""
        answer = self._call("list realms", lambda link: link.raw_get("admin/realms", briefRepresentation="false"))
        _expect(answer, "listing realms", OK)
        return tuple(answer.json())

    def delete_realm(self, name: str) -> bool:
        """Delete a realm; ``False`` when there was none."""
        answer = self._call("delete realm", lambda link: link.raw_delete(f"admin/realms/{name}"))
        if answer.status_code == NOT_FOUND:
            return False
        _expect(answer, f"deleting realm {name}", NO_CONTENT, OK)
        return True

    def version(self) -> str:
        """The version the running server says it is."""
        answer = self._call("read server info", lambda link: link.raw_get("admin/serverinfo"))
        _expect(answer, "reading the server's version", OK)
        return str(answer.json()["systemInfo"]["version"])

    def issuer(self, realm: str = "master") -> str:
        """The issuer that the realm's discovery document names, read over the real route without credentials."""
        address = f"{self.url}/realms/{realm}/.well-known/openid-configuration"
        with web.session(self.route) as client:
            answer = self._patiently("OIDC discovery", lambda: client.get(address))
        _expect(answer, "reading OIDC discovery", OK)
        return str(answer.json().get("issuer", ""))

    def check(self) -> str:
        """Prove that it serves: discovery with the right issuer, and an admin token. Returns its version.

        Raises:
            KeycloakUnavailable: says which of them failed, and what was seen.
        """
        issuer, wanted = self.issuer(), f"{self.url}/realms/master"
        if issuer != wanted:
            raise KeycloakUnavailable("Keycloak names another issuer", where=self.url, seen=f"{issuer}, not {wanted}")
        return self.version()

    def _call(self, what: str, act: Callable[[KeycloakOpenIDConnection], Response]) -> Response:
        return self._patiently(what, lambda: act(self._link()))

    def _patiently(self, what: str, act: Callable[[], Response]) -> Response:
        from keycloak import KeycloakError  # noqa: PLC0415  heavy (two HTTP libraries): most runs lease no realm

        seen: list[str] = []

        def attempt() -> _Answered | None:
            problem = ""
            try:
                answer = act()
            except KeycloakError as error:
                problem = self._forget_link(error)
            except OSError as error:  # requests' errors are OSErrors
                problem = str(error)
            else:
                if answer.status_code not in _PASSING and answer.content.strip() != _NO_ROUTE:
                    return _Answered(answer)
                problem = f"{answer.status_code} {answer.text[:200]}"
            if problem not in seen:
                seen.append(problem)
                _LOG.info(WaitLine(f"keycloak: {what}: no answer yet ({problem[:120]})"))
            return None

        try:
            return until(attempt, deadline=Deadline(self._patience), what=what, every=_EVERY).answer
        except DeadlineExceeded as error:
            raise KeycloakUnavailable(
                f"Keycloak did not answer within {self._patience:.0f} s ({what})",
                where=self.url,
                seen=seen[-1] if seen else "",
                advice="see its logs: docker service logs",
            ) from error

    def _forget_link(self, error: KeycloakError) -> str:
        """Log in anew next time (after a restore the server knows neither session nor key); say what was wrong."""
        self._mine.link = None
        if error.response_code == UNAUTHORIZED:
            raise KeycloakUnavailable(
                "Keycloak does not accept the administrator's password",
                where=self.url,
                advice="it was changed by hand, or its database is older than its secret",
            ) from None
        return _first_cause(error)

    def _link(self) -> KeycloakOpenIDConnection:
        from keycloak import KeycloakOpenIDConnection  # noqa: PLC0415  see _patiently

        link = getattr(self._mine, "link", None)
        if link is None:
            link = KeycloakOpenIDConnection(
                server_url=f"{self.url}/",
                username=self._username,
                password=self._password,
                realm_name="master",
                client_id="admin-cli",
                timeout=_TIMEOUT,
            )
            for part in (link, link.keycloak_openid.connection):
                # Set afterwards: at construction it would also go to an async client, which warns about a path.
                part.verify = str(self.route.ca_file) if self.route.ca_file else True
                part._s = _session(self.route)  # noqa: SLF001  the library offers no way to bring a session along
            self._mine.link = link
        return link


@dataclass(frozen=True)
class _Answered:
    """A response that is truthy whatever its status: requests' own is falsy for 4xx."""

    answer: Response


def _session(route: Route) -> Any:
    session = web.session(route, timeout=_TIMEOUT)
    session.auth = lambda request: request  # what the library does too: no credentials from a .netrc
    return session


def _expect(answer: Response, what: str, *codes: int) -> None:
    if answer.status_code not in codes:
        raise KeycloakUnavailable(f"{what}: Keycloak refused", seen=f"{answer.status_code} {answer.text[:500]}")


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def open_keycloak(site: Site, *, domain: str = "", patience: float = 90.0) -> Keycloak:
    """The Keycloak at ``domain`` (default: the warm one), as its administrator; nothing is asked of it yet.

    Raises:
        KeycloakUnavailable: it does not run, or holds no password.
    """
    domain = domain or app_domain("keycloak", site.zone.name)
    try:
        password = read_secret(site.engine, stack_name(domain), "app", "admin_password").strip()
    except EngineUnavailable:
        raise
    except (RecipeFault, InfrastructureFault) as error:
        raise KeycloakUnavailable("Keycloak does not run", where=domain, seen=str(error)) from error
    return Keycloak(site.zone.url(domain), route=site.zone.route, password=password, patience=patience)
