"""Webhook deliveries of Forgejo, Gitea and GitHub: proved to come from the forge, then read as facts of a comment."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from pytest_ccci.errors import Refused
from pytest_ccci.ops.trigger.decision import CommentFacts
from pytest_ccci.ops.trigger.models import LARGEST, Action, Comment, Issue, Pull, Repository, Strict, User

__all__ = ["Delivery", "read_delivery", "read_request"]

_LONGEST_HEAD = 64 * 1024
_SIGNATURES = (
    ("x-forgejo-signature", ""),
    ("x-gitea-signature", ""),
    ("x-gogs-signature", ""),
    ("x-hub-signature-256", "sha256="),
)
"""Headers with an HMAC-SHA256 of the body, and what stands before it. Each that is there must be right."""
_EVENTS = ("x-forgejo-event", "x-gitea-event", "x-github-event")
_COMMENT = "issue_comment"
_REVIEWS = frozenset({"pull_request_comment", "pull_request_review", "pull_request_review_comment"})
"""Gitea calls a review's comment what the subscription to a pull request's comments is called."""


@dataclass(frozen=True)
class Delivery:
    """A request as it came: headers in small letters, each once, and the raw body."""

    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header.

        Raises:
            Refused: it is there more than once.
        """
        found = [value for each, value in self.headers if each == name]
        if len(found) > 1:
            raise Refused(f"the header {name} is there {len(found)} times")
        return found[0] if found else None


def read_request(raw: bytes) -> Delivery:
    """The delivery in an HTTP request as it was captured: an optional request line, headers, an empty line, the body.

    Raises:
        Refused: it is none, or cut off.
    """
    hit = re.search(rb"\r?\n\r?\n", raw[:_LONGEST_HEAD])
    if hit is None:
        raise Refused("this is no HTTP request: there is no empty line between its headers and its body")
    rows = raw[: hit.start()].decode("latin-1").splitlines()
    if rows and re.fullmatch(r"[A-Z]+ \S+ HTTP/[0-9.]+", rows[0]):
        rows = rows[1:]
    headers = []
    for row in rows:
        name, colon, value = row.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise Refused("this is no HTTP request: a header cannot be read")
        headers.append((name.lower(), value.strip()))
    delivery = Delivery(tuple(headers), raw[hit.end() :])
    length = delivery.header("content-length")
    if length is not None and length != str(len(delivery.body)):
        raise Refused(f"the body has {len(delivery.body)} bytes, and its header says otherwise: it was cut off")
    return delivery


def read_delivery(delivery: Delivery, secret: bytes) -> CommentFacts | None:
    """The facts of the comment in a delivery that is proved to come from the forge; ``None`` if it is about no comment.

    Raises:
        Refused: it is not proved, or cannot be read. Its words repeat nothing of the body.
    """
    _verify(delivery, secret)
    events = {value for name in _EVENTS if (value := delivery.header(name)) is not None}
    if len(events) != 1:
        raise Refused("its headers name no event, or more than one")
    (event,) = events
    if event not in _REVIEWS | {_COMMENT}:
        return None
    if (delivery.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("its content type is not application/json; set it in the webhook")
    gitea = delivery.header("x-gitea-event") is not None or delivery.header("x-forgejo-event") is not None
    if event in _REVIEWS:
        # Nothing of a review is a command, whatever its shape, which differs between forges.
        return CommentFacts("-", 0, 0, "", "-", "-", action="review")
    try:
        return _GiteaComment.model_validate_json(delivery.body).facts() if gitea else _github(delivery.body)
    except ValidationError as error:
        places = sorted({".".join(map(str, one["loc"])) or "the body" for one in error.errors(include_input=False)})
        known = [place for place in places if re.fullmatch(r"[a-z_.]+|the body", place)]
        raise Refused(f"its body is not that of a comment: {', '.join(known[:5])}") from None


def _verify(delivery: Delivery, secret: bytes) -> None:
    if not secret:
        raise Refused("no secret is configured, so that nothing proves where a delivery comes from")
    if len(delivery.body) > LARGEST:
        raise Refused(f"its body is larger than {LARGEST} bytes")
    right = hmac.new(secret, delivery.body, hashlib.sha256).hexdigest()
    given = [(name, mark, value) for name, mark in _SIGNATURES if (value := delivery.header(name)) is not None]
    if not any(value.removeprefix(mark) for _, mark, value in given):
        raise Refused("it is not signed: set the webhook's secret in the forge")
    wrong = [name for name, mark, value in given if not _is_equal(value, f"{mark}{right}")]
    if wrong:
        raise Refused(f"its signature is wrong ({', '.join(wrong)}): is the webhook's secret the same on both sides?")


def _is_equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


# --- bodies


class _GiteaComment(Strict):
    """What Gitea and Forgejo send of a comment: the pull request as it was then is in it, with its full head."""

    action: Action
    issue: Issue
    comment: Comment
    repository: Repository
    sender: User
    is_pull: bool
    pull_request: Pull | None = None

    def facts(self) -> CommentFacts:
        pull = self.pull_request
        same = pull is not None and pull.number == self.issue.number
        head = pull.head if pull is not None and same else None
        return CommentFacts(
            repository=self.repository.full_name,
            pull=self.issue.number,
            comment_id=self.comment.id,
            text=self.comment.body,
            author=self.comment.user.login,
            sender=self.sender.login,
            action=self.action,
            is_pull=self.is_pull,
            is_open=self.issue.state == "open" and (pull is None or pull.state == "open"),
            head=head.sha if head else "",
            doubt="" if head else "the forge sent no head with the comment",
            fork=head is not None and (head.repo is None or head.repo.full_name != self.repository.full_name),
        )


class _GitHubPull(Strict):
    url: Annotated[str, Field(max_length=2000)]


class _GitHubIssue(Issue):
    pull_request: _GitHubPull | None = None


class _GitHubComment(Strict):
    """What GitHub sends of a comment: nothing of it says which commit it is about."""

    action: Action
    issue: _GitHubIssue
    comment: Comment
    repository: Repository
    sender: User


def _github(body: bytes) -> CommentFacts:
    sent = _GitHubComment.model_validate_json(body)
    return CommentFacts(
        repository=sent.repository.full_name,
        pull=sent.issue.number,
        comment_id=sent.comment.id,
        text=sent.comment.body,
        author=sent.comment.user.login,
        sender=sent.sender.login,
        action=sent.action,
        is_pull=sent.issue.pull_request is not None,
        is_open=sent.issue.state == "open",
        doubt="GitHub does not say which commit a comment is about; name it",
    )
