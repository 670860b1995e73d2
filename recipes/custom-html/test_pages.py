"""Pages of one's own."""

from __future__ import annotations

import pytest


@pytest.fixture
def page(app):
    """A page on the content volume, written as an operator would."""
    path = "/usr/share/nginx/html/hello.html"
    written = app.exec("app", ["sh", "-c", f"echo 'Hello from {app.domain}.' > {path}"])
    assert written.rc == 0, written.stderr
    yield "/hello.html"
    app.exec("app", ["rm", path])


def test_a_page_on_the_volume_is_served(app, page):
    answer = app.http.get(app.url + page)
    assert answer.status_code == 200
    assert answer.text.strip() == f"Hello from {app.domain}."


def test_a_page_that_is_not_there_is_nginx_404(app):
    answer = app.http.get(f"{app.url}/nobody-wrote-this.html")
    assert answer.status_code == 404
    assert "nginx" in answer.headers["Server"]
