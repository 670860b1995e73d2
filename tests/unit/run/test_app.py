"""The app's own client, whose cookies live as long as a test; and its programs."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from pytest_ccci.errors import DeadlineExceeded, ProgramHangs
from pytest_ccci.run import app as app_module
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


def test_a_program_of_the_app_that_hangs_is_the_recipes_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise DeadlineExceeded("sh in app did not end within 3 s", seen="still at it")

    monkeypatch.setattr(app_module, "exec_in", hang)
    engine: Any = None
    app = App("https://one.ci.test", "one.ci.test", "one_ci_test", engine, Route())
    with pytest.raises(ProgramHangs, match="sh in app did not end within 3 s") as caught:
        app.exec("app", ["sh"], timeout=3)
    assert (caught.value.where, caught.value.seen) == ("one_ci_test", "still at it")
