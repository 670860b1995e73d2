"""The app's own client: cookies live as long as a test."""

from __future__ import annotations

from typing import Any

from pytest_httpserver import HTTPServer

from pytest_ccci.run.app import App
from pytest_ccci.web import Route


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
