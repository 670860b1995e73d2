"""How a person's devices use Actual's server, by HTTP, and what the sentinel of a person's budget is."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import sqlite3
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

_LONG_AGO = "1970-01-01T00:00:00.000Z-0000-0000000000000000"


@dataclass
class Device:
    """A person's browser at the server; nobody is signed in at first."""

    app: Any
    http: requests.Session = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.app.new_http()

    def sign_in(self, user: Any) -> Device:
        """Ask the server where to go, type name and password there, and keep the token that comes back."""
        ask = {"loginMethod": "openid", "returnUrl": self.app.url}
        where = self.answer("POST", "/account/login", json=ask)["data"]["returnUrl"]
        back = self.app.login(user, where, http=self.http)
        token = parse_qs(urlsplit(back.url).query).get("token")
        assert token, f"the login of {user.username} ended at {back.url.partition('?')[0]}: {back.status_code}"
        self.http.headers["X-ACTUAL-TOKEN"] = token[0]
        return self

    def send(self, method: str, path: str, **how: Any) -> requests.Response:
        return self.http.request(method, self.app.url + path, **how)

    def answer(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """What the server says to that, which must be "ok"."""
        answer = self.send(method, path, **how)
        assert answer.status_code == requests.codes.ok, f"{path}: {answer.status_code} {answer.text}"
        said = dict(answer.json())
        assert said["status"] == "ok", f"{path}: {said}"
        return said

    def upload(self, name: str) -> Budget:
        """Put a new budget on the server."""
        budget, content = str(uuid.uuid4()), write_budget(name)
        headers = {
            "X-ACTUAL-FILE-ID": budget,
            "X-ACTUAL-NAME": quote(name),
            "X-ACTUAL-FORMAT": "2",
            "Content-Type": "application/encrypted-file",
        }
        group = self.answer("POST", "/sync/upload-user-file", data=content, headers=headers)["groupId"]
        return Budget(budget, group, name, content)

    def download(self, budget: str) -> bytes:
        answer = self.send("GET", "/sync/download-user-file", headers={"X-ACTUAL-FILE-ID": budget})
        assert answer.status_code == requests.codes.ok, f"{answer.status_code} {answer.text}"
        return answer.content

    def budgets(self) -> dict[str, str]:
        """Names of the budgets that this person has, by their ids."""
        files = self.answer("GET", "/sync/list-user-files")["data"]
        return {each["fileId"]: each["name"] for each in files if not each["deleted"]}

    def sync(self, budget: str, group: str, *changes: str) -> list[str]:
        """Send changes as one device does, and get those that were there before, of all devices."""
        sent = b"".join(_bytes(1, _bytes(1, _now()) + _bytes(3, change)) for change in changes)
        body = sent + _bytes(2, budget) + _bytes(3, group) + _bytes(6, _LONG_AGO)
        answer = self.send("POST", "/sync/sync", data=body, headers={"Content-Type": "application/actual-sync"})
        assert answer.status_code == requests.codes.ok, f"{answer.status_code} {answer.text}"
        return [dict(_fields(message))[3].decode() for number, message in _fields(answer.content) if number == 1]


@dataclass(frozen=True)
class Budget:
    """A budget on the server; under ``group`` the changes of all its devices are kept."""

    id: str
    group: str
    name: str
    content: bytes


def _now() -> str:
    """A time as devices stamp their changes: no two are the same."""
    return f"2026-01-31T12:00:00.000Z-0000-{secrets.token_hex(8).upper()}"


def _bytes(number: int, content: bytes | str) -> bytes:
    """A field of Protocol Buffers that holds bytes: its number and type, how many they are, and they."""
    raw = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of a message's fields; a number has none here."""
    reader = io.BytesIO(message)
    while (key := _read_varint(reader)) is not None:
        size = _read_varint(reader) or 0
        yield key >> 3, reader.read(size) if key & 7 == 2 else b""


def _read_varint(reader: io.BytesIO) -> int | None:
    value = shift = 0
    while byte := reader.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
    return None


def write_budget(name: str) -> bytes:
    """A budget as a device uploads it: an archive of a database, and what is known about it."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE accounts (id TEXT PRIMARY KEY, name TEXT)")
    database.execute("INSERT INTO accounts VALUES (?, ?)", (str(uuid.uuid4()), f"Savings of {name}"))
    database.commit()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("db.sqlite", database.serialize())
        archive.writestr("metadata.json", json.dumps({"id": name, "budgetName": name}))
    database.close()
    return target.getvalue()


@pytest.fixture
def visitor(app: Any) -> Device:
    """The browser of somebody who is not signed in."""
    return Device(app)


@pytest.fixture
def alice(app: Any, keycloak_realm: Any) -> Device:
    """A device of the realm's first person. She signed in first: the server is hers."""
    return Device(app).sign_in(keycloak_realm.users[0])


@pytest.fixture
def bob(app: Any, alice: Device, keycloak_realm: Any) -> Device:
    """A device of the realm's second person."""
    del alice  # whoever signs in first owns the server
    return Device(app).sign_in(keycloak_realm.users[1])


@pytest.fixture
def name() -> str:
    """A name that no other budget has, however often the tests run on the same data."""
    return f"Household {secrets.token_hex(4)}"


def ccci_seed(app: Any, realm: Any) -> dict[str, str]:
    """Put a budget on the server as the realm's first person, and change it."""
    device = Device(app).sign_in(realm.users[0])
    budget, change = device.upload(f"Kept {secrets.token_hex(4)}"), f"Groceries {secrets.token_hex(8)}"
    device.sync(budget.id, budget.group, change)
    digest = hashlib.sha256(budget.content).hexdigest()
    return {"id": budget.id, "group": budget.group, "name": budget.name, "sha256": digest, "change": change}


def ccci_check(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """The same person still has that budget, and every change of it."""
    device = Device(app).sign_in(realm.users[0])
    there = device.budgets()
    assert there.get(seeded["id"]) == seeded["name"], f"the budget {seeded['name']!r} is not among {there}"
    assert hashlib.sha256(device.download(seeded["id"])).hexdigest() == seeded["sha256"], "the budget is another one"
    changes = device.sync(seeded["id"], seeded["group"])
    assert seeded["change"] in changes, f"the change is not among the {len(changes)} that are there"


def ccci_spoil(app: Any, realm: Any, seeded: dict[str, str]) -> None:
    """Delete that budget, so that only a restore brings it back."""
    Device(app).sign_in(realm.users[0]).answer("POST", "/sync/delete-user-file", json={"fileId": seeded["id"]})
