"""How a person uses the hub, by their browser and by a token, and what the sentinel of a person is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from pytest_ccci.waiting import Deadline, until

API = "/hub/api"


@dataclass
class Person:
    """Somebody's browser at the hub; nobody is signed in at first."""

    app: Any
    name: str = ""
    http: requests.Session = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.app.new_http()

    def sign_in(self, user: Any) -> Person:
        """Follow the hub's login to Keycloak, type name and password, and come back to the page of one's servers."""
        back = self.app.login(user, "/hub/oauth_login?next=/hub/home", http=self.http)
        assert back.url == f"{self.app.url}/hub/home", f"the login of {user.username} ended at {back.url}"
        self.name = user.username
        return self

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.app.url + path)

    def send(self, method: str, path: str, *, status: int, **body: Any) -> Any:
        """Send JSON as the hub's pages do, with the token against cross-site requests; what the hub answers."""
        headers = {
            "X-XSRFToken": self.http.cookies.get("_xsrf", path="/hub/") or "",
            "Referer": f"{self.app.url}/hub/home",
        }
        answer = self.http.request(method, self.app.url + API + path, json=body or None, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.text else None

    def new_token(self, note: str) -> str:
        """A token for programs, as the hub's page for them makes it."""
        made = self.send("POST", f"/users/{self.name}/tokens", status=requests.codes.created, note=note)
        return str(made["token"])


@dataclass
class Program:
    """What a person lets act for them, by a token."""

    app: Any
    token: str
    http: requests.Session = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.app.new_http()
        self.http.headers["Authorization"] = f"token {self.token}"

    def send(self, method: str, path: str, **body: Any) -> requests.Response:
        return self.http.request(method, self.app.url + path, json=body or None)

    def whoami(self) -> dict[str, Any]:
        answer = self.send("GET", f"{API}/user")
        assert answer.status_code == requests.codes.ok, f"the token is not accepted: {answer.status_code} {answer.text}"
        return dict(answer.json())


@pytest.fixture
def visitor(app: Any) -> Person:
    """Somebody who is not signed in."""
    return Person(app)


@pytest.fixture
def alice(app: Any, keycloak_realm: Any) -> Person:
    """The realm's first person, signed in; she administers the hub."""
    return Person(app).sign_in(keycloak_realm.users[0])


@pytest.fixture
def bob(app: Any, keycloak_realm: Any) -> Person:
    """The realm's second person, signed in."""
    return Person(app).sign_in(keycloak_realm.users[1])


@pytest.fixture
def program(app: Any, bob: Person) -> Program:
    """A program that acts for the second person."""
    return Program(app, bob.new_token("a test's"))


@pytest.fixture
def server(program: Program) -> Iterator[str]:
    """Where the second person's notebook server is, started; it is stopped in the end."""
    name = program.whoami()["name"]
    started = program.send("POST", f"{API}/users/{name}/server")
    assert started.status_code in {requests.codes.created, requests.codes.accepted}, started.text
    ready = f"{API}/users/{name}/server/progress"

    def is_ready() -> bool:
        servers = program.send("GET", f"{API}/users/{name}").json()["servers"]
        return bool(servers.get("", {}).get("ready"))

    until(is_ready, deadline=Deadline(60), what=f"the server of {name} (see {ready})", every=0.5)
    yield f"/user/{name}"
    program.send("DELETE", f"{API}/users/{name}/server")
    gone = f"the server of {name} to be stopped"
    until(lambda: not program.whoami()["servers"], deadline=Deadline(30), what=gone, every=0.5)


def ccci_seed(app: Any, realm: Any) -> dict[str, str]:
    """Make a group that the realm's first person is in, and a token for her programs."""
    person = Person(app).sign_in(realm.users[0])
    group = f"kept-{secrets.token_hex(4)}"
    person.send("POST", f"/groups/{group}", status=requests.codes.created)
    person.send("POST", f"/groups/{group}/users", status=requests.codes.ok, users=[person.name])
    return {"group": group, "token": person.new_token("kept")}


def ccci_check(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Her token still works, and is hers, and she is still in that group; and she can sign in."""
    person = Person(app).sign_in(realm.users[0])
    known = Program(app, seeded["token"]).whoami()
    assert known["name"] == person.name, f"the token was {person.name}'s and is {known['name']}'s"
    assert seeded["group"] in known["groups"], f"{person.name} is in {known['groups']}, and not in {seeded['group']}"


def ccci_spoil(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Delete that group, so that only a restore brings it back."""
    person = Person(app).sign_in(realm.users[0])
    person.send("DELETE", f"/groups/{seeded['group']}", status=requests.codes.no_content)
