"""The dashboard, and who gets there."""

from __future__ import annotations


def test_an_administrator_gets_to_the_dashboard(editor):
    assert "wp-admin-bar" in editor.open("").text
    assert "update-nag" not in editor.open("options-general.php").text


def test_a_stranger_gets_to_the_login(app):
    answer = app.http.get(f"{app.url}/wp-admin/", allow_redirects=False)
    assert answer.status_code == 302
    assert "wp-login.php" in answer.headers["Location"]


def test_a_wrong_password_does_not_open_it(app):
    app.http.get(f"{app.url}/wp-login.php")
    page = app.http.post(f"{app.url}/wp-login.php", data={"log": "admin", "pwd": "not it", "testcookie": "1"})
    assert page.url == f"{app.url}/wp-login.php"
    assert not any(cookie.name.startswith("wordpress_logged_in") for cookie in app.http.cookies)
