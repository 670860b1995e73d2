"""Data that we write into an app and must read back unchanged: the kinds, their hooks, and the checks."""

from __future__ import annotations

import importlib.util
import io
import secrets
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, TypeVar

import requests
from docker.errors import NotFound

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.containers import container_of
from pytest_ccci.errors import CcciError, DataLost, NotServing, RecipeFault, RecipeTomlError
from pytest_ccci.recipe.compose_facts import Mount, ServiceFacts
from pytest_ccci.recipe.env import render, render_all
from pytest_ccci.recipe.spec import FileSentinel, Sentinel
from pytest_ccci.run.app import App
from pytest_ccci.run.sql import Login, NoAnswer, ask, find_login
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["FileKind", "Hooks", "HttpKind", "Memory", "PythonKind", "Sentinels", "SqlKind", "app_where", "load_hooks"]

_TABLE = "ccci_sentinel"
_PUT = {
    "postgres": "INSERT INTO {table} VALUES (1, '{value}') ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value",
    "mysql": "REPLACE INTO {table} VALUES (1, '{value}')",
}
_REFUSED = 400
_PATIENCE = 30.0
_OLD_BODY = 20000


@dataclass(frozen=True)
class Hooks:
    """What a recipe folder's conftest.py gives for ``python`` sentinels.

    ``seed(app, realm)`` writes a person's data and returns what to remember; ``check(app, realm, seeded)`` raises when
    it is not there unchanged; ``spoil(app, realm, seeded)``, optional, changes it; ``documents(app, realm, seeded)``,
    optional, returns that person's data as they are kept, by name, read past the app.
    """

    seed: Callable[..., Mapping[str, str]] | None = None
    check: Callable[..., None] | None = None
    spoil: Callable[..., None] | None = None
    documents: Callable[..., Mapping[str, str | bytes]] | None = None


def app_where(spec: Sentinel) -> str:
    """How a message names a sentinel."""
    return " ".join(part for part in (spec.kind, "sentinel", getattr(spec, "service", "") or "") if part)


def _told(spec: Sentinel) -> str:
    """A sentinel in a sentence: its kind, and the name that its author gave it."""
    return f"the {spec.kind} sentinel" + (f' "{spec.name}"' if spec.name else "")


