"""Reads what a Forgejo or Gitea says of comments, pull requests, people and its set-up, by its API. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import quote

import requests
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from pytest_ccci.errors import InfrastructureFault, UsageError
from pytest_ccci.ops.trigger.decision import CommentFacts, PullRead, Push, bind_head
from pytest_ccci.ops.trigger.models import LARGEST, Comment, FullName, Login, Number, Pull, Strict
from pytest_ccci.waiting import Stopwatch, pause
from pytest_ccci.web import session

__all__ = [
    "Account",
    "BranchFacts",
    "CommentPlace",
    "Gitea",
    "Hook",
    "PageSizes",
    "RepositoryFacts",
    "TagProtection",
    "check_forge",
    "comment_place",
    "poll_comment",
]

_APART = 5.2
"""Seconds between two reads: a little more than is asked for, so that a clock's grain does no harm."""
_PAGES = 100
_SIZE = 50
_TRIES = 3
_LONGEST_PAUSE = 60.0
_ANSWER = 16 * LARGEST
_PUSH = frozenset({"pull_push", 29})
"""How a timeline calls a push: by name, in older versions by number."""
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_ADDRESS = rf"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{{1,5}})?(?:/{_NAME})*?"
_FORGE = re.compile(_ADDRESS, re.ASCII)
_PLACE = re.compile(
    rf"(?P<forge>{_ADDRESS})"
    rf"/(?P<repository>{_NAME}/\.?{_NAME})/pulls/(?P<pull>\d{{1,18}})#issuecomment-(?P<comment>\d{{1,18}})",
    re.ASCII,
)
_MALFORMED = dict.fromkeys(("title", "body", "state", "username", "key"), 5)
"""A number where each request wants words: no forge takes it for anything."""
_HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})

T = TypeVar("T", bound=BaseModel)
S = TypeVar("S")


@dataclass(frozen=True)
class CommentPlace:
    """Where a comment is: ``forge`` is the address of the forge's front page."""

    forge: str
    repository: str
    pull: int
    comment_id: int


def comment_place(url: str) -> CommentPlace:
    """The place that the address of a comment names, as a forge's page links it.

    Raises:
        UsageError: it is no such address, or a token sent there could be read on the way.
    """
    hit = _PLACE.fullmatch(url)
    if hit is None:
        raise UsageError(
            "this is no address of a comment on a pull request",
            where=ascii(url)[:200],
            advice="such as https://git.example.org/coop/notes/pulls/3#issuecomment-1001",
        )
    check_forge(hit["forge"])
    return CommentPlace(hit["forge"], hit["repository"], int(hit["pull"]), int(hit["comment"]))


def check_forge(address: str) -> None:
    """A token may be sent to a forge at this address.

    Raises:
        UsageError: it is no address of a forge, or the token could be read on the way.
    """
    hit = _FORGE.fullmatch(address.rstrip("/"))
    if hit is None:
        raise UsageError("this is no address of a forge", where=ascii(address)[:200], advice="https://git.example.org")
    if hit["scheme"] == "http" and hit["host"] not in _HERE:
        raise UsageError("a token is sent over https only", where=address)


class _Comment(Comment):
    pull_request_url: Annotated[str, Field(max_length=2000)] = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime


class _Version(Strict):
    version: Annotated[str, Field(max_length=200)]


class _TimelineEntry(Strict):
    id: Number
    type: Annotated[str, Field(max_length=100)] | int
    created_at: AwareDatetime


class _Team(Strict):
    id: Number
    name: Annotated[str, Field(max_length=255)]


_Word = Annotated[str, Field(max_length=2000)]


class Account(Strict):
    """The account of the token."""

    login: Login
    is_admin: bool = False


class PageSizes(Strict):
    """How many entries of a list come at once: at most, and where nothing is said."""

    max_response_items: Number
    default_paging_num: Number


class _Rights(Strict):
    admin: bool
    push: bool


class RepositoryFacts(Strict):
    """A repository, and what the account of the token may do in it."""

    full_name: FullName
    default_branch: _Word
    archived: bool = False
    permissions: _Rights


class BranchFacts(Strict):
    """How a branch is protected from the account of the token, and what its pull requests need."""

    protected: bool
    user_can_push: bool
    enable_status_check: bool = False
    status_check_contexts: list[_Word] | None = None


class TagProtection(Strict):
    """A rule that protects tags: who may make one with such a name nevertheless."""

    name_pattern: _Word
    whitelist_usernames: list[_Word] | None = None
    whitelist_teams: list[_Word] | None = None


class Hook(Strict):
    """A webhook."""

    active: bool
    events: list[_Word] | None = None
    config: dict[str, _Word]


