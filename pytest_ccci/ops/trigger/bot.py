"""What the bot's account does on a Forgejo or Gitea: finds new comments, and answers. Nothing else is changed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

import requests
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from pytest_ccci.errors import ForgeBusy
from pytest_ccci.ops.trigger.gitea import Gitea
from pytest_ccci.ops.trigger.models import LARGEST, Comment, Number, Pull, Repository, Sha, Strict, User
from pytest_ccci.ops.trigger.store import Status

__all__ = ["Bot", "MovedPull", "PolledComment", "StartedRun", "WorkflowRun"]

T = TypeVar("T", bound=BaseModel)

_PAUSE = 30.0
"""Seconds to wait where the forge is busy and does not say for how long."""
_LONGEST_PAUSE = 3600.0


class MovedPull(Strict):
    """A pull request that something happened to."""

    number: Number
    updated_at: AwareDatetime
    repository: Repository


class PolledComment(Comment):
    """A comment as a list of them tells it."""

    created_at: AwareDatetime
    updated_at: AwareDatetime


class _Status(Strict):
    id: Number
    status: Annotated[str, Field(max_length=100)]
    context: Annotated[str, Field(max_length=2000)]
    description: Annotated[str, Field(max_length=LARGEST)] = ""
    creator: User | None = None


class StartedRun(Strict):
    """A run of a workflow that was started: its number, and its page."""

    workflow_run_id: Number
    html_url: Annotated[str, Field(max_length=2000)]


class WorkflowRun(Strict):
    """How a run of a workflow stands; ``conclusion`` is empty before it has ended."""

    status: Annotated[str, Field(max_length=100)]
    conclusion: Annotated[str, Field(max_length=100)] | None = None


@dataclass(frozen=True)
class _Said:
    status: int
    body: bytes
    headers: Mapping[str, str]


class Bot(Gitea):
    """One forge, asked and answered with one token, by the account ``login``.

    Reads are tried a few times at once, as in `gitea.Gitea`; what changes something is tried once: an answer that was
    lost is found again by reading.
    """

    def __init__(self, forge: str, token: str, login: str, **options: object) -> None:
        super().__init__(forge, token, **options)  # type: ignore[arg-type]  # the same as those of Gitea
        self.login = login

    # --- what moved

    def now(self) -> datetime:
        """The forge's time: ours may be another.

        Raises:
            InfrastructureFault: it cannot be asked, or does not tell.
        """
        told = self.clock()
        if told is None:
            raise self._fault("version", "its answer has no date")
        return told

    def moved_pulls(self, owner: str, since: str) -> tuple[MovedPull, ...]:
        """All open pull requests of the organisation that something happened to since then, that moment included.

        Raises:
            InfrastructureFault: the forge cannot be asked, or does not show all of them.
        """
        query = urlencode({"type": "pulls", "state": "open", "owner": owner, "since": since})
        return self._all(f"repos/issues/search?{query}", MovedPull)

    def comments(self, repository: str, pull: int, since: str = "") -> tuple[PolledComment, ...]:
        """The comments of a pull request that are new or changed since then, that moment included; the oldest first."""
        query = f"?{urlencode({'since': since})}" if since else ""
        return self._all(f"repos/{repository}/issues/{pull}/comments{query}", PolledComment)

    def _all(self, path: str, kind: type[T]) -> tuple[T, ...]:
        found, complete = self._pages(path, kind)
        if not complete:
            raise self._fault(path, "its list has no end")
        return found

    def head(self, repository: str, pull: int) -> Pull | None:
        """A pull request with its head; ``None`` where it is not there."""
        return self._one(f"repos/{repository}/pulls/{pull}", Pull)

    def has_comment(self, repository: str, number: int) -> bool:
        """Whether a comment is there still."""
        return self._one(f"repos/{repository}/issues/comments/{number}", PolledComment) is not None

    # --- comments of our own

    def find_comment(self, repository: str, pull: int, marker: str) -> int:
        """The number of our own comment that begins with ``marker``; 0 where there is none."""
        ours = [one for one in self.comments(repository, pull) if self._is_ours(one) and one.body.startswith(marker)]
        return ours[0].id if ours else 0

    def write_comment(self, repository: str, pull: int, body: str) -> int:
        """Write a comment; its number.

        Raises:
            ForgeBusy: the forge asks to wait.
            InfrastructureFault: it was not taken, or nobody knows.
        """
        path = f"repos/{repository}/issues/{pull}/comments"
        said = self._send("POST", path, {"body": body})
        if said.status != HTTPStatus.CREATED:
            raise self._fault(path, f"status {said.status}")
        return self._read(PolledComment, said, path).id

    def edit_comment(self, repository: str, number: int, body: str) -> bool:
        """Change a comment of our own; ``False`` where it is gone.

        Raises:
            ForgeBusy: the forge asks to wait.
            InfrastructureFault: it was not taken, or nobody knows.
        """
        path = f"repos/{repository}/issues/comments/{number}"
        said = self._send("PATCH", path, {"body": body})
        if said.status in {HTTPStatus.NOT_FOUND, HTTPStatus.NO_CONTENT}:
            return False
        if said.status != HTTPStatus.OK:
            raise self._fault(path, f"status {said.status}")
        return True

    def read_own(self, repository: str, number: int) -> str | None:
        """The text of a comment of our own as it is on the forge; ``None`` where there is none."""
        found = self._one(f"repos/{repository}/issues/comments/{number}", PolledComment)
        return found.body if found is not None and self._is_ours(found) else None

    def _is_ours(self, one: Comment) -> bool:
        return one.user.login.lower() == self.login.lower()

    # --- the status of a commit

    def read_status(self, repository: str, commit: Sha, context: str) -> tuple[str, str] | None:
        """State and description of the newest status of our own; ``None`` where there is none.

        All pages are read: the combined status of a commit, which forges offer too, is told page by page. One of the
        same context by another account does not count.
        """
        path = f"repos/{repository}/commits/{commit}/statuses"
        found, _ = self._pages(path, _Status)
        ours = [
            one
            for one in found
            if one.context == context and one.creator is not None and one.creator.login.lower() == self.login.lower()
        ]
        newest = max(ours, key=lambda one: one.id, default=None)
        return (newest.status, newest.description) if newest else None

    def write_status(self, repository: str, commit: Sha, status: Status, link: str = "") -> None:
        """Set a commit's status.

        Raises:
            ForgeBusy: the forge asks to wait.
            InfrastructureFault: it was not taken, or nobody knows.
        """
        path = f"repos/{repository}/statuses/{quote(commit)}"
        told = {"state": status.state, "context": status.context, "description": status.description}
        said = self._send("POST", path, {**told, **({"target_url": link} if link else {})})
        if said.status != HTTPStatus.CREATED:
            raise self._fault(path, f"status {said.status}")

    # --- jobs of its Actions

    def start_workflow(
        self, repository: str, workflow: str, inputs: Mapping[str, str], *, ref: str = "main"
    ) -> StartedRun:
        """Start a workflow by hand, as the file of that name stands at ``ref``.

        Raises:
            ForgeBusy: the forge asks to wait.
            InfrastructureFault: it was not taken, or nobody knows.
        """
        path = f"repos/{repository}/actions/workflows/{quote(workflow)}/dispatches?return_run_details=true"
        said = self._send("POST", path, {"ref": ref, "inputs": dict(inputs)})
        if said.status != HTTPStatus.OK:
            raise self._fault(path, f"status {said.status}")
        return self._read(StartedRun, said, path)

    def workflow_run(self, repository: str, number: int) -> WorkflowRun | None:
        """How a run of a workflow stands; ``None`` where it is not there."""
        return self._one(f"repos/{repository}/actions/runs/{number}", WorkflowRun)

    # --- one request

    def _read(self, kind: type[T], said: _Said, path: str) -> T:
        try:
            return kind.model_validate_json(said.body)
        except ValidationError:
            raise self._fault(path, "its answer cannot be read") from None

    def _send(self, method: str, path: str, value: Mapping[str, object] | None = None) -> _Said:
        headers = {"Authorization": f"token {self._token}", "Accept": "application/json"}
        data = None if value is None else json.dumps(value).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        url = f"{self.forge}/api/v1/{path}"
        try:
            with self._http.request(
                method, url, data=data, headers=headers, stream=True, allow_redirects=False
            ) as answer:
                body = b""
                for part in answer.iter_content(64 * 1024):
                    body += part
                    if len(body) > 4 * LARGEST:
                        raise self._fault(path, "its answer is too large")
                said = _Said(answer.status_code, body, answer.headers)
        except (requests.RequestException, OSError) as error:
            raise self._fault(path, type(error).__name__) from None
        if said.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise ForgeBusy(
                "the forge asks to wait",
                seconds=_asked_pause(said.headers.get("Retry-After", "")),
                where=url,
                seen=f"status {said.status}",
            )
        return said


def _asked_pause(header: str) -> float:
    return min(float(header), _LONGEST_PAUSE) if re.fullmatch(r"\d{1,9}", header, re.ASCII) else _PAUSE
