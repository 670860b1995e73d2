"""One live-warm app on a small engine: it keeps a version, and starts its code on the data that is there.

The store, the journal and all notes are the real ones. Each effect, on files or on the engine, can be made to fail.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import warm
from pytest_ccci.errors import CrashLoop, InfrastructureFault, LeftBehind
from pytest_ccci.progress import received
from pytest_ccci.recipe.releases import parse
from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Head
from pytest_ccci.statedir import StateDir, open_state, write_atomic
from pytest_ccci.store import canonical, fs
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs
from pytest_ccci.warm.health import InfraApp
from pytest_ccci.warm.infra_recipe import Good, record_good
from pytest_ccci.warm.reconcile import Reconciled, Wish, reconcile_app

OLD = Head("latest", "a" * 40, release=parse("1.0.0+1.0.0"), version="1.0.0+1.0.0")
NEW = Head("latest", "b" * 40, release=parse("1.0.1+1.0.1"), version="1.0.1+1.0.1")
APP = "app"


_TELLING = {"append", "rename", "unlink", "write"}
"""Steps that others can see: these also fail after they have had their effect."""


class Killed(BaseException):
    """The process is gone: nothing it wanted to do afterwards has any effect."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with effects of ``kind``: once, or from then on."""

    name: str
    kind: str
    error: Callable[[], BaseException]
    stays: bool


class Injector:
    """Counts effects of the fault's kind, before and after each; at number ``at`` the fault comes."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.at = 0
        self.count = 0
        self.hit = ""
        self._lock = threading.Lock()

    def arm(self, fault: Fault, at: int) -> None:
        self.fault, self.at, self.count, self.hit = fault, at, 0, ""

    def heal(self) -> None:
        self.fault = None

    def effect(self, kind: str, name: str) -> None:
        with self._lock:
            fault = self.fault
            if fault is None or fault.kind not in {kind, "any"}:
                return
            self.count += 1
            if self.count == self.at:
                self.hit = name
            if self.count == self.at or (fault.stays and self.count > self.at):
                raise fault.error()


@dataclass
class World:
    """One live-warm app on a small engine. Its code writes its own version to its data as soon as it starts."""

    state: StateDir
    broken: bool
    injector: Injector = field(default_factory=Injector)
    version: str | None = OLD.version
    up: bool = True
    latest: Head = NEW
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def schema(self) -> Path:
        return self.store.live("db") / "schema"

    @property
    def data(self) -> str:
        return self.schema.read_text(encoding="ascii")

    @property
    def store(self) -> CanonicalStore:
        return CanonicalStore(self.state.infra(APP).resolve() / "store", APP)

    def start(self) -> None:
        self.schema.parent.mkdir(parents=True, exist_ok=True)
        self.schema.write_text(OLD.version, encoding="ascii")
        record_good(self.state, APP, Good(OLD.version, OLD.commit))

    def roll_out(self, _site: object, _recipe: object, head: Head) -> None:
        self.injector.effect("engine", f"roll out {head.version}")
        self.version, self.up = head.version, True
        if not self.schema.exists() or self.data > head.version:
            self.wrong.append(f"{head.version} was started on the data of {self.data if self.schema.exists() else 0}")
            self.up = False
            raise CrashLoop("the schema is newer than the code")
        self.schema.write_text(head.version, encoding="ascii")
        self.injector.effect("engine", f"{head.version} rolled out")

    def prove(self, _site: object, _recipe: object, head: Head, *, ident: str) -> None:
        del ident
        self.injector.effect("engine", f"prove {head.version}")
        if self.version != head.version or not self.up:
            raise InfrastructureFault(f"{self.version} runs, not {head.version}")
        if self.broken and head is NEW:
            raise CrashLoop("the new release answers nonsense")

    def park(self, *_args: object) -> None:
        self.injector.effect("engine", "park")
        self.version = None
        self.injector.effect("engine", "parked")

    def require_stopped(self, *_args: object) -> None:
        if self.version is not None:
            raise LeftBehind("the app still runs")

    def inspect_infra(self, *_args: object) -> InfraApp | None:
        self.injector.effect("engine", "inspect_infra")
        if self.version is None:
            return None
        return InfraApp(APP, "app.ci.test", "app_ci", self.version, "", problem="" if self.up else "down")

    def does(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_options: self.injector.effect("engine", name)

    def resolve(self, ref: str) -> Head:
        found = {OLD.commit: OLD, NEW.commit: NEW, OLD.version: OLD, NEW.version: NEW, "latest": self.latest}
        return found[ref]

    @property
    def site(self) -> Any:
        zone = SimpleNamespace(name="ci.test", url=lambda domain: f"https://{domain}")
        return SimpleNamespace(state=self.state, engine=None, zone=zone, timeout=1.0)

    def reconcile(self, wish: Wish = Wish()) -> Reconciled | None:  # noqa: B008  frozen
        """What came of it; ``None`` when it was killed."""
        try:
            with received(self.told.append):
                return reconcile_app(self.site, APP, wish)
        except Killed:
            return None

    def belongs_together(self) -> bool:
        return not self.wrong and (self.version is None or self.version == self.data)


def _everywhere(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Replace ``name`` in every module of the package that knows it."""
    for found in pkgutil.iter_modules(warm.__path__):
        module = import_module(f"{warm.__name__}.{found.name}")
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)