class Gitea:
    """One forge, asked with one token.

    Args:
        forge: the address of its front page.
        token: scopes ``read:issue``, ``read:repository`` and ``read:organization``.
        wait: lets seconds pass.

    What cannot be had is an InfrastructureFault that names the forge; no answer's text is in it.
    """

    def __init__(self, forge: str, token: str, *, wait: Callable[[float], None] = pause) -> None:
        self.forge = forge.rstrip("/")
        self._http = session(timeout=30)
        self._token = token
        self._wait = wait
        self._watch = Stopwatch()

    def read_pull(self, place: CommentPlace) -> PullRead:
        """The pull request, its pushes and the comment, as they are now.

        Raises:
            UsageError: the comment is not there, or on another pull request.
            InfrastructureFault: the forge cannot be asked, or its answer cannot be read.
        """
        at = self._watch.seconds
        issues = f"repos/{place.repository}/issues"
        pull = self._one(f"repos/{place.repository}/pulls/{place.pull}", Pull)
        timeline = self._pages(f"{issues}/{place.pull}/timeline", _TimelineEntry)
        comment = self._one(f"{issues}/comments/{place.comment_id}", _Comment)
        if pull is None or comment is None:
            what = "pull request" if pull is None else "comment"
            raise UsageError(
                f"there is no such {what}, or the token may not see it",
                where=f"{self.forge}/{place.repository}/pulls/{place.pull}",
            )
        ours = comment.pull_request_url.endswith(f"/{place.repository}/pulls/{place.pull}")
        if not ours or pull.number != place.pull:
            raise UsageError(f"comment {place.comment_id} is on another pull request", where=place.repository)
        author = comment.user.login
        head = pull.head
        facts = CommentFacts(
            repository=place.repository,
            pull=place.pull,
            comment_id=comment.id,
            text=comment.body,
            author=author,
            sender=author,  # a list does not tell; who edits a comment changes its time
            source="poll",
            is_open=pull.state == "open",
            edited=comment.updated_at != comment.created_at,
            fork=head.repo is None or head.repo.full_name != place.repository,
        )
        entries, complete = timeline
        pushes = tuple(Push(each.id, each.created_at) for each in entries if each.type in _PUSH)
        return PullRead(timedelta(seconds=at), facts, comment.created_at, head.sha, pushes, complete)

    def is_member(self, organisation: str, team: str, login: str) -> bool | None:
        """Whether ``login`` is in a team of an organisation now; ``None`` where the token may not know.

        Raises:
            UsageError: there is no such team, or the token's account is not in the organisation.
        """
        entries = self._several(f"orgs/{organisation}/teams", _Team)
        found = next((each.id for each in entries or () if each.name.lower() == team.lower()), None)
        if found is None:
            raise UsageError(
                f"there is no team {team!r} in {organisation!r}, or the token's account does not see it",
                where=self.forge,
                advice="the account that answers must itself be in the organisation",
            )
        answer = self._ask(f"teams/{found}/members/{login}")
        known: dict[int, bool] = {HTTPStatus.OK: True, HTTPStatus.NOT_FOUND: False}
        return known.get(answer.status_code)

    def account(self) -> Account | None:
        """The account of the token; ``None`` where the token may not read it.

        Raises:
            UsageError: the forge does not know the token.
        """
        status = self._ask("user").status_code
        if status == HTTPStatus.UNAUTHORIZED:
            raise UsageError("the forge does not know the token", where=self.forge, advice="make a new one")
        return None if status == HTTPStatus.FORBIDDEN else self._one("user", Account)

    def page_sizes(self) -> PageSizes | None:
        """How many entries of a list come at once."""
        return self._one("settings/api", PageSizes)

    def clock(self) -> datetime | None:
        """The forge's time, in whole seconds; ``None`` where it does not tell."""
        told = self._ask("version").date
        try:
            return parsedate_to_datetime(told)
        except ValueError:
            return None

    def version(self) -> str:
        """The forge's version, as it writes it."""
        found = self._one("version", _Version)
        return found.version if found else "unknown"

    def repositories(self, organisation: str) -> tuple[RepositoryFacts, ...]:
        """The repositories of an organisation that the token sees."""
        return self._pages(f"orgs/{organisation}/repos", RepositoryFacts)[0]

    def repository(self, name: str) -> RepositoryFacts | None:
        """A repository; ``None`` where the token does not see it."""
        return self._one(f"repos/{name}", RepositoryFacts)

    def branch(self, repository: str, name: str) -> BranchFacts | None:
        """A branch; ``None`` where it is not there."""
        return self._one(f"repos/{repository}/branches/{quote(name)}", BranchFacts)

    def tag_protections(self, repository: str) -> tuple[TagProtection, ...] | None:
        """How tags are protected; ``None`` where the token may not know, which only an administrator's may."""
        return self._several(f"repos/{repository}/tag_protections", TagProtection)

    def hooks(self, place: str) -> tuple[Hook, ...] | None:
        """The webhooks of ``repos/<owner/name>`` or ``orgs/<name>``; ``None`` where the token may not know."""
        return self._several(f"{place}/hooks", Hook)

    def would_be_let(self, path: str) -> bool | None:
        """Whether the token may post to ``path``: with a body that no forge can read, so that nothing is made.

        ``None`` where the forge says neither.
        """
        status = self._ask(path, malformed=True).status_code
        known = {HTTPStatus.FORBIDDEN: False, HTTPStatus.BAD_REQUEST: True, HTTPStatus.UNPROCESSABLE_ENTITY: True}
        return known.get(HTTPStatus(status))

    def _several(self, path: str, kind: type[T]) -> tuple[T, ...] | None:
        """All entries of a list; ``None`` where it is not there, or not for the token."""
        if self._ask(path, page=1, limit=_SIZE).status_code in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
            return None
        return self._pages(path, kind)[0]

    def _one(self, path: str, kind: type[T]) -> T | None:
        answer = self._ask(path)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        return self._parsed(TypeAdapter(kind), answer, path)

    def _pages(self, path: str, kind: type[T]) -> tuple[tuple[T, ...], bool]:
        """All entries of a list, and whether these are all. An empty page may be ``null``, and ends it.

        A forge may give fewer entries than asked for on each page, so that a short page ends nothing.
        """
        rows: TypeAdapter[list[T] | None] = TypeAdapter(list[kind] | None)  # type: ignore[valid-type, arg-type]  # made at run time
        found: list[T] = []
        for page in range(1, _PAGES + 1):
            answer = self._ask(path, page=page, limit=_SIZE)
            entries = self._parsed(rows, answer, path)
            if not entries:
                return tuple(found), True
            fresh = [each for each in entries if each not in found[-1000:]]
            found += fresh
            if not fresh:  # a list that knows no pages gives the same each time
                return tuple(found), True
        return tuple(found), False

    def _parsed(self, kind: TypeAdapter[S], answer: _Answer, path: str) -> S:
        if answer.status_code != HTTPStatus.OK:
            raise self._fault(path, f"status {answer.status_code}")
        try:
            return kind.validate_json(answer.body, strict=True)
        except ValidationError as error:
            places = {".".join(map(str, one["loc"])) for one in error.errors(include_input=False)}
            known = sorted(place for place in places if re.fullmatch(r"[a-z_.0-9]+", place))[:5]
            raise self._fault(path, f"its answer cannot be read: {', '.join(known) or 'no JSON'}") from None

    def _ask(self, path: str, *, malformed: bool = False, **query: int) -> _Answer:
        seen = ""
        for last in (False,) * (_TRIES - 1) + (True,):
            try:
                answer = self._answer(path, query, malformed=malformed)
            except requests.RequestException as error:
                seen, delay = type(error).__name__, 1.0
            else:
                busy = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
                if not busy and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return answer
                seen, delay = f"status {answer.status_code}", _after(answer.retry_after) if busy else 1.0
            if not last:
                self._wait(delay)
        raise self._fault(path, f"{seen}, {_TRIES} times")

    def _answer(self, path: str, query: dict[str, int], *, malformed: bool) -> _Answer:
        headers = {"Authorization": f"token {self._token}", "Accept": "application/json"}
        with self._http.request(
            "POST" if malformed else "GET",
            f"{self.forge}/api/v1/{path}",
            params=query,
            json=_MALFORMED if malformed else None,
            headers=headers,
            stream=True,
            allow_redirects=False,
        ) as answer:
            body = b""
            for part in answer.iter_content(64 * 1024):
                body += part
                if len(body) > _ANSWER:
                    raise self._fault(path, f"its answer is larger than {_ANSWER} bytes")
            return _Answer(
                answer.status_code, body, answer.headers.get("Retry-After", ""), answer.headers.get("Date", "")
            )

    def _fault(self, path: str, seen: str) -> InfrastructureFault:
        return InfrastructureFault("the forge could not be asked", where=f"{self.forge}/api/v1/{path}", seen=seen)


@dataclass(frozen=True)
class _Answer:
    status_code: int
    body: bytes
    retry_after: str
    date: str


def _after(header: str) -> float:
    """The seconds that a Retry-After asks for, within bounds; a date in it is not read."""
    return min(float(header), _LONGEST_PAUSE) if re.fullmatch(r"\d{1,9}", header, re.ASCII) else 5.0


def poll_comment(
    forge: Gitea, place: CommentPlace, *, wait: Callable[[float], None] = pause
) -> tuple[CommentFacts, str]:
    """The facts of a comment from two reads, five seconds apart, and the pull request's head at the second."""
    first = forge.read_pull(place)
    wait(_APART)
    second = forge.read_pull(place)
    return bind_head(first, second), second.head
