"""The doors: what the rest of the package may do only through one module each."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_ccci.settings import OPTIONS

Sources = tuple[Any, ...]  # of conftest's Source, which a test module cannot import


@dataclass(frozen=True)
class Door:
    """What may be named only in ``here``, a part or a module.

    ``harmless`` lists ``(name, reason)`` of what may be named everywhere; a name ends with ``()`` where also a call is.
    """

    what: str
    here: str
    names: tuple[str, ...]
    harmless: tuple[tuple[str, str], ...] = ()
    elsewhere: tuple[tuple[str, str, str], ...] = ()
    """``(module, name, reason)``: what that one module may name besides."""

    def allows(self, module: str, name: str) -> bool:
        """Whether ``module`` may use ``name``."""
        return (
            module == self.here
            or module.startswith(f"{self.here}.")
            or name in self.free
            or (module, name) in self.excepted
        )

    @property
    def excepted(self) -> set[tuple[str, str]]:
        """Which module may name what, with the import that leads there."""
        pairs = {(module, name) for module, name, _ in self.elsewhere}
        plain = {(module, name.removesuffix("()")) for module, name in pairs}
        return pairs | plain | {(module, name.partition(".")[0]) for module, name in pairs}

    @property
    def free(self) -> set[str]:
        """The names of what is harmless, and of what one passes by on the way there."""
        named = {name for name, _ in self.harmless} | {name.removesuffix("()") for name, _ in self.harmless}
        return named | {".".join(name.split(".")[:depth]) for name in named for depth in range(1, name.count(".") + 1)}


DOORS = (
    Door("pytest is imported", "plugin", ("pytest", "_pytest", "pluggy", "xdist", "execnet")),
    Door(
        "programs are started",
        "process",
        (
            "subprocess",
            "pty",
            "multiprocessing",
            "os.system",
            "os.popen",
            "os.fork",
            "os.forkpty",
            "os.posix_spawn",
            "os.posix_spawnp",
            *(
                f"os.{verb}{how}"
                for verb in ("exec", "spawn")
                for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")
            ),
            "asyncio.create_subprocess_exec",
            "asyncio.create_subprocess_shell",
        ),
    ),
    Door("time passes", "waiting", ("time.sleep", "asyncio.sleep", "signal.pause", "select.select")),
    Door(
        "HTTP and TLS are spoken",
        "web",
        (
            "requests",
            "urllib3",
            "urllib.request",
            "http.client",
            "http.server",
            "httpx",
            "socket",
            "socketserver",
            "ssl",
        ),
        (
            ("requests.RequestException", "to catch it"),
            ("requests.Timeout", "to catch it"),
            ("requests.ReadTimeout", "the Docker SDK lets it through"),
            ("requests.HTTPError", "to catch it"),
            ("urllib3.BaseHTTPResponse", "a type"),
            ("urllib3.exceptions.HTTPError", "the Docker SDK lets it through"),
            ("urllib3.exceptions.ReadTimeoutError", "the Docker SDK lets it through"),
            ("requests.Response", "a type"),
            ("requests.Session", "a type; made only by web.session"),
            ("requests.codes", "names of numbers"),
            ("requests.codes.not_found", "a number"),
            ("socket.gethostname()", "asks the kernel, opens nothing"),
        ),
        tuple(
            ("ops.doctor", f"socket.{name}", "asks the kernel whether a port is free: binds, and connects to nothing")
            for name in ("socket()", "AF_INET", "SOCK_STREAM", "SOL_SOCKET", "SO_REUSEADDR")
        ),
    ),
    Door("the environment is read", "settings", ("os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv")),
    Door(
        "log lines are received",
        "progress",
        ("logging",),
        (
            ("logging.getLogger()", "each module has a logger of its own name"),
            ("logging.INFO", "a level"),
            ("logging.DEBUG", "a level"),
        ),
    ),
    Door("Docker is spoken to", "engine", ("docker",), (("docker.errors.NotFound", "to tell a missing path"),)),
    Door("Keycloak is spoken to", "warm", ("keycloak",)),
)


def matches(name: str, which: str) -> bool:
    """Whether the dotted ``name`` is ``which`` or something in it."""
    return name == which or name.startswith(f"{which}.")


def bindings(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, by its full dotted name."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return bound


def full_name(node: ast.expr, bound: dict[str, str]) -> str:
    """The dotted name that an expression stands for; empty where it is none that was imported."""
    if isinstance(node, ast.Name):
        return bound.get(node.id, "")
    if isinstance(node, ast.Attribute):
        before = full_name(node.value, bound)
        return f"{before}.{node.attr}" if before else ""
    return ""


def uses(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every dotted name that is imported or reached through an import, by its full name; a call ends with ``()``."""
    bound = bindings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and full_name(node, bound):
            yield node, full_name(node, bound)
        elif isinstance(node, ast.Call) and full_name(node.func, bound):
            yield node, f"{full_name(node.func, bound)}()"


