from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pytest_ccci.errors import KeycloakUnavailable
from pytest_ccci.warm import keycloak as module
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.web import Route

TOKEN = {"access_token": "a", "refresh_token": "r", "expires_in": 60, "token_type": "Bearer"}
TOKEN_PATH = "/realms/master/protocol/openid-connect/token"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.0)


def client(server: HTTPServer, *, patience: float = 5.0) -> Keycloak:
    return Keycloak(server.url_for("").rstrip("/"), route=Route(), password="pw", patience=patience)


def answers(*given: Response) -> Callable[[Request], Response]:
    left = list(given)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    "passing",
    [Response("bad gateway", 502), Response("starting", 503), Response("404 page not found\n", 404), Response("", 500)],
    ids=["proxy", "starting", "no route", "database"],
)
def test_a_short_absence_is_waited_out(httpserver: HTTPServer, passing: Response) -> None:
    httpserver.expect_request(TOKEN_PATH).respond_with_json(TOKEN)
    httpserver.expect_request("/admin/realms").respond_with_handler(answers(passing, passing, Response("", 201)))

    assert client(httpserver).create_realm({"realm": "x"})


def test_an_absence_while_logging_in_is_waited_out(httpserver: HTTPServer) -> None:
    token = Response(b'{"access_token": "a", "expires_in": 60}', content_type="application/json")
    httpserver.expect_request(TOKEN_PATH).respond_with_handler(answers(Response("starting", 503), token))
    httpserver.expect_request("/admin/realms/x").respond_with_json({"realm": "x"})

    assert client(httpserver).realm("x") == {"realm": "x"}


def test_a_conflict_is_told_and_not_raised(httpserver: HTTPServer) -> None:
    httpserver.expect_request(TOKEN_PATH).respond_with_json(TOKEN)
    httpserver.expect_request("/admin/realms").respond_with_json({"errorMessage": "exists"}, status=409)

    assert not client(httpserver).create_realm({"realm": "x"})


def test_a_realm_that_is_not_there_is_none_and_not_an_absence(httpserver: HTTPServer) -> None:
    httpserver.expect_request(TOKEN_PATH).respond_with_json(TOKEN)
    httpserver.expect_request("/admin/realms/x").respond_with_json({"error": "Realm not found."}, status=404)

    assert client(httpserver).realm("x") is None
    assert not client(httpserver).delete_realm("x")


def test_a_wrong_password_is_said_at_once(httpserver: HTTPServer) -> None:
    httpserver.expect_request(TOKEN_PATH).respond_with_json({"error": "invalid_grant"}, status=401)

    with pytest.raises(KeycloakUnavailable, match="password"):
        client(httpserver, patience=60).realms()


def test_patience_ends_and_says_what_was_seen_last(httpserver: HTTPServer) -> None:
    httpserver.expect_request(TOKEN_PATH).respond_with_data("starting", status=503)

    with pytest.raises(KeycloakUnavailable, match="did not answer") as caught:
        client(httpserver, patience=0.05).realms()

    assert "503" in caught.value.seen or "starting" in caught.value.seen


def test_another_issuer_is_no_keycloak_of_ours(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/realms/master/.well-known/openid-configuration").respond_with_json(
        {"issuer": "http://x"}
    )

    with pytest.raises(KeycloakUnavailable, match="another issuer"):
        client(httpserver).check()


def test_the_password_is_not_shown(httpserver: HTTPServer) -> None:
    assert "pw" not in repr(client(httpserver))