def worlds(monkeypatch: pytest.MonkeyPatch, root: Path) -> Callable[..., World]:
    """A maker of worlds below ``root``; the last one made is the one that the package acts on."""
    current: list[World] = []

    def now(name: str) -> Callable[..., Any]:
        return lambda *args, **options: getattr(current[0], name)(*args, **options)  # noqa: PLW0108  not before it is made

    def does(name: str) -> Callable[..., Any]:
        return lambda *args, **options: current[0].does(name)(*args, **options)  # noqa: PLW0108  the same

    facts = SimpleNamespace(volumes={"db": SimpleNamespace(external=False)})
    mirror = SimpleNamespace(resolve=now("resolve"))
    spec = SimpleNamespace(policy=Policy(), health=SimpleNamespace(path="/"))
    recipe = SimpleNamespace(name=APP, stack="app_ci", domain="app.ci.test", mirror=mirror, spec=spec)
    for name in ("roll_out", "prove", "park", "require_stopped", "inspect_infra"):
        _everywhere(monkeypatch, name, now(name))
    for name in ("write_marker", "expect_marker", "drop_marker", "fetch_images", "learn_secrets", "adopt"):
        _everywhere(monkeypatch, name, does(name))
    for name, value in {
        "is_external": lambda *_a: False,
        "open_infra": lambda *_a, **_o: recipe,
        "read_facts": lambda *_a: facts,
        "require_access": lambda *_a: None,
        "known_secrets": lambda *_a: {},
        "notes_towards": lambda *_a: (),
        "ensure_proxy": lambda *_a: None,
        "wait_healthy": lambda *_a, **_o: None,
        "_let_recover": lambda _site, found: found,
    }.items():
        _everywhere(monkeypatch, name, value)
    numbers = iter(range(10**6))

    def make(*, broken: bool = False) -> World:
        world = World(open_state(root / f"state{next(numbers)}"), broken)
        current[:] = [world]
        world.start()
        return world

    _stepping(monkeypatch, current)
    # Whether a write is durable is tried by the store's own proofs; here it would only be slow.
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    monkeypatch.setattr(fs, "_syncfs", lambda _handle: None)
    monkeypatch.setattr(canonical, "choose", lambda _folder: CopyBackend())
    return make


def _stepping(monkeypatch: pytest.MonkeyPatch, current: list[World]) -> None:
    """Every effect on files below the current world's state directory is one of its injector's, before and after."""

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            where = next(Path(one) for one in args if isinstance(one, str | os.PathLike))
            world = current[0] if current else None
            if world is None or not where.is_relative_to(world.state.root) or where.is_relative_to(world.state.locks):
                return real(*args, **options)
            if name == "unlink" and not os.path.lexists(where):
                return real(*args, **options)  # says so on a full or read-only disk, too
            world.injector.effect("file", f"{name} {where.name}")
            done = real(*args, **options)
            if name in _TELLING:
                world.injector.effect("file", f"{name} {where.name}: done")
            return done

        return act

    for name, real in inspect.getmembers(Fs, inspect.isfunction):
        if not name.startswith("_") and name != "rmtree":
            monkeypatch.setattr(Fs, name, wrapped(name, real))
    monkeypatch.setattr(Path, "unlink", wrapped("unlink", Path.unlink))
    _everywhere(monkeypatch, "write_atomic", wrapped("write", write_atomic))
