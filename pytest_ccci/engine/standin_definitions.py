"""What a local image build is made from: ``<folder>/<any name>/image.toml``, read strictly.

A definition says which image name and versions it can build, what it is FROM, and what is fetched on the host for it.
Definitions come with this package, and from any further folder (a recipe's ``images/``).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pytest_ccci.engine.registry import parse_reference
from pytest_ccci.errors import UsageError

__all__ = [
    "DebianFetch",
    "Definition",
    "Definitions",
    "Fetch",
    "MavenFetch",
    "NpmFetch",
    "PipFetch",
    "load_definitions",
]

BUNDLED = Path(__file__).resolve().parent.parent / "images"
_FILE = "image.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, defer_build=True)


class PipFetch(_Strict):
    """Wheels, installed into a folder: ``requirements`` is a file of the definition, or the requirements themselves."""

    requirements: str | tuple[str, ...]
    python: str = "3.11"


class NpmFetch(_Strict):
    """npm packages: named ones, or those of a ``manifest`` (with its lock file beside it, if there is one)."""

    packages: tuple[str, ...] = ()
    manifest: str = ""


class MavenFetch(_Strict):
    """One Maven artefact, a zip, unpacked without its top folder."""

    artifact: str


class DebianFetch(_Strict):
    """A root file system made by mmdebstrap; ``hook`` is a program of the definition that gets its path."""

    suite: str
    hook: str = ""


class Fetch(_Strict):
    """What is fetched on the host before a build, by the clients as they are configured there."""

    pip: PipFetch | None = None
    npm: NpmFetch | None = None
    maven: MavenFetch | None = None
    debian: DebianFetch | None = None


class Definition(_Strict):
    """One ``image.toml``; ``folder`` is where it stands."""

    folder: Path
    name: str
    base: str
    versions: dict[str, tuple[str, ...]] = Field(min_length=1)
    tags: tuple[str, ...] = ("{version}",)
    about: str = ""
    fetch: Fetch = Fetch()

    @field_validator("tags")
    @classmethod
    def _tags_have_a_version(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for tag in tags:
            if tag.count("{version}") != 1:
                raise ValueError(f"{tag!r} must hold {{version}} once")
        return tags

    def version_of(self, tag: str) -> str | None:
        """The version that ``tag`` names, if this definition knows it; the first tag pattern that fits decides."""
        for pattern in self.tags:
            before, after = (re.escape(part) for part in pattern.split("{version}"))
            match = re.fullmatch(f"{before}(.+){after}", tag)
            if match and self._row(match[1]) is not None:
                return match[1]
        return None

    def overlays(self, version: str) -> tuple[Path, ...]:
        """The folders that are laid over the definition's own files for ``version``, in order."""
        return tuple(self.folder / "overlays" / name for name in self._row(version) or ())

    def _row(self, version: str) -> tuple[str, ...] | None:
        if version in self.versions:
            return self.versions[version]
        return next((row for key, row in self.versions.items() if _matches(version, key)), None)


def _matches(version: str, pattern: str) -> bool:
    """Whether ``version`` fits; a ``*`` is one part of it, never a dot or a dash (``-alpine`` is no part of 26.*.*)."""
    return bool(re.fullmatch(r"[^.-]+".join(re.escape(part) for part in pattern.split("*")), version))


@dataclass(frozen=True)
class Definitions:
    """All definitions at hand; of two for one name and version the first wins."""

    all: tuple[Definition, ...]

    def find(self, ref: str) -> tuple[Definition, str] | None:
        """The definition that can build ``ref``, and the version it means. A digest cannot be stood in for."""
        reference = parse_reference(ref)
        if reference.digest:
            return None
        for definition in self.all:
            version = definition.version_of(reference.tag) if definition.name == reference.name else None
            if version is not None:
                return definition, version
        return None

    def known(self, ref: str) -> tuple[str, ...]:
        """The versions there are under the name of ``ref``."""
        name = parse_reference(ref).name
        return tuple(version for one in self.all if one.name == name for version in one.versions)


def load_definitions(*folders: Path) -> Definitions:
    """Read the bundled definitions and those below ``folders``; a folder that does not exist holds none.

    Raises:
        UsageError: an ``image.toml`` cannot be read; names file and key.
    """
    found = [load_definition(path) for folder in (BUNDLED, *folders) for path in sorted(folder.glob(f"*/{_FILE}"))]
    definitions = Definitions(tuple(found))
    for definition in found:
        _check_chain(definition, definitions)
    return definitions


def load_definition(path: Path) -> Definition:
    """Read one ``image.toml`` and check what it names."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        definition = Definition(folder=path.parent, **raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        text = f"unknown key {key!r}" if first["type"] == "extra_forbidden" else f"{key}: {first['msg']}"
        raise UsageError(text, where=str(path), advice="compare it with the documented format of image.toml") from error
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the image definition cannot be read: {error}", where=str(path)) from error
    _check_files(definition, path)
    return definition


def _check_files(definition: Definition, path: Path) -> None:
    wanted = [definition.folder / "Dockerfile"]
    wanted += [folder for version in definition.versions for folder in definition.overlays(version)]
    for one in wanted:
        if not one.exists():
            raise UsageError(f"it needs {one.relative_to(definition.folder)}, which is not there", where=str(path))
        if not one.resolve().is_relative_to(definition.folder.resolve()):
            raise UsageError(f"{one.name} lies outside the definition's folder", where=str(path))


def _check_chain(definition: Definition, definitions: Definitions) -> None:
    for pattern in definition.versions:
        version, one, seen = pattern.replace("*", "0"), definition, [f"{definition.name}:{pattern}"]
        while found := definitions.find(one.base.replace("{version}", version)):
            one, version = found
            if f"{one.name}:{version}" in seen:
                chain = " FROM ".join([*seen, f"{one.name}:{version}"])
                raise UsageError(f"it is FROM itself: {chain}", where=str(definition.folder / _FILE))
            seen.append(f"{one.name}:{version}")
