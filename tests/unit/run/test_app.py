"""The app's own client, whose cookies live as long as a test; and its programs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pytest_ccci.errors import DeadlineExceeded, LoginFailed, ProgramHangs
from pytest_ccci.run import app as app_module
from pytest_ccci.run.app import App
from pytest_ccci.warm.realm_model import User
from pytest_ccci.web import Route

ALICE = User("alice", "pass & word", "alice@example.org", "Alice", "A", "sub-1")
FORM = """\
<form action="/search"><input name="q"></form>
<form id="kc-form-login" method="post" action="{action}">
  <input name="username" value=""> <input type="password" name="password">
  <input type="hidden" name="credentialId" value="c&amp;1"> <input type="submit" name="login">
</form>
"""


def test_a_renewed_session_knows_nobody_and_others_are_left_alone(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/login").respond_with_data("welcome", headers={"Set-Cookie": "who=alice"})
    engine: Any = None
    app = App(httpserver.url_for("").rstrip("/"), "one.ci.test", "one_ci_test", engine, Route())
    kept = app.new_http()
    for session in (app.http, kept):
        session.get(f"{app.url}/login")
    assert app.http is app.http
    assert app.http.cookies.get("who") == "alice"
    before = app.http
    app.renew_http()
    assert app.http is not before
    assert app.http.cookies.get("who") is None
    assert kept.cookies.get("who") == "alice"
    assert before.get(f"{app.url}/login").text == "welcome", "who kept it may go on with it"
    for session in (app.http, kept, before):
        session.close()


def test_a_program_of_the_app_that_hangs_is_the_recipes_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise DeadlineExceeded("sh in app did not end within 3 s", seen="still at it")

    monkeypatch.setattr(app_module, "exec_in", hang)
    engine: Any = None
    app = App("https://one.ci.test", "one.ci.test", "one_ci_test", engine, Route())
    with pytest.raises(ProgramHangs, match="sh in app did not end within 3 s") as caught:
        app.exec("app", ["sh"], timeout=3)
    assert (caught.value.where, caught.value.seen) == ("one_ci_test", "still at it")


@pytest.fixture
def app(httpserver: HTTPServer) -> App:
    """An app whose login leads to a form elsewhere, and back; only Alice's password is right."""
    url = httpserver.url_for("").rstrip("/")
    elsewhere = url.replace("localhost", "127.0.0.1")

    def to_the_form(_: Request) -> Response:
        return Response(status=302, headers={"Location": f"{elsewhere}/auth?state=1&x=2"})

    def entered(request: Request) -> Response:
        assert request.query_string == b"session=1&tab=2"
        if request.form.to_dict() != {"username": "alice", "password": "pass & word", "credentialId": "c&1"}:
            return Response("<span id='input-error'>Invalid username or password.</span>" + FORM.format(action="/x"))
        return Response(status=302, headers={"Location": f"{url}/callback?code=1"})

    def known(_: Request) -> Response:
        return Response(status=302, headers={"Location": "/home", "Set-Cookie": "who=alice"})

    httpserver.expect_request("/login").respond_with_handler(to_the_form)
    httpserver.expect_request("/auth").respond_with_data(FORM.format(action="/enter?session=1&amp;tab=2"))
    httpserver.expect_request("/enter", method="POST").respond_with_handler(entered)
    httpserver.expect_request("/callback").respond_with_handler(known)
    httpserver.expect_request("/home").respond_with_data("welcome")
    httpserver.expect_request("/plain").respond_with_data("<h1>no form here</h1>")
    httpserver.expect_request("/down").respond_with_data("<h1>sorry</h1>", status=503)
    engine: Any = None
    return App(url, httpserver.host, "one_ci_test", engine, Route())


def test_a_person_comes_in_by_the_apps_own_login_and_is_known_from_then_on(app: App) -> None:
    page = app.login(ALICE, "/login")
    assert (page.url, page.text) == (f"{app.url}/home", "welcome")
    assert app.http.cookies.get("who") == "alice"
    with app.new_http() as other:
        assert app.login(ALICE, "/login", http=other).text == "welcome"
        assert other.cookies.get("who") == "alice"


def test_a_login_can_begin_at_an_address_that_the_app_gave(app: App) -> None:
    """An app of one page asks its server where to go, and its server answers with the provider's address."""
    given = app.url.replace("localhost", "127.0.0.1")
    assert app.login(ALICE, f"{given}/auth?state=1&x=2").text == "welcome"
    assert app.http.cookies.get("who") == "alice"
    with pytest.raises(LoginFailed, match=re.escape(f"{given}/plain leads to no login form: 200 no form here")):
        app.login(ALICE, f"{given}/plain?state=1")


@pytest.mark.parametrize(
    ("user", "path", "words"),
    [
        (replace(ALICE, password="x"), "/login", "alice is not let in: Invalid username or password."),
        (ALICE, "/plain", "/plain leads to no login form: 200 no form here"),
        (ALICE, "/down", "/down leads to no login form: 503 sorry"),
    ],
)
def test_why_a_person_does_not_come_in_is_said(app: App, user: User, path: str, words: str) -> None:
    with pytest.raises(LoginFailed, match=re.escape(words)) as caught:
        app.login(user, path)
    assert user.password not in str(caught.value)


def test_a_busy_machine_is_no_fault_of_the_apps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keycloak's first login took more than ten seconds on a machine that was busy, and the recipe was blamed."""
    given: list[float] = []
    monkeypatch.setattr(app_module, "session", lambda _route, *, timeout: given.append(timeout))
    engine: Any = None
    app = App("https://one.ci.test", "one.ci.test", "one_ci_test", engine, Route())
    assert app.http is None
    app.new_http()
    app.new_http(timeout=5)
    assert given == [60.0, 60.0, 5]
