"""How a person uses Docs, by HTTP and WebSocket, and what the sentinel of a person's document is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from pytest_ccci.waiting import Deadline, until

API = "/api/v1.0"


@dataclass
class Person:
    """Somebody's browser at the app; nobody is signed in at first."""

    app: Any
    http: requests.Session

    def sign_in(self, user: Any) -> Person:
        """Follow the app's login to Keycloak, type name and password, and come back."""
        back = self.app.login(user, API + "/authenticate/", http=self.http)
        assert back.url == f"{self.app.url}/", f"the login of {user.username} ended at {back.url}: {back.status_code}"
        me = self.get("/users/me/")
        assert me.status_code == requests.codes.ok, f"{user.username} is not signed in: {me.status_code} {me.text}"
        return self

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.app.url + API + path)

    def send(self, method: str, path: str, **body: str) -> requests.Response:
        """Send JSON as the page does, with the token against cross-site requests."""
        token = self.http.cookies.get("csrftoken", "")
        headers = {"X-CSRFToken": token, "Origin": self.app.url, "Referer": f"{self.app.url}/"}
        return self.http.request(method, self.app.url + API + path, json=body, headers=headers)

    def create(self, title: str, content: str = "") -> dict[str, Any]:
        answer = self.send("POST", "/documents/", title=title, content=content)
        assert answer.status_code == requests.codes.created, f"{answer.status_code} {answer.text}"
        return dict(answer.json())

    def read(self, document: str) -> dict[str, Any]:
        answer = self.get(f"/documents/{document}/")
        assert answer.status_code == requests.codes.ok, f"{answer.status_code} {answer.text}"
        return dict(answer.json())

    def share(self, document: str, email: str, role: str) -> None:
        answer = self.send("POST", f"/documents/{document}/accesses/", email=email, role=role)
        assert answer.status_code == requests.codes.created, f"{answer.status_code} {answer.text}"


_SYNC, _AUTH, _SYNC_REPLY = 0, 2, 4
_TOKEN, _DENIED, _AUTHENTICATED = 0, 1, 2


@dataclass
class Editor:
    """An editor that is open on one document, connected to the collaboration server as Hocuspocus' own client is."""

    document: str
    link: Any
    welcome: str = ""
    doc: Any = field(init=False)

    def __post_init__(self) -> None:
        import pycrdt  # noqa: PLC0415  an extra, for those who edit together

        self.doc = pycrdt.Doc()
        self.text = self.doc.get("content", type=pycrdt.Text)
        self._said(_AUTH, bytes([_TOKEN]) + self._string(""))
        self._until(lambda: self.welcome)
        if self.allowed:
            self._said(_SYNC, pycrdt.create_sync_message(self.doc)[1:])

    @property
    def allowed(self) -> bool:
        return self.welcome != "denied"

    def type(self, text: str) -> None:
        import pycrdt  # noqa: PLC0415  an optional package

        before = self.doc.get_state()
        self.text += text
        self._said(_SYNC, pycrdt.create_update_message(self.doc.get_update(before))[1:])

    def sees(self, text: str) -> bool:
        """Whether the text comes to hold that, soon."""
        self._until(lambda: text in str(self.text))
        return text in str(self.text)

    def _until(self, check: Callable[[], object]) -> None:
        import websocket  # noqa: PLC0415  an optional package

        deadline = Deadline(15)
        while not check() and not deadline.passed:
            self.link.settimeout(max(deadline.left, 0.1))
            try:
                self._hear(self.link.recv())
            except websocket.WebSocketTimeoutException:
                return

    def _hear(self, frame: bytes) -> None:
        import pycrdt  # noqa: PLC0415  an optional package

        assert frame, "the collaboration server closed the connection"
        reader = pycrdt.Decoder(frame)
        assert reader.read_var_string() == self.document
        kind = reader.read_var_uint()
        if kind == _AUTH:
            self.welcome = {_DENIED: "denied", _AUTHENTICATED: "welcome"}[reader.read_var_uint()]
        elif kind in {_SYNC, _SYNC_REPLY}:
            reply = pycrdt.handle_sync_message(frame[reader.i0 :], self.doc)
            if reply:
                self._said(_SYNC_REPLY, reply[1:])

    def _said(self, kind: int, message: bytes) -> None:
        self.link.send_binary(self._string(self.document) + bytes([kind]) + message)

    @staticmethod
    def _string(text: str) -> bytes:
        import pycrdt  # noqa: PLC0415  an optional package

        return pycrdt.write_message(text.encode())


