"""How people use WordPress, by its pages and its REST API; and what the sentinel of an editor's draft is."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import pytest
import requests


@dataclass
class Editor:
    """The browser of the site's administrator, signed in."""

    app: Any
    http: requests.Session

    def open(self, path: str) -> requests.Response:
        """A page of the dashboard; WordPress leads away from it as long as the database is not up to date."""
        page = self.http.get(f"{self.app.url}/wp-admin/{path}")
        assert "upgrade.php" not in page.url, f"the dashboard asks for an upgrade of the database: {page.url}"
        assert page.status_code == 200, f"{path}: {page.status_code} {page.text[:200]}"
        return page

    def call(self, method: str, path: str, **said: Any) -> Any:
        """Call the REST API as the editor's page does."""
        nonce = self.http.get(f"{self.app.url}/wp-admin/admin-ajax.php?action=rest-nonce").text
        headers = {"X-WP-Nonce": nonce, **said.pop("headers", {})}
        answer = self.http.request(method, f"{self.app.url}/?rest_route=/wp/v2/{path}", headers=headers, **said)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def write(self, title: str, content: str, status: str) -> dict[str, Any]:
        """Write a post."""
        return dict(self.call("POST", "posts", json={"title": title, "content": content, "status": status}))

    def read(self, post: object) -> str:
        """The content of a post, as its editor has it."""
        return str(self.call("GET", f"posts/{post}&context=edit")["content"]["raw"])


def sign_in(app: Any) -> Editor:
    """Sign in at the login page."""
    http = app.new_http()
    login = f"{app.url}/wp-login.php"
    http.get(login)
    password = app.exec("app", ["cat", "/run/secrets/admin_password"]).stdout.strip()
    page = http.post(login, data={"log": "admin", "pwd": password, "testcookie": "1"})
    assert any(cookie.name.startswith("wordpress_logged_in") for cookie in http.cookies), (
        f"admin is not let in: {page.status_code} {page.url}"
    )
    return Editor(app, http)


@pytest.fixture
def editor(app: Any) -> Editor:
    """The administrator, signed in."""
    return sign_in(app)


@pytest.fixture
def words() -> str:
    """Some words that nobody has written yet."""
    return f"Words {secrets.token_hex(8)}"


def ccci_seed(app: Any, realm: Any) -> dict[str, str]:
    """Write a draft."""
    del realm
    content = f"Remember {secrets.token_hex(16)}."
    return {"id": str(sign_in(app).write("A draft", content, "draft")["id"]), "content": content}


def ccci_check(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Its editor signs in, opens it, and finds it unchanged."""
    del realm
    editor = sign_in(app)
    editor.open(f"post.php?post={seeded['id']}&action=edit")
    assert editor.read(seeded["id"]) == seeded["content"], "the draft has another content"


def ccci_spoil(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Change it, so that only a restore brings it back."""
    del realm
    sign_in(app).call("POST", f"posts/{seeded['id']}", json={"content": "Forgotten."})
