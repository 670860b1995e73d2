"""Data that we write into an app and must read back unchanged: the difference between healthy and whole.

Each sentinel is written once (*seed*), read after every change (*check*), and for a backup changed (*spoil*), so that
only a real restore brings it back. What was written is remembered as plain strings, kept with the known-good.
"""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from docker.errors import NotFound

from pytest_ccci.engine.client import engine_errors
from pytest_ccci.engine.execs import container_of
from pytest_ccci.errors import CcciError, DataLost, RecipeFault, RecipeTomlError
from pytest_ccci.recipe.spec import Sentinel
from pytest_ccci.run.app import App

__all__ = ["Hooks", "Memory", "Sentinels"]

Memory = Mapping[str, Mapping[str, str]]
"""Per sentinel, by its number in recipe.toml, what was written."""

_TABLE = "ccci_sentinel"


@dataclass(frozen=True)
class Hooks:
    """What a recipe folder's conftest.py gives for ``python`` sentinels.

    ``seed(app, realm)`` writes a person's data and returns what to remember; ``check(app, realm, seeded)`` raises when
    it is not there unchanged; ``spoil(app, realm, seeded)``, optional, changes it.
    """

    seed: Callable[..., Mapping[str, str]] | None = None
    check: Callable[..., None] | None = None
    spoil: Callable[..., None] | None = None


@dataclass(frozen=True)
class Sentinels:
    """The sentinels of one recipe."""

    specs: tuple[Sentinel, ...]
    hooks: Hooks = field(default_factory=Hooks)

    def require_services(self, services: Collection[str], *, where: str) -> None:
        """Refuse a sentinel of a service that the recipe does not have.

        Raises:
            RecipeTomlError: names it, and what there is.
        """
        for spec in self.specs:
            name = getattr(spec, "service", "")
            if name and name not in services:
                known = ", ".join(sorted(services))
                raise RecipeTomlError(
                    f"a {spec.kind} sentinel names the service {name!r}, which the recipe does not have",
                    where=where,
                    seen=f"services: {known}",
                )

    def seed(self, app: App, realm: object) -> Memory:
        """Write every sentinel; return what to remember."""
        return {str(number): self._kind(spec).seed(app, realm, spec) for number, spec in enumerate(self.specs)}

    def check(self, app: App, realm: object, memory: Memory, *, after: str) -> None:
        """Read every remembered sentinel.

        Raises:
            DataLost: one is gone or changed; ``after`` says after what.
        """
        for number, spec in enumerate(self.specs):
            if str(number) in memory:
                check = partial(self._kind(spec).check, app, realm, spec, memory[str(number)])
                self._guarded(check, spec, after)

    def spoil(self, app: App, realm: object, memory: Memory) -> int:
        """Change every sentinel that can be changed; how many were."""
        return sum(
            self._kind(spec).spoil(app, realm, spec, memory[str(number)])
            for number, spec in enumerate(self.specs)
            if str(number) in memory
        )

    def unseeded(self, memory: Memory) -> bool:
        """Whether recipe.toml names sentinels that were not there when ``memory`` was made."""
        return any(str(number) not in memory for number in range(len(self.specs)))

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
                f"the {spec.kind} sentinel did not hold {after}", where=app_where(spec), seen=f"{error}"[:800]
            ) from error

    def _kind(self, spec: Sentinel) -> Any:
        kinds = {"file": _FileKind(), "sql": _SqlKind(), "http": _HttpKind(), "python": _PythonKind(self.hooks)}
        return kinds[spec.kind]


def app_where(spec: Sentinel) -> str:
    """How a message names a sentinel."""
    return " ".join(part for part in (spec.kind, "sentinel", getattr(spec, "service", "") or "") if part)


class _FileKind:
    """A file in a container of a service, put there and read through Docker's archive calls (no shell is needed)."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        del realm
        value = secrets.token_hex(16)
        self._write(app, spec, value)
        return {"value": value}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        del realm
        found = self._read(app, spec)
        if found != memory["value"]:
            raise DataLost(f"{spec.path} is not what was written", seen=found[:80] if found else "it is gone")

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        del realm
        self._write(app, spec, f"changed {memory['value'][:8]}")
        return True

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


class _SqlKind:
    """A row in a table of our own, written and read with psql inside the database's container."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        del realm
        value = secrets.token_hex(16)
        self._sql(app, spec, f"CREATE TABLE IF NOT EXISTS {_TABLE} (id int PRIMARY KEY, value text NOT NULL)")
        self._put(app, spec, value)
        return {"value": value}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        del realm
        found = self._sql(app, spec, f"SELECT value FROM {_TABLE} WHERE id = 1").strip()  # noqa: S608  constants
        if found != memory["value"]:
            raise DataLost(f"the row in {spec.database}.{_TABLE} is not what was written", seen=found[:80] or "no row")

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        del realm
        self._put(app, spec, f"changed {memory['value'][:8]}")
        return True

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


class _HttpKind:
    """What an address answers: remembered when seeded, the same ever after."""

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        del realm
        return self._get(app, spec)

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        del realm
        found = self._get(app, spec)
        if dict(found) != dict(memory):
            raise DataLost(f"{spec.path} does not answer as before", seen=json.dumps(found)[:300])

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        del app, realm, spec, memory
        return False

    def _get(self, app: App, spec: Any) -> Mapping[str, str]:
        response = app.new_http().get(f"{app.url}{spec.path}", timeout=30)
        return {"status": str(response.status_code), "body": response.text[:20000]}


@dataclass(frozen=True)
class _PythonKind:
    """A person's data, by the hooks of the recipe folder's conftest.py."""

    hooks: Hooks

    def seed(self, app: App, realm: object, spec: Any) -> Mapping[str, str]:
        if self.hooks.seed is None or self.hooks.check is None:
            raise RecipeFault(
                "recipe.toml names a python sentinel, and conftest.py has no ccci_seed and ccci_check",
                where=app_where(spec),
                advice="define ccci_seed(app, realm) and ccci_check(app, realm, seeded) beside recipe.toml",
            )
        return {str(key): str(value) for key, value in self.hooks.seed(app, realm).items()}

    def check(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> None:
        del spec
        if self.hooks.check is None:
            raise DataLost("conftest.py no longer has ccci_check")
        self.hooks.check(app, realm, dict(memory))

    def spoil(self, app: App, realm: object, spec: Any, memory: Mapping[str, str]) -> bool:
        del spec
        if self.hooks.spoil is None:
            return False
        self.hooks.spoil(app, realm, dict(memory))
        return True