@pytest.fixture
def visitor(app: Any) -> Person:
    """Somebody who is not signed in."""
    return Person(app, app.new_http())


@pytest.fixture
def alice(app: Any, keycloak_realm: Any) -> Person:
    """The realm's first person, signed in."""
    return Person(app, app.new_http()).sign_in(keycloak_realm.users[0])


@pytest.fixture
def bob(app: Any, keycloak_realm: Any) -> Person:
    """The realm's second person, signed in."""
    return Person(app, app.new_http()).sign_in(keycloak_realm.users[1])


@pytest.fixture
def open_editor(app: Any) -> Iterator[Callable[[Person, str], Editor]]:
    """Open a document for editing together, with a person's cookies."""
    with ExitStack() as opened:

        def opener(person: Person, document: str) -> Editor:
            cookies = "; ".join(
                f"{cookie.name}={cookie.value}" for cookie in person.http.cookies if cookie.domain in app.domain
            )
            headers = {"Cookie": cookies} if cookies else {}
            link = app.websocket("/collaboration/ws/", headers=headers)
            opened.callback(link.close)
            return Editor(document, link)

        yield opener


def ccci_seed(app: Any, realm: Any) -> dict[str, str]:
    """Write a document as the realm's first person."""
    person = Person(app, app.new_http()).sign_in(realm.users[0])
    document = person.create("Kept", f"Remember {secrets.token_hex(16)}.")
    return {"id": document["id"], "content": document["content"], "sub": person.get("/users/me/").json()["sub"]}


def ccci_check(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """The same person still has that document, unchanged."""
    person = Person(app, app.new_http()).sign_in(realm.users[0])
    me = person.get("/users/me/").json()
    assert me["sub"] == seeded["sub"], f"the person was {seeded['sub']} and is {me['sub']}"
    answer = person.get(f"/documents/{seeded['id']}/")
    assert answer.status_code == requests.codes.ok, f"the document is gone: {answer.status_code} {answer.text}"
    assert answer.json()["content"] == seeded["content"], "the document has another content"


def ccci_spoil(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Change that document, so that only a restore brings it back."""
    person = Person(app, app.new_http()).sign_in(realm.users[0])
    answer = person.send("PATCH", f"/documents/{seeded['id']}/", content="Forgotten.")
    assert answer.status_code == requests.codes.ok, f"{answer.status_code} {answer.text}"


def ccci_documents(app: Any, realm: Any, seeded: dict[str, str]) -> dict[str, str]:
    """All documents of that person, every column as the database keeps it."""
    del realm
    query = (
        "SELECT d.id, to_jsonb(d) FROM documents_document d JOIN documents_user u ON u.id = d.owner_id "
        "WHERE u.sub = :'sub' ORDER BY d.id"
    )
    argv = ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-v", f"sub={seeded['sub']}", "-U", "docs", "-d", "docs"]
    done = app.exec("db", ["sh", "-c", 'printf "%s" "$QUERY" | exec "$@"', "sh", *argv], env={"QUERY": query})
    assert done.rc == 0, done.stderr
    return dict(row.split("|", 1) for row in done.stdout.splitlines())


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], str], object]:
    """Wait up to 15 s until something holds."""
    return lambda check, what: until(check, deadline=Deadline(15), what=what, every=0.2)
