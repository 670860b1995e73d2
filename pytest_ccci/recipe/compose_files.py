"""Compose files as they are written: read with their lines, interpolated and merged as Docker does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.compose_facts import labels, mount_fields
from pytest_ccci.recipe.compose_yaml import Document, load_document
from pytest_ccci.recipe.compose_yaml import Path as Place

__all__ = ["ComposeFile", "Use", "filled", "interpolate", "merge", "read_compose", "uses_in"]

EMPTY = Document(None)
_SECTIONS = ("services", "volumes", "networks", "secrets", "configs")
"""What Docker interpolates; all else stays as it is written."""
_USE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<how>:?[-?])(?P<word>[^}]*))?\}|(?P<wrong>))"
)


@dataclass(frozen=True)
class ComposeFile:
    """One compose file; ``name`` is its path within the recipe, ``problem`` why it cannot be read."""

    path: Path
    name: str
    document: Document = EMPTY
    problem: RecipeInvalid | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """The file's mapping; empty where it has none."""
        return self.document.value if isinstance(self.document.value, Mapping) else {}

    def table(self, *path: str) -> Mapping[str, Any]:
        """The mapping at ``path``; empty where there is none."""
        found: Any = self.data
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class Use:
    """A variable where a compose file uses it. ``wrong`` is what is no use at all, such as ``${V:+x}``."""

    variable: str
    place: Place
    default: bool = False
    required: bool = False
    wrong: str = ""


def read_compose(path: Path, *, within: Path) -> ComposeFile:
    """Read a compose file of the recipe in ``within``."""
    name = path.relative_to(within).as_posix() if path.is_relative_to(within) else path.name
    try:
        text = path.read_text(encoding="utf-8")
        return ComposeFile(path, name, load_document(text, where=name))
    except RecipeInvalid as error:
        return ComposeFile(path, name, problem=error)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        return ComposeFile(path, name, problem=RecipeInvalid("this is no UTF-8", where=f"{name}:{line}"))
    except OSError as error:
        return ComposeFile(path, name, problem=RecipeInvalid(f"it cannot be read: {error.strerror}", where=name))


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its variables filled in; what is not set is empty, what is no use of a variable stays."""
    return _USE.sub(lambda use: _filled(use, values), text)


def _filled(use: re.Match[str], values: Mapping[str, str]) -> str:
    if use["dollar"]:
        return "$"
    if use["wrong"] is not None:
        return use[0]
    name = use["bare"] or use["name"]
    value = values.get(name)
    if use["how"] == ":-":
        return value or str(use["word"])
    if use["how"] == "-":
        return str(use["word"]) if value is None else value
    return value or ""


def uses_in(file: ComposeFile) -> Iterator[Use]:
    """Every variable that Docker would fill in, with its place."""
    for section in _SECTIONS:
        yield from _uses(file.data.get(section), (section,))


def _uses(value: Any, place: Place) -> Iterator[Use]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _uses(each, (*place, key))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _uses(each, (*place, at))
    elif isinstance(value, str) and "$" in value:
        for found in _USE.finditer(value):
            if found["wrong"] is not None:
                yield Use("", place, wrong=value)
            elif not found["dollar"]:
                how = found["how"] or ""
                yield Use(found["bare"] or found["name"], place, how.endswith("-"), how.endswith("?"))


def filled(file: ComposeFile, values: Mapping[str, str]) -> dict[str, Any]:
    """One file as it stands, with its variables filled in: also what `merge` leaves out or another file replaces."""
    return {str(key): _deep(raw, lambda text: interpolate(text, values)) for key, raw in file.data.items()}


def merge(files: Iterable[ComposeFile], values: Mapping[str, str]) -> dict[str, Any]:
    """What Docker makes of ``files`` one over the other, as far as facts are read from it."""
    merged: dict[str, Any] = {}
    first: Path | None = None
    for file in files:
        first = first or file.path.parent
        if "version" in file.data:
            merged["version"] = file.data["version"]
        for section in _SECTIONS:
            table = _deep(file.data.get(section), lambda text: interpolate(text, values))
            for key, raw in table.items() if isinstance(table, Mapping) else ():
                entry = dict(raw) if isinstance(raw, Mapping) else {}
                if section in {"configs", "secrets"} and isinstance(entry.get("file"), str) and entry["file"]:
                    entry["file"] = str(first / entry["file"])
                known = merged.setdefault(section, {}).get(key, {})
                merged[section][key] = _over(known, _normal(entry, values) if section == "services" else entry)
    return merged


def _deep(value: Any, act: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _deep(each, act) for key, each in value.items()}
    if isinstance(value, list):
        return [_deep(each, act) for each in value]
    return act(value) if isinstance(value, str) else value


def _normal(service: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A service whose lists that are merged by a key are mappings by that key."""
    made = dict(service)
    if isinstance(made.get("environment"), list):
        made["environment"] = _environment(made["environment"], values)
    if "labels" in made:
        made["labels"] = labels(made["labels"])
    if isinstance(made.get("deploy"), Mapping) and "labels" in made["deploy"]:
        made["deploy"] = {**made["deploy"], "labels": labels(made["deploy"]["labels"])}
    if isinstance(made.get("networks"), list):
        made["networks"] = {str(name): None for name in made["networks"]}
    return made


def _environment(rows: list[Any], values: Mapping[str, str]) -> dict[str, str | None]:
    pairs = (str(row).partition("=") for row in rows)
    return {name: value if mark else values.get(name) for name, mark, value in pairs}


def _over(below: Any, above: Any, key: str = "") -> Any:
    """``above`` over ``below``: mappings are merged, lists by what names their items, all else is replaced."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        both = {name: _over(below[name], each, name) if name in below else each for name, each in above.items()}
        return {**below, **both}
    if isinstance(below, list) and isinstance(above, list) and key in _NAMED:
        return list({_NAMED[key](each): each for each in (*below, *above)}.values())
    return above


def _source(raw: object) -> str:
    return str(raw.get("source")) if isinstance(raw, Mapping) else str(raw)


_NAMED: Mapping[str, Callable[[Any], str]] = {
    "volumes": lambda raw: str(mount_fields(raw)["target"]),
    "secrets": _source,
    "configs": _source,
    "ports": str,
}