class FileKind:
    """A file in a container of a service, put there and read through Docker's archive calls (no shell is needed)."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        """Write it; return what to remember."""
        del realm
        value = secrets.token_hex(16)
        self._write(app, spec, value)
        return {"value": value}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        """Read it; raise where it is not as it was written."""
        del realm
        found = self._read(app, spec)
        if found != memory["value"]:
            raise DataLost(f"{spec.path} is not what was written", seen=found[:80] if found else "it is gone")

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        """Change it; whether that can be seen."""
        del realm
        self._write(app, spec, f"changed {memory['value'][:8]}")
        return True

    def read_back(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """What is there now, as it is kept."""
        del realm, memory
        return {spec.path: self._read(app, spec).encode()}

    def _write(self, app: App, spec: Any, value: str) -> None:
        path, data, buffer = PurePosixPath(spec.path), value.encode(), io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo(path.name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
        with engine_errors(f"writing {path}"):
            try:
                container = container_of(app.engine, app.stack, spec.service)
                app.engine.client.api.put_archive(container, str(path.parent), buffer.getvalue())
            except NotFound as error:
                raise RecipeFault(
                    f"the folder {path.parent} does not exist in service {spec.service}",
                    where=app_where(spec),
                    advice="see path of the [[sentinel]] of kind file in recipe.toml",
                ) from error

    def _read(self, app: App, spec: Any) -> str:
        with engine_errors(f"reading {spec.path}"):
            try:
                container = container_of(app.engine, app.stack, spec.service)
                stream, _ = app.engine.client.api.get_archive(container, spec.path)
            except NotFound:
                return ""
            with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
                member = archive.extractfile(archive.getmembers()[0])
                return member.read().decode("utf-8", "replace") if member else ""


class SqlKind:
    """A row in a table of our own, written and read with the database's client inside its container."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        """Write it; return what to remember."""
        del realm
        value = secrets.token_hex(16)
        try:
            login = find_login(app, spec.service, user=spec.user, database=spec.database)
            table = f"CREATE TABLE IF NOT EXISTS {_TABLE} (id int PRIMARY KEY, value text NOT NULL)"
            ask(app, spec.service, login, table)
            self._put(app, spec, login, value)
        except NoAnswer as error:
            # Nothing was ever written: nothing can be lost. What the client is asked for stands in recipe.toml.
            raise RecipeFault(
                "the sentinel cannot be written",
                where=app_where(spec),
                seen=str(error),
                advice="see database and user of the [[sentinel]] in recipe.toml; unset, they are what the service's "
                "POSTGRES_, MARIADB_ or MYSQL_ variables DB or DATABASE and USER say, or the files of their _FILE, "
                "else postgres or root",
            ) from error
        return {"value": value, **login.memory()}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        """Read it; raise where it is not as it was written."""
        del realm
        login = self._login(spec, memory)
        row = f"the row in {login.database}.{_TABLE}"
        try:
            query = f"SELECT value FROM {_TABLE} WHERE id = 1"  # noqa: S608  constants
            found = ask(app, spec.service, login, query).strip()
        except NoAnswer as error:
            raise DataLost(f"{row} cannot be read", seen=str(error)) from error
        if found != memory["value"]:
            raise DataLost(f"{row} is not what was written", seen=found[:80] or "no row")

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        """Change it; whether that can be seen."""
        del realm
        try:
            self._put(app, spec, self._login(spec, memory), f"changed {memory['value'][:8]}")
        except NoAnswer as error:
            raise RecipeFault("the sentinel cannot be changed", where=app_where(spec), seen=str(error)) from error
        return True

    def read_back(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """What is there now, as it is kept."""
        del realm
        login = self._login(spec, memory)
        try:
            query = f"SELECT id, value FROM {_TABLE}"  # noqa: S608  constants
            return {_TABLE: ask(app, spec.service, login, query).encode()}
        except NoAnswer as error:
            raise DataLost(f"{login.database}.{_TABLE} cannot be read", seen=str(error)) from error

    @staticmethod
    def _login(spec: Any, memory: Mapping[str, str]) -> Login:
        return Login.remembered(memory, user=spec.user, database=spec.database)

    @staticmethod
    def _put(app: App, spec: Any, login: Login, value: str) -> None:
        ask(app, spec.service, login, _PUT[login.dialect].format(table=_TABLE, value=value))


class HttpKind:
    """A resource of the app itself: a value that is sent to one address and must be held by another.

    Kept data from before 0.1.0 remember what was answered then, and not a value: it must be answered still.
    """

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        """Write it; return what to remember."""
        value = secrets.token_hex(16)
        status, body = self._send(app, realm, spec, value)
        if status >= _REFUSED:
            raise RecipeFault(
                f"{spec.method} {spec.write_path or spec.path} is answered with {status}",
                where=app_where(spec),
                seen=body[:300],
                advice="see method, write_path, body and headers of the [[sentinel]] of kind http in recipe.toml",
            )
        return {"value": value}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        """Read it; raise where it is not as it was written."""
        status, body = self._get(app, realm, spec, memory.get("value", ""))
        seen = f"{status}: {body[:300]}"
        if "value" not in memory:
            if {"status": str(status), "body": body[:_OLD_BODY]} != dict(memory):
                raise DataLost(f"{spec.path} does not answer as before", seen=seen)
        elif status >= _REFUSED or memory["value"] not in body:
            raise DataLost(f"{spec.path} does not hold what was written", seen=seen)

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        """Change it; whether that can be seen."""
        value = memory.get("value", "")
        if not value:
            return False
        self._send(app, realm, spec, f"changed {value[:8]}")
        # Where a second value is only added to the first, a restore that does nothing would look the same.
        return value not in self._get(app, realm, spec, value)[1]

    def read_back(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """What is there now; only the app can tell."""
        return {spec.path: self._get(app, realm, spec, memory.get("value", ""))[1].encode()}

    def _send(self, app: App, realm: object, spec: Any, value: str) -> tuple[int, str]:
        known = self._known(app, realm, value)
        body = render(spec.body, known, where=app_where(spec))
        return self._ask(app, spec.method, spec.write_path or spec.path, self._headers(spec, known), body.encode())

    def _get(self, app: App, realm: object, spec: Any, value: str) -> tuple[int, str]:
        return self._ask(app, "GET", spec.path, self._headers(spec, self._known(app, realm, value)), None)

    @staticmethod
    def _ask(app: App, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, str]:
        try:
            response = app.new_http().request(
                method, f"{app.url}{path}", data=body, headers=dict(headers), timeout=_PATIENCE, allow_redirects=False
            )
        except requests.RequestException as error:
            raise NotServing(f"{method} {path} is not answered", where=app.url, seen=str(error)[:300]) from error
        return response.status_code, response.text

    @staticmethod
    def _headers(spec: Any, known: Mapping[str, object]) -> Mapping[str, str]:
        return render_all(spec.headers, known, where=f"{app_where(spec)}, headers")

    @staticmethod
    def _known(app: App, realm: object, value: str) -> Mapping[str, object]:
        lease = {"realm": realm.context()} if isinstance(realm, RealmLease) else {}
        return {"value": value, "domain": app.domain, **lease}


@dataclass(frozen=True)
class PythonKind:
    """A person's data, by the hooks of the recipe folder's conftest.py."""

    hooks: Hooks

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        """Write it; return what to remember."""
        if self.hooks.seed is None or self.hooks.check is None:
            raise RecipeFault(
                "recipe.toml names a python sentinel, and conftest.py has no ccci_seed and ccci_check",
                where=app_where(spec),
                advice="define ccci_seed(app, realm) and ccci_check(app, realm, seeded) beside recipe.toml",
            )
        return {str(key): str(value) for key, value in self.hooks.seed(app, realm).items()}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        """Read it; raise where it is not as it was written."""
        del spec
        if self.hooks.check is None:
            raise DataLost("conftest.py no longer has ccci_check")
        self.hooks.check(app, realm, dict(memory))

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        """Change it; whether that can be seen."""
        del spec
        if self.hooks.spoil is None:
            return False
        self.hooks.spoil(app, realm, dict(memory))
        return True

    def read_back(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """The person's data as they are kept, where conftest.py says how to read them past the app."""
        del spec
        found = self.hooks.documents(app, realm, dict(memory)) if self.hooks.documents else {}
        return {str(name): data if isinstance(data, bytes) else str(data).encode() for name, data in found.items()}


T = TypeVar("T")
Memory = Mapping[str, Mapping[str, str]]
"""What was written, per sentinel by its identity: what it is and where it lives, wherever recipe.toml names it."""


@dataclass(frozen=True)
class Sentinels:
    """The sentinels of one recipe."""

    specs: tuple[Sentinel, ...]
    hooks: Hooks = field(default_factory=Hooks)

    def require_places(self, services: Mapping[str, ServiceFacts], *, where: str) -> None:
        """Refuse a sentinel of a service that the recipe does not have, and a file that no volume keeps.

        Raises:
            RecipeTomlError: names it, and what there is.
        """
        for spec in self.specs:
            name = getattr(spec, "service", "")
            if name and name not in services:
                raise RecipeTomlError(
                    f"a {spec.kind} sentinel names the service {name!r}, which the recipe does not have",
                    where=where,
                    seen=f"services: {', '.join(sorted(services))}",
                )
            if isinstance(spec, FileSentinel) and not _is_kept(spec.path, services[name].mounts):
                raise RecipeTomlError(
                    f"{spec.path} of a file sentinel is on no volume of service {name}: it goes with the container",
                    where=where,
                    seen=f"mounted there: {', '.join(mount.target for mount in services[name].mounts) or 'nothing'}",
                )

    def seed(self, app: App, realm: object, memory: Memory) -> Memory:
        """Write every sentinel that ``memory`` does not know; return what to remember of all."""
        known = self._known(memory)
        fresh = {spec.identity: spec for spec in self.specs if spec.identity not in known}
        return {**known, **{key: self._seeded(app, realm, spec) for key, spec in fresh.items()}}

    def check(self, app: App, realm: object, memory: Memory, *, after: str) -> None:
        """Read every remembered sentinel.

        Raises:
            DataLost: one is gone or changed; ``after`` says after what.
        """
        known = self._known(memory)
        for spec in self.specs:
            if spec.identity in known:
                check = partial(self._kind(spec).check, app, realm, spec, known[spec.identity])
                self._guarded(check, spec, after)

    def spoil(self, app: App, realm: object, memory: Memory) -> int:
        """Change every sentinel that can be changed; how many were."""
        known = self._known(memory)
        there = [spec for spec in self.specs if spec.identity in known]
        return sum(self._spoiled(app, realm, spec, known[spec.identity]) for spec in there)

    def plant(self, app: App, realm: object, number: int) -> tuple[Memory, ...]:
        """Write ``number`` more of every person's datum, beside the sentinels; what to remember of each."""
        people = [spec for spec in self.specs if spec.kind == "python"]
        return tuple({spec.identity: self._seeded(app, realm, spec)} for spec in people for _ in range(number))

    def read_back(self, app: App, realm: object, memory: Memory) -> dict[str, bytes]:
        """The remembered data as they are kept now, by the sentinel and their own name."""
        known = self._known(memory)
        found: dict[str, bytes] = {}
        for spec in self.specs:
            if spec.identity in known:
                there = self._kind(spec).read_back(app, realm, spec, known[spec.identity])
                found |= {f"{spec.identity}: {name}": data for name, data in there.items()}
        return found

    def unseeded(self, memory: Memory) -> bool:
        """Whether recipe.toml names sentinels that were not there when ``memory`` was made."""
        known = self._known(memory)
        return any(spec.identity not in known for spec in self.specs)

    def remembered(self, memory: Memory) -> bool:
        """Whether ``memory`` knows any of the sentinels that recipe.toml names now."""
        return bool(self._known(memory))

    def _known(self, memory: Memory) -> dict[str, Mapping[str, str]]:
        """What is remembered of the sentinels that there are now.

        Kept data from before 0.1.0 remember them by their number. It means the same sentinel only while recipe.toml
        names as many: else nothing is known of any, rather than one sentinel's value be looked for in another's place.
        """
        if memory and all(key.isdecimal() for key in memory):
            numbered = {str(number): spec.identity for number, spec in enumerate(self.specs)}
            return {numbered[key]: memory[key] for key in memory} if numbered.keys() == memory.keys() else {}
        return {spec.identity: memory[spec.identity] for spec in self.specs if spec.identity in memory}

    def _seeded(self, app: App, realm: object, spec: Sentinel) -> Mapping[str, str]:
        seed: Callable[[], Mapping[str, str]] = partial(self._kind(spec).seed, app, realm, spec)
        return _by_the_author(seed, spec, "could not be written", "ccci_seed")

    def _spoiled(self, app: App, realm: object, spec: Sentinel, memory: Mapping[str, str]) -> bool:
        spoil: Callable[[], bool] = partial(self._kind(spec).spoil, app, realm, spec, memory)
        return _by_the_author(spoil, spec, "could not be changed", "ccci_spoil")

    def _guarded(self, act: Callable[[], None], spec: Sentinel, after: str) -> None:
        try:
            act()
        except DataLost as error:
            raise DataLost(f"{error.what} {after}", where=app_where(spec), seen=error.seen) from error
        except CcciError:
            raise
        except Exception as error:
            # A hook of the author's: whatever it raises says that the datum is not as it was.
            raise DataLost(
                f"{_told(spec)} did not hold {after}", where=app_where(spec), seen=f"{error}"[:800]
            ) from error

    def _kind(self, spec: Sentinel) -> Any:
        kinds = {"file": FileKind(), "sql": SqlKind(), "http": HttpKind(), "python": PythonKind(self.hooks)}
        return kinds[spec.kind]


def _by_the_author(act: Callable[[], T], spec: Sentinel, problem: str, hook: str) -> T:
    """What ``act`` returns. What an author's hook raises is the recipe's fault: nothing was lost, nor is it ours."""
    try:
        return act()
    except CcciError:
        raise
    except Exception as error:
        raise RecipeFault(
            f"{_told(spec)} {problem}",
            where=app_where(spec),
            seen=f"{type(error).__name__}: {error}"[:800],
            advice=f"see {hook} in conftest.py",
        ) from error


def _is_kept(path: str, mounts: Iterable[Mount]) -> bool:
    """Whether what is written to ``path`` outlives the container: the innermost mount decides."""
    over = [mount for mount in mounts if PurePosixPath(path).is_relative_to(mount.target)]
    innermost = max(over, key=lambda mount: len(PurePosixPath(mount.target).parts), default=None)
    return innermost is not None and innermost.kind in {"volume", "bind"}


def load_hooks(folder: Path) -> Hooks:
    """The hooks in ``folder/conftest.py`` (``ccci_seed``, ``ccci_check`` and so on), as far as they are there.

    Raises:
        RecipeTomlError: the file cannot be imported.
    """
    path = folder / "conftest.py"
    if not path.is_file():
        return Hooks()
    module = _already_imported(path) or _imported(path)
    found = {name: getattr(module, f"ccci_{name}", None) for name in ("seed", "check", "spoil", "documents")}
    return Hooks(**{name: hook for name, hook in found.items() if callable(hook)})


def _already_imported(path: Path) -> ModuleType | None:
    """The module as pytest imported it, so that the author's code runs once."""
    known = (module for module in tuple(sys.modules.values()) if getattr(module, "__file__", None))
    return next((module for module in known if Path(str(module.__file__)) == path), None)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ccci_hooks_of_{path.parent.name.replace('-', '_')}", path)
    if spec is None or spec.loader is None:
        raise RecipeTomlError("conftest.py cannot be imported", where=str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeTomlError("conftest.py cannot be imported", where=str(path), seen=repr(error)) from error
    return module
