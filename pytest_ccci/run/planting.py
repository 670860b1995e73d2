"""How each kind of sentinel is written, read, and changed on purpose."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import requests
from docker.errors import NotFound

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.containers import container_of
from pytest_ccci.errors import DataLost, NotServing, RecipeFault
from pytest_ccci.recipe.env import render, render_all
from pytest_ccci.recipe.spec import Sentinel
from pytest_ccci.run.app import App
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["FileKind", "Hooks", "HttpKind", "PythonKind", "SqlKind", "app_where"]

_TABLE = "ccci_sentinel"
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

    def look(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
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
                    f"the folder {path.parent} does not exist in service {spec.service}", where=app_where(spec)
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
    """A row in a table of our own, written and read with psql inside the database's container."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        """Write it; return what to remember."""
        del realm
        value = secrets.token_hex(16)
        self._sql(app, spec, f"CREATE TABLE IF NOT EXISTS {_TABLE} (id int PRIMARY KEY, value text NOT NULL)")
        self._put(app, spec, value)
        return {"value": value}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        """Read it; raise where it is not as it was written."""
        del realm
        found = self._sql(app, spec, f"SELECT value FROM {_TABLE} WHERE id = 1").strip()  # noqa: S608  constants
        if found != memory["value"]:
            raise DataLost(f"the row in {spec.database}.{_TABLE} is not what was written", seen=found[:80] or "no row")

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        """Change it; whether that can be seen."""
        del realm
        self._put(app, spec, f"changed {memory['value'][:8]}")
        return True

    def look(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """What is there now, as it is kept."""
        del realm, memory
        return {_TABLE: self._sql(app, spec, f"SELECT id, value FROM {_TABLE}").encode()}  # noqa: S608  constants

    def _put(self, app: App, spec: Any, value: str) -> None:
        self._sql(
            app,
            spec,
            f"INSERT INTO {_TABLE} VALUES (1, '{value}') "  # noqa: S608  a constant and our own hex digits
            "ON CONFLICT (id) DO UPDATE SET value = EXCLUDED.value",
        )

    def _sql(self, app: App, spec: Any, statement: str) -> str:
        # -q: without it psql prints command tags into the answer.
        argv = ["psql", "-qtAX", "-v", "ON_ERROR_STOP=1", "-U", spec.user, "-d", spec.database, "-c", statement]
        done = app.exec(spec.service, argv)
        if done.rc != 0:
            raise DataLost(f"psql in service {spec.service} ended with exit status {done.rc}", seen=done.stderr[-500:])
        return done.stdout


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
                advice="see method, write_path, body and headers of the sentinel",
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

    def look(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
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

    def look(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> Mapping[str, bytes]:
        """The person's data as they are kept, where conftest.py says how to read them past the app."""
        del spec
        found = self.hooks.documents(app, realm, dict(memory)) if self.hooks.documents else {}
        return {str(name): data if isinstance(data, bytes) else str(data).encode() for name, data in found.items()}
