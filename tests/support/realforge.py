"""A real Gitea on loopback with people, an organisation, repositories and pull requests; and what it sends."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import requests
from goprograms import Built

from pytest_ccci import process
from pytest_ccci.ops.trigger.delivery import Delivery
from pytest_ccci.waiting import Deadline, until
from pytest_ccci.web import session

__all__ = ["BOT", "EVENTS", "ORG", "SECRET", "TEAM", "Clone", "Forge", "Person", "Pull", "Receiver", "running"]

ORG, TEAM, BOT = "coop", "testers", "ccci"
SECRET = "shared-by-forge-and-trigger"
EVENTS = ("issue_comment", "pull_request_comment", "pull_request_sync")
PASSWORD = "a-long-password-of-a-person-1"
PATIENCE = 30.0
"""Seconds for what takes a second or two on a machine that is not busy."""

SETTINGS = """\
APP_NAME = forge
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {root}
{unsafe}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
LOCAL_ROOT_URL = http://127.0.0.1:{port}/
OFFLINE_MODE = true
DISABLE_SSH = true
STATIC_ROOT_PATH = {files}
APP_DATA_PATH = {root}/data
[database]
DB_TYPE = sqlite3
PATH = {root}/data/gitea.db
SQLITE_JOURNAL_MODE = WAL
[repository]
ROOT = {root}/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test-only
PASSWORD_HASH_ALGO = pbkdf2$1000$50
[service]
DISABLE_REGISTRATION = true
[webhook]
ALLOWED_HOST_LIST = loopback
DELIVER_TIMEOUT = 2
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
DEFAULT_ACTIONS_URL = self
ENABLED = true
[log]
MODE = console
LEVEL = Warn
[cron]
ENABLED = false
[mailer]
ENABLED = false
[picture]
DISABLE_GRAVATAR = true
"""


@dataclass(frozen=True)
class Person:
    """Somebody with an account, who asks the forge with a token."""

    forge: str
    name: str
    token: str

    def ask(self, method: str, path: str, body: object = None, **query: str | int) -> requests.Response:
        """What the forge answers, whatever it is."""
        headers = {"Authorization": f"token {self.token}"}
        with session(timeout=PATIENCE) as http:
            return http.request(method, f"{self.forge}/api/v1/{path}", json=body, params=query, headers=headers)

    def get(self, path: str, **query: str | int) -> Any:
        """What the forge has there."""
        return _well(self.ask("GET", path, **query))

    def post(self, path: str, body: object = None) -> Any:
        """What the forge made."""
        return _well(self.ask("POST", path, body))

    def status(self, method: str, path: str, body: object = None, **query: str | int) -> int:
        """The number of the forge's answer."""
        return self.ask(method, path, body, **query).status_code

    def with_scopes(self, *scopes: str) -> Person:
        """The same person with a token that may do less."""
        return Person(self.forge, self.name, _token(self.forge, self.name, scopes))


def _well(answer: requests.Response) -> Any:
    assert answer.ok, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:500]}"
    return answer.json() if answer.content else None


def _token(forge: str, name: str, scopes: tuple[str, ...]) -> str:
    wanted = {"name": os.urandom(6).hex(), "scopes": list(scopes)}
    with session(timeout=PATIENCE) as http:
        made = http.post(f"{forge}/api/v1/users/{name}/tokens", json=wanted, auth=(name, PASSWORD))
    return str(_well(made)["sha1"])


