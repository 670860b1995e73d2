"""Data that we write into an app and must read back unchanged: the difference between healthy and whole.

Each sentinel is written once (*seed*), read after every change (*check*), and for a backup changed (*spoil*), so that
only a real restore brings it back. What was written is remembered as plain strings, kept with the known-good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from pytest_ccci.errors import CcciError, DataLost, RecipeTomlError
from pytest_ccci.recipe.compose_facts import Mount, ServiceFacts
from pytest_ccci.recipe.spec import FileSentinel, Sentinel
from pytest_ccci.run.app import App
from pytest_ccci.run.planting import FileKind, Hooks, HttpKind, PythonKind, SqlKind, app_where

__all__ = ["Hooks", "Memory", "Sentinels"]

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
        return {**known, **{key: self._kind(spec).seed(app, realm, spec) for key, spec in fresh.items()}}

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
        return sum(self._kind(spec).spoil(app, realm, spec, known[spec.identity]) for spec in there)

    def plant(self, app: App, realm: object, number: int) -> tuple[Memory, ...]:
        """Write ``number`` more of every person's datum, beside the sentinels; what to remember of each."""
        people = [spec for spec in self.specs if spec.kind == "python"]
        return tuple({spec.identity: self._kind(spec).seed(app, realm, spec)} for spec in people for _ in range(number))

    def look(self, app: App, realm: object, memory: Memory) -> dict[str, bytes]:
        """The remembered data as they are kept now, by the sentinel and their own name."""
        known = self._known(memory)
        found: dict[str, bytes] = {}
        for spec in self.specs:
            if spec.identity in known:
                there = self._kind(spec).look(app, realm, spec, known[spec.identity])
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
        kinds = {"file": FileKind(), "sql": SqlKind(), "http": HttpKind(), "python": PythonKind(self.hooks)}
        return kinds[spec.kind]


def _is_kept(path: str, mounts: Iterable[Mount]) -> bool:
    """Whether what is written to ``path`` outlives the container: the innermost mount decides."""
    over = [mount for mount in mounts if PurePosixPath(path).is_relative_to(mount.target)]
    innermost = max(over, key=lambda mount: len(PurePosixPath(mount.target).parts), default=None)
    return innermost is not None and innermost.kind in {"volume", "bind"}
