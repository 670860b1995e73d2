"""How a person uses Miniflux: by its pages, as a browser does; and what the sentinel of a person's feed is."""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
import requests

FEED = "http://feed/feed.xml"
"""The feed of `compose.feed.yml`, inside the stack. With a query of its own it is another feed for Miniflux."""


@dataclass
class Form(HTMLParser):
    """The form of a page that is sent to ``action``: its fields as they stand there."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    _inside: bool = False
    _select: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {key: value or "" for key, value in attrs}
        if tag == "form":
            self._inside = said.get("action") == self.action
        elif tag == "select":
            self._select = said.get("name", "")
        elif self._inside and tag == "option" and (self._select not in self.fields or "selected" in said):
            self.fields[self._select] = said.get("value", "")
        elif self._inside and tag == "input" and said.get("type") not in {"checkbox", "submit"} and said.get("name"):
            self.fields[said["name"]] = said.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "form"


@dataclass
class Reader:
    """Somebody's browser at the app, signed in."""

    app: Any
    http: requests.Session

    def page(self, path: str) -> requests.Response:
        page = self.http.get(self.app.url + path)
        assert page.status_code == 200, f"{path}: {page.status_code} {page.text[:200]}"
        return page

    def subscribe(self, url: str) -> str:
        """Subscribe to a feed by the page for it; return the path of the feed's page."""
        form = Form("/subscribe")
        form.feed(self.page("/subscribe").text)
        page = self.http.post(f"{self.app.url}/subscribe", data={**form.fields, "url": url})
        assert "/entries" in page.url, f"not subscribed to {url}: {page.status_code} {page.url} {page.text[:2000]}"
        return page.url.removeprefix(self.app.url)

    def feeds(self) -> dict[str, str]:
        """The titles of the feeds, by their address, as Miniflux exports them."""
        outlines = ET.fromstring(self.page("/export").text).iter("outline")  # noqa: S314  the app is ours
        return {each.attrib["xmlUrl"]: each.attrib["title"] for each in outlines if "xmlUrl" in each.attrib}

    def unsubscribe(self, feed: str) -> None:
        """Remove the feed whose page this is, as the page's button does."""
        path = feed.removesuffix("/entries")
        form = Form(f"{path}/update")
        form.feed(self.page(f"{path}/edit").text)
        answer = self.http.post(f"{self.app.url}{path}/remove", data={"csrf": form.fields.get("csrf", "")})
        assert answer.ok, f"{answer.status_code} {answer.text[:200]}"

    def sign_out(self) -> None:
        """Sign out as the menu says: 2.2 has a link there, 2.3 a form."""
        form = Form("/logout")
        form.feed(self.page("/feeds").text)
        self.http.request("POST" if form.fields else "GET", f"{self.app.url}/logout", data=form.fields)


def sign_in(app: Any, user: Any) -> Reader:
    """Sign in as a person does: with a click on the login page, and name and password at Keycloak."""
    http = app.new_http()
    door, health = http.get(f"{app.url}/"), http.get(f"{app.url}/healthcheck")
    assert door.status_code == 200, (
        f"the login page is a {door.status_code}, while the health check is a {health.status_code}: {door.text[:200]}"
    )
    back = app.login(user, "/oauth2/oidc/redirect", http=http)
    assert back.status_code == 200, f"{user.username} is not let in: {back.status_code} {back.url}"
    return Reader(app, http)


@pytest.fixture
def alice(app: Any, keycloak_realm: Any) -> Reader:
    """The realm's first person, signed in."""
    return sign_in(app, keycloak_realm.users[0])


@pytest.fixture
def bob(app: Any, keycloak_realm: Any) -> Reader:
    """The realm's second person, signed in."""
    return sign_in(app, keycloak_realm.users[1])


@pytest.fixture
def news() -> str:
    """The address of a feed to which nobody has subscribed yet."""
    return f"{FEED}?{secrets.token_hex(4)}"


def ccci_seed(app: Any, realm: Any) -> dict[str, str]:
    """Subscribe the realm's first person to a feed."""
    url = f"{FEED}?kept-{secrets.token_hex(8)}"
    return {"url": url, "page": sign_in(app, realm.users[0]).subscribe(url)}


def ccci_check(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """The same person signs in, and has that feed with its articles."""
    reader = sign_in(app, realm.users[0])
    feeds = reader.feeds()
    assert seeded["url"] in feeds, f"the feed is gone; there are {sorted(feeds)}"
    there = "The general meeting" in reader.page(f"{seeded['page']}/all").text
    assert there, "the feed has lost its articles"


def ccci_spoil(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Remove that feed, so that only a restore brings it back."""
    sign_in(app, realm.users[0]).unsubscribe(seeded["page"])


def ccci_documents(app: Any, realm: Any, seeded: dict[str, str]) -> dict[str, str]:
    """That person's articles as the database keeps them."""
    query = (
        "SELECT e.hash, concat_ws(' ', e.title, e.status, e.starred) FROM entries e JOIN users u ON u.id = e.user_id "
        "JOIN feeds f ON f.id = e.feed_id WHERE u.openid_connect_id = :'sub' AND f.feed_url = :'url' ORDER BY e.id"
    )
    said = ["-v", f"sub={realm.users[0].sub}", "-v", f"url={seeded['url']}"]
    argv = ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", *said, "-U", "miniflux", "-d", "miniflux"]
    done = app.exec("db", ["sh", "-c", 'printf "%s" "$QUERY" | exec "$@"', "sh", *argv], env={"QUERY": query})
    assert done.rc == 0, done.stderr
    return dict(row.split("|", 1) for row in done.stdout.splitlines())