@dataclass
class Forge:
    """A Gitea that runs, with its people: the boss is its administrator."""

    url: str
    root: Path
    program: tuple[str, ...]
    environment: Mapping[str, str]
    child: subprocess.Popen[bytes] | None = None
    boss: Person = field(init=False)
    people: dict[str, Person] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))

    def __post_init__(self) -> None:
        self.start()
        made = ("--username", "boss", "--password", PASSWORD, "--email", "boss@example.org", "--admin")
        argv = (*self.program, "admin", "user", "create", *made, "--must-change-password=false")
        process.run(argv, env=self.environment, timeout=60)
        self.boss = Person(self.url, "boss", _token(self.url, "boss", ("all",)))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.root / "forge.log").open("ab") as log:
            self.child = subprocess.Popen(
                (*self.program, "web"), env=dict(self.environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        try:
            _answers(self.url, self.child, self.root / "forge.log")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, as a machine does that goes down in order."""
        child, self.child = self.child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def person(self, name: str) -> Person:
        """Somebody with an account and a token for all; made at the first call."""
        if name not in self.people:
            mail = f"{name}@example.org"
            known = {"username": name, "email": mail, "password": PASSWORD, "must_change_password": False}
            self.boss.post("admin/users", known)
            self.people[name] = Person(self.url, name, _token(self.url, name, ("all",)))
        return self.people[name]

    def team(self, name: str, *members: str, permission: str = "read", organisation: str = ORG) -> int:
        """A team for all repositories of the organisation."""
        units = ("repo.code", "repo.issues", "repo.pulls")
        wanted = {
            "name": name,
            "permission": permission,
            "includes_all_repositories": True,
            "units_map": dict.fromkeys(units, permission),
        }
        number: int = self.boss.post(f"orgs/{organisation}/teams", wanted)["id"]
        for member in members:
            self.join(number, member)
        return number

    def join(self, team: int, member: str) -> None:
        """Take somebody into a team."""
        assert self.boss.status("PUT", f"teams/{team}/members/{self.person(member).name}") == 204

    def repository(self, name: str = "", *, organisation: str = ORG) -> str:
        """A repository of the organisation with a commit on main."""
        name = name or f"recipe-{next(self.numbers)}"
        wanted = {"name": name, "auto_init": True, "default_branch": "main"}
        return str(self.boss.post(f"orgs/{organisation}/repos", wanted)["full_name"])

    def hook(self, repository: str, url: str, events: tuple[str, ...] = EVENTS, secret: str = SECRET) -> int:
        """A webhook of a repository, or of an organisation where it has no slash."""
        config = {"url": url, "content_type": "json", "secret": secret}
        place = "repos" if "/" in repository else "orgs"
        wanted = {"type": "gitea", "active": True, "events": list(events), "config": config}
        return int(self.boss.post(f"{place}/{repository}/hooks", wanted)["id"])

    def commit(self, repository: str, branch: str, *, by: Person | None = None, new: bool = True) -> str:
        """A new commit on a branch, made from main where it is new: its full id."""
        name = f"file-{next(self.numbers)}"
        content = base64.b64encode(name.encode()).decode()
        where = {"branch": "main", "new_branch": branch} if new else {"branch": branch}
        asked = by or self.boss
        made = asked.post(f"repos/{repository}/contents/{name}", {"content": content, "message": name, **where})
        return str(made["commit"]["sha"])

    def pull(self, repository: str, *, by: Person | None = None, fork: str = "") -> Pull:
        """A new pull request of a new branch, perhaps one of a fork."""
        author = by or self.boss
        branch = f"branch-{next(self.numbers)}"
        head = self.commit(fork or repository, branch, by=author)
        named = f"{fork.partition('/')[0]}:{branch}" if fork else branch
        wanted = {"head": named, "base": "main", "title": branch}
        number = author.post(f"repos/{repository}/pulls", wanted)["number"]
        return Pull(self, repository, number, branch, fork or repository, head)

    def fork(self, repository: str, by: Person) -> str:
        """A fork."""
        return str(by.post(f"repos/{repository}/forks", {"name": f"fork-{next(self.numbers)}"})["full_name"])

    def clone(self, repository: str, place: Path, by: Person | None = None) -> Clone:
        """A clone on this machine, from which git pushes."""
        asked = by or self.boss
        return Clone(place, self.url.replace("//", f"//{asked.name}:{asked.token}@") + f"/{repository}.git")

    def login(self, name: str) -> requests.Session:
        """A browser's session of a person who logged in."""
        http = session(timeout=PATIENCE)
        answer = http.post(f"{self.url}/user/login", data={"user_name": name, "password": PASSWORD})
        assert answer.ok, answer.status_code
        assert "/user/login" not in answer.url
        return http


@dataclass(frozen=True)
class Pull:
    """A pull request; ``head`` is the commit it was made with."""

    forge: Forge
    repository: str
    number: int
    branch: str
    source: str
    head: str

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"repos/{self.repository}/pulls/{self.number}"

    @property
    def issue(self) -> str:
        """Where the API has its comments."""
        return f"repos/{self.repository}/issues/{self.number}"

    def comment(self, text: str, by: Person | None = None) -> int:
        """Write a comment: its number."""
        return int((by or self.forge.boss).post(f"{self.issue}/comments", {"body": text})["id"])

    def edit(self, number: int, text: str, by: Person) -> int:
        """Change the text of a comment: the status of the answer."""
        return by.status("PATCH", f"repos/{self.repository}/issues/comments/{number}", {"body": text})

    def comments(self) -> list[dict[str, Any]]:
        """All comments."""
        return list(self.forge.boss.get(f"{self.issue}/comments") or [])

    def link(self, comment: int) -> str:
        """The address of a comment."""
        return f"{self.forge.url}/{self.repository}/pulls/{self.number}#issuecomment-{comment}"

    def close(self) -> None:
        """Close it."""
        assert self.forge.boss.status("PATCH", self.path, {"state": "closed"}) == 201

    def push(self) -> str:
        """A new commit on its branch: its full id."""
        return self.forge.commit(self.source, self.branch, new=False)

    def merged(self, by: Person | None = None) -> int:
        """Ask to merge: the status of the answer, when the forge has checked whether it can be merged."""

        def settled() -> int:
            answer = (by or self.forge.boss).ask("POST", f"{self.path}/merge", {"Do": "merge"})
            return 0 if "try again later" in answer.text.lower() else answer.status_code

        return until(settled, deadline=Deadline(PATIENCE), what="the forge to check whether it can be merged")


class Clone:
    """A clone on this machine."""

    def __init__(self, place: Path, address: str) -> None:
        self.place = place
        self.git("clone", "-q", address, str(place), cwd=place.parent)

    def git(self, *words: str, cwd: Path | None = None, check: bool = True) -> process.Finished:
        """Call git."""
        who = [f"{kind}_{what}" for kind in ("GIT_AUTHOR", "GIT_COMMITTER") for what in ("NAME", "EMAIL")]
        environment = {**os.environ, **dict.fromkeys(who, "a@example.org"), "GIT_CONFIG_GLOBAL": os.devnull}
        return process.run(["git", *words], cwd=cwd or self.place, env=environment, timeout=60, check=check)

    def commit(self, branch: str, name: str, *, onto: str = "origin/main") -> str:
        """A commit with one file more than ``onto``: its full id. The branch is there anew."""
        self.git("checkout", "-q", "-B", branch, onto)
        (self.place / name).write_text(name, encoding="utf-8")
        self.git("add", name)
        self.git("commit", "-q", "-m", name)
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, *words: str) -> bool:
        """Push; whether the forge took it."""
        return self.git("push", "-q", "origin", *words, check=False).rc == 0


class Receiver:
    """Takes what a forge delivers, each path for itself. ``answers``: what is said at a path instead of 204."""

    def __init__(self) -> None:
        self.answers: dict[str, int | threading.Event] = {}
        self._came: list[tuple[str, Delivery]] = []
        self._wake = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                rows = tuple((name.lower(), value) for name, value in self.headers.items())
                receiver._came.append((self.path, Delivery(rows, body)))
                receiver._wake.set()
                answer = receiver.answers.get(self.path, 204)
                if isinstance(answer, threading.Event):
                    answer.wait(PATIENCE)
                    answer = 204
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A forge that does not wait for the answer is what a test is about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def at(self, path: str) -> list[Delivery]:
        """What came so far."""
        return [delivery for where, delivery in list(self._came) if where == path]

    def wait(self, path: str, wanted: Callable[[Delivery], bool] = lambda _: True, *, count: int = 1) -> list[Delivery]:
        """The deliveries of a kind, as soon as there are so many."""

        def come() -> list[Delivery] | None:
            found = [delivery for delivery in self.at(path) if wanted(delivery)]
            return found if len(found) >= count else None

        return until(
            come,
            deadline=Deadline(PATIENCE),
            what=f"{count} deliveries at {path}",
            wake=self._wake,
            seen=lambda: str([delivery.header("x-gitea-event-type") for delivery in self.at(path)]),
        )


@contextmanager
def running(built: Built, root: Path) -> Iterator[Forge]:
    """A forge in a folder of its own, stopped at the end. Its log is ``forge.log`` in there."""
    port = _free_port()
    (root / "data").mkdir(parents=True)
    unsafe = "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true" if os.geteuid() == 0 else ""
    user = process.run(["id", "-un"], timeout=10).stdout.strip()
    file = root / "app.ini"
    file.write_text(
        SETTINGS.format(user=user, root=root, port=port, unsafe=unsafe, files=built.files), encoding="utf-8"
    )
    forge = Forge(f"http://127.0.0.1:{port}", root, (str(built.program), "--config", str(file)), _environment(root))
    try:
        yield forge
    finally:
        forge.stop()


def _environment(root: Path) -> dict[str, str]:
    """What a forge sees of ours: no settings of the person whose machine it is."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TMPDIR"}}
    return {**kept, "HOME": str(root), "GITEA_WORK_DIR": str(root)}


def _answers(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the forge says its version."""

    def up() -> Literal[True] | None:
        assert child.poll() is None, f"the forge ended:\n{log.read_text(encoding='utf-8')[-2000:]}"
        try:
            with session(timeout=5) as http:
                return True if http.get(f"{url}/api/v1/version").ok else None
        except requests.ConnectionError:
            return None

    until(
        up,
        deadline=Deadline(2 * PATIENCE),
        what="the forge to answer",
        seen=lambda: log.read_text(encoding="utf-8")[-2000:],
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