def past_the_door(sources: Sources, door: Door) -> list[str]:
    """Uses of what is behind ``door`` from where it may not be used."""
    found = []
    for source in sources:
        hits = [
            (node, name)
            for node, name in uses(source.tree)
            if any(matches(name, each) for each in door.names) and not door.allows(source.name, name)
        ]
        found += [source.at(node, f"{name}: {door.what} only in {door.here}") for node, name in hits]
    return sorted(set(found))


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.what)
def test_only_the_door_does_it(package: Sources, door: Door) -> None:
    assert past_the_door(package, door) == []


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.what)
def test_every_harmless_name_has_a_reason_and_is_still_used(package: Sources, door: Door) -> None:
    used = {name for source in package for _, name in uses(source.tree) if not source.name.startswith(door.here)}
    for name, reason in door.harmless:
        assert reason.strip()
        assert name in used, f"nothing needs {name} any more"
    by_name = {source.name: {name for _, name in uses(source.tree)} for source in package}
    for module, name, reason in door.elsewhere:
        assert reason.strip()
        assert name in by_name[module], f"{module} no longer needs {name}"


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("pytest is imported", "import pytest"),
        ("pytest is imported", "def f():\n    from _pytest import nodes"),
        ("programs are started", "import subprocess"),
        ("programs are started", "from subprocess import run"),
        ("programs are started", "import os\nos.execvp('sh', ['sh'])"),
        ("programs are started", "import os as o\no.system('true')"),
        ("time passes", "import time\ntime.sleep(1)"),
        ("time passes", "from time import sleep as nap\nnap(1)"),
        ("HTTP and TLS are spoken", "import requests\nrequests.get('https://example.org')"),
        ("HTTP and TLS are spoken", "from requests import Session as S\nS().get('https://example.org')"),
        ("HTTP and TLS are spoken", "import urllib.request"),
        ("HTTP and TLS are spoken", "from http.server import HTTPServer"),
        ("HTTP and TLS are spoken", "from http.client import HTTPConnection"),
        ("HTTP and TLS are spoken", "import socket\nsocket.create_connection(('localhost', 1))"),
        ("the environment is read", "import os\nhome = os.environ['HOME']"),
        ("the environment is read", "from os import getenv"),
        ("log lines are received", "import logging\nlogging.getLogger(__name__).addHandler(logging.StreamHandler())"),
        ("log lines are received", "from logging import basicConfig"),
        ("log lines are received", "import logging.config"),
        ("Docker is spoken to", "import docker\ndocker.from_env()"),
        ("Keycloak is spoken to", "from keycloak import KeycloakAdmin"),
    ],
)
def test_a_planted_way_past_the_door_is_found(planted: Callable[[str, str], Sources], what: str, code: str) -> None:
    door = next(door for door in DOORS if door.what == what)
    assert past_the_door(planted("store.planted", code), door) != []


def test_harmless_neighbours_are_not_taken_for_the_forbidden() -> None:
    code = (
        "import os\nimport time\nfrom urllib.parse import urlsplit\nos.path.join('a')\ntime.monotonic()\nurlsplit('')"
    )
    names = {name for _, name in uses(ast.parse(code))}
    assert not any(matches(name, each) for name in names for door in DOORS for each in door.names)


def test_every_option_is_obeyed_somewhere(package: Sources) -> None:
    """An option that nothing reads is a promise nobody keeps."""
    read = {
        node.attr
        for source in package
        if source.name != "settings"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute)
    }
    assert {option.name for option in OPTIONS} - read == set()
