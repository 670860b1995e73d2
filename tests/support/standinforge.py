"""A Gitea without a network: the part of its API that the trigger uses, with the faults that a real one may have.

It is an adapter of requests: mounted into a client's session it answers there, in the same thread. What it does is
what a real Gitea 1.26 was seen to do; ``tests/forge`` asks the real one.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from requests.adapters import BaseAdapter

__all__ = ["Fault", "StandInForge"]

URL = "https://git.example.org"
REPOSITORY = "coop/notes"


@dataclass
class Fault:
    """What goes wrong with the next ``times`` requests of ``method`` whose path has ``part`` in it.

    ``what``: a status; ``drop`` (it never arrives), ``lost`` (it arrives, its answer does not), ``cut`` (the answer's
    body is cut off), ``unchanged`` (it is answered well, and nothing is done).
    """

    what: int | str
    method: str = ""
    part: str = ""
    times: int = 1
    retry_after: str = ""


@dataclass
class StandInForge(BaseAdapter):
    """A forge with one repository, a pull request 3 from a fork, a team with the member ada, and the account ccci."""

    clock: datetime = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    page: int = 2
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    members: set[str] = field(default_factory=lambda: {"ada", "ccci"})
    numbers: int = 1000
    account: str = "ccci"
    secret: bytes = b"shared-by-forge-and-trigger"

    def __post_init__(self) -> None:
        super().__init__()
        self.open_pull(3, "a" * 40)

    def close(self) -> None:
        """Nothing is open."""

    # --- what people do

    def open_pull(self, number: int, head: str) -> None:
        self.pulls[number] = {"number": number, "state": "open", "head": head, "updated": self.clock}

    def pass_time(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def comment(self, text: str, by: str = "ada", pull: int = 3) -> int:
        """Somebody writes a comment; its number."""
        self.numbers += 1
        self.comments.append(
            {"id": self.numbers, "pull": pull, "by": by, "text": text, "created": self.clock, "updated": self.clock}
        )
        self.pulls[pull]["updated"] = self.clock
        return self.numbers

    def edit(self, number: int, text: str) -> None:
        one = self._comment(number)
        assert one is not None
        one.update(text=text, updated=self.clock)
        self.pulls[one["pull"]]["updated"] = self.clock

    def delete(self, number: int) -> None:
        self.comments = [one for one in self.comments if one["id"] != number]

    def push(self, head: str, pull: int = 3) -> None:
        self.numbers += 1
        self.timeline.append({"id": self.numbers, "type": "pull_push", "created_at": _text(self.clock), "pull": pull})
        self.pulls[pull].update(head=head, updated=self.clock)

    def payload(self, number: int, action: str = "created", sender: str = "") -> bytes:
        """The body of the webhook about a comment, as it is now."""
        one = self._comment(number)
        assert one is not None
        value = {
            "action": action,
            "issue": {"number": one["pull"], "state": self.pulls[one["pull"]]["state"]},
            "pull_request": self._pull(one["pull"]),
            "comment": self._shown(one),
            "repository": {"full_name": REPOSITORY},
            "sender": {"login": sender or one["by"]},
            "is_pull": True,
        }
        return json.dumps(value).encode()

    def headers(self, body: bytes, event: str = "issue_comment") -> tuple[tuple[str, str], ...]:
        """The headers of a delivery, signed."""
        tag = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
        return (("content-type", "application/json"), ("x-gitea-event", event), ("x-gitea-signature", tag))

    def ours(self, pull: int = 3) -> list[str]:
        """What the account wrote in a pull request."""
        return [one["text"] for one in self.comments if one["by"] == self.account and one["pull"] == pull]

    def states(self, commit: str = "a" * 40) -> list[str]:
        """The states that were set, the first one first."""
        return [one["status"] for one in self.statuses if one["commit"] == commit]

    # --- what a client sees

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]  # all as keywords
        parts = urlsplit(request.url or "")
        path = parts.path.removeprefix("/api/v1/")
        method = request.method or "GET"
        self.asked.append(f"{method} {path}")
        assert request.headers["Authorization"] == "token a-token-of-the-bot"
        fault = next(
            (one for one in self.faults if one.times and one.method in {"", method} and one.part in path), None
        )
        if fault is not None:
            fault.times -= 1
            if fault.what == "drop":
                raise requests.ConnectionError("connection refused")
            if isinstance(fault.what, int):
                return self._said(request, fault.what, {}, retry_after=fault.retry_after)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        kept = (list(self.comments), list(self.statuses), self.numbers)
        status, value = self._answer(method, path, query, json.loads(request.body or "{}"))
        if fault is not None and fault.what == "unchanged":
            self.comments, self.statuses, self.numbers = kept
        if fault is not None and fault.what == "lost":
            raise requests.ReadTimeout("no answer")
        return self._said(request, status, value, cut=fault is not None and fault.what == "cut")

    def _said(
        self, request: requests.PreparedRequest, status: int, value: object, *, retry_after: str = "", cut: bool = False
    ) -> requests.Response:
        said = requests.Response()
        said.request, said.url, said.status_code = request, request.url or "", status
        said.headers["Date"] = self.clock.strftime("%a, %d %b %Y %H:%M:%S GMT")
        if retry_after:
            said.headers["Retry-After"] = retry_after
        raw = json.dumps(value).encode()
        said.raw = io.BytesIO(raw[: len(raw) // 2] if cut else raw)
        return said

    def _answer(self, method: str, path: str, query: dict[str, str], sent: dict[str, Any]) -> tuple[int, object]:
        for verb, pattern, act in self._routes():
            hit = re.fullmatch(pattern, path)
            if verb == method and hit is not None:
                return act(query, sent, *hit.groups())
        return 404, {}

    def _routes(self) -> tuple[tuple[str, str, Callable[..., tuple[int, object]]], ...]:
        repo = f"repos/{REPOSITORY}"
        return (
            ("GET", "version", lambda *_: (200, {"version": "1.26.0"})),
            ("GET", "repos/issues/search", self._search),
            ("GET", rf"{repo}/pulls/(\d+)", self._read_pull),
            ("GET", rf"{repo}/issues/(\d+)/timeline", self._read_timeline),
            ("GET", rf"{repo}/issues/(\d+)/comments", self._list_comments),
            ("POST", rf"{repo}/issues/(\d+)/comments", self._write_comment),
            ("GET", rf"{repo}/issues/comments/(\d+)", self._read_comment),
            ("PATCH", rf"{repo}/issues/comments/(\d+)", self._edit_comment),
            ("GET", rf"{repo}/commits/([0-9a-f]{{40}})/statuses", self._list_statuses),
            ("POST", rf"{repo}/statuses/([0-9a-f]{{40}})", self._set_status),
            ("GET", "orgs/coop/teams", lambda query, _: (200, self._paged(query, [{"id": 7, "name": "Testers"}]))),
            ("GET", r"teams/7/members/(.+)", lambda _q, _s, who: (200 if who in self.members else 404, {})),
        )

    def _paged(self, query: dict[str, str], entries: list[Any]) -> list[Any] | None:
        at = (int(query.get("page", "1")) - 1) * self.page
        return entries[at : at + self.page] or None  # an empty page is null

    def _comment(self, number: int) -> dict[str, Any] | None:
        return next((one for one in self.comments if one["id"] == number), None)

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": one["id"],
            "user": {"login": one["by"]},
            "body": one["text"],
            "created_at": _text(one["created"]),
            "updated_at": _text(one["updated"]),
            "pull_request_url": f"{URL}/{REPOSITORY}/pulls/{one['pull']}",
        }

    def _pull(self, number: int) -> dict[str, Any]:
        one = self.pulls[number]
        head = {"sha": one["head"], "repo": {"full_name": "mallory/notes"}}
        return {"number": number, "state": one["state"], "head": head}

    def _search(self, query: dict[str, str], _sent: object) -> tuple[int, object]:
        since = datetime.fromisoformat(query["since"])
        found = [
            {"number": number, "updated_at": _text(one["updated"]), "repository": {"full_name": REPOSITORY}}
            for number, one in self.pulls.items()
            if one["state"] == "open" and one["updated"] >= since and query["owner"] == "coop"
        ]
        return 200, self._paged(query, found)

    def _read_pull(self, _query: object, _sent: object, number: str) -> tuple[int, object]:
        return (200, self._pull(int(number))) if int(number) in self.pulls else (404, {})

    def _read_timeline(self, query: dict[str, str], _sent: object, number: str) -> tuple[int, object]:
        return 200, self._paged(query, [one for one in self.timeline if one["pull"] == int(number)])

    def _list_comments(self, query: dict[str, str], _sent: object, number: str) -> tuple[int, object]:
        since = datetime.fromisoformat(query.get("since", "2000-01-01T00:00:00Z"))
        found = [one for one in self.comments if one["pull"] == int(number) and one["updated"] >= since]
        return 200, [self._shown(one) for one in found] or None  # this list knows no pages

    def _write_comment(self, _query: object, sent: dict[str, Any], number: str) -> tuple[int, object]:
        made = self.comment(sent["body"], self.account, int(number))
        return 201, self._read_comment({}, {}, str(made))[1]

    def _read_comment(self, _query: object, _sent: object, number: str) -> tuple[int, object]:
        one = self._comment(int(number))
        return (404, {}) if one is None else (200, self._shown(one))

    def _edit_comment(self, _query: object, sent: dict[str, Any], number: str) -> tuple[int, object]:
        if self._comment(int(number)) is None:
            return 404, {}
        self.edit(int(number), sent["body"])
        return self._read_comment({}, {}, number)

    def _list_statuses(self, query: dict[str, str], _sent: object, commit: str) -> tuple[int, object]:
        found = [
            {key: one[key] for key in ("id", "status", "context", "description", "creator")}
            for one in reversed(self.statuses)
            if one["commit"] == commit
        ]
        return 200, self._paged(query, found)

    def _set_status(self, _query: object, sent: dict[str, Any], commit: str) -> tuple[int, object]:
        self.numbers += 1
        self.statuses.append(
            {
                "id": self.numbers,
                "commit": commit,
                "status": sent["state"],
                "context": sent["context"],
                "description": sent["description"],
                "creator": {"login": self.account},
            }
        )
        return 201, {}


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
