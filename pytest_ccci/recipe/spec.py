"""recipe.toml, read strictly: what cannot be used is an error that names file, line, key and the nearest valid key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pytest_ccci.errors import RecipeTomlError
from pytest_ccci.recipe.releases import Release, parse_bound
from pytest_ccci.recipe.schema import (
    Disposable,
    ExpectedLoss,
    FileSentinel,
    Health,
    HttpSentinel,
    Key,
    KeycloakNeed,
    Needs,
    NotApplicable,
    Policy,
    PythonSentinel,
    RecipeToml,
    SecretRule,
    Sentinel,
    SourceTable,
    SqlSentinel,
    Tests,
    describe_keys,
    json_schema,
    keys_at,
)

__all__ = [
    "RECIPE_TOML",
    "BundledSource",
    "Disposable",
    "ExpectedLoss",
    "FileSentinel",
    "GitSource",
    "Health",
    "HttpSentinel",
    "Key",
    "KeycloakNeed",
    "Location",
    "Needs",
    "NotApplicable",
    "PathSource",
    "Policy",
    "PythonSentinel",
    "RecipeSpec",
    "SecretRule",
    "Sentinel",
    "Source",
    "SqlSentinel",
    "Tests",
    "Values",
    "describe_keys",
    "find_line",
    "json_schema",
    "line_index",
    "load_spec",
]

_KINDS = ", ".join(repr(get_args(each.model_fields["kind"].annotation)[0]) for each in get_args(Sentinel))
"""The kinds of sentinels, as a message lists them."""

Location = tuple[int | str, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""", re.ASCII)
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""", re.ASCII)


def line_index(text: str) -> Mapping[Location, int]:
    """The line (from 1) of each table and key, by its place in the parsed file."""
    index: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    fence = ""
    for number, row in enumerate(text.splitlines(), start=1):
        if not fence and (header := _HEADER.fullmatch(row)):
            table = _enter(header[2], counts, array=header[1] == "[[")
            _note(index, table, number)
        elif not fence and (key := _KEY.match(row)):
            _note(index, table + _parts(key[1]), number)
        fence = _fence(row, fence)
    return index


def find_line(index: Mapping[Location, int], location: Location) -> int:
    """The line of ``location``, or of the nearest thing around it; 1 when there is none."""
    return next((index[location[:end]] for end in range(len(location), 0, -1) if location[:end] in index), 1)


def _enter(name: str, counts: dict[Location, int], *, array: bool) -> Location:
    """Where a header leads: below an array of tables, into its last table."""
    place: Location = ()
    for part in _parts(name):
        place = (*place, part)
        if place in counts and not (array and place == _parts(name)):
            place = (*place, counts[place])
    if array:
        counts[place] = counts.get(place, -1) + 1
        place = (*place, counts[place])
    return place


def _note(index: dict[Location, int], place: Location, number: int) -> None:
    for end in range(1, len(place) + 1):
        index.setdefault(place[:end], number)


def _parts(name: str) -> Location:
    return tuple(_unquoted(part) for part in _PART.findall(name))


def _unquoted(part: str) -> str:
    if part[:1] != '"':
        return part.strip("'")
    try:
        return str(tomllib.loads(f"x = {part}")["x"])
    except tomllib.TOMLDecodeError:
        return part.strip('"')


def _fence(row: str, fence: str) -> str:
    """The multi-line quote that is open after ``row``; a comment opens none."""
    for mark in re.findall(r'"""|\'\'\'', row if fence else row.partition(" #")[0]):
        fence = "" if mark == fence else fence or mark
    return fence


RECIPE_TOML = "recipe.toml"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class PathSource:
    """A git work tree or a plain directory; its tip is what is there now."""

    folder: Path


@dataclass(frozen=True)
class GitSource:
    """A git repository by URL."""

    url: str = field(repr=False)


@dataclass(frozen=True)
class BundledSource:
    """A folder of numbered releases."""

    folder: Path


Source = PathSource | GitSource | BundledSource


_V = TypeVar("_V", bound="str | SecretRule")


@dataclass(frozen=True)
class _Layer(Generic[_V]):
    """One table of values and its place in the file, such as ``("env", "from", "2.0.0+4.8.1")``."""

    place: Location
    values: Mapping[str, _V] = field(repr=False)

    @property
    def bound(self) -> Release | None:
        """The version that the table names, ``None`` for none."""
        return parse_bound(str(self.place[-1]))

    def holds(self, version: Release | None) -> bool:
        """Whether the values hold for a version; ``None`` is what is in no release yet."""
        if len(self.place) == 1:
            return True
        reached = version is None or (self.bound is not None and version >= self.bound)
        return reached is (self.place[1] == "from")


@dataclass(frozen=True)
class Values(Generic[_V]):
    """``[env]`` or ``[secrets]``: which values hold for which version; the weakest layer first."""

    layers: tuple[_Layer[_V], ...] = ()

    def at(self, version: Release | None) -> dict[str, _V]:
        """The values of a version: of a release, or with ``None`` of what is in no release yet."""
        held = (layer.values for layer in self.layers if layer.holds(version))
        return {name: value for values in held for name, value in values.items()}

    def places(self, version: Release | None) -> dict[str, Location]:
        """Where in the file each value of :meth:`at` stands."""
        return {name: (*layer.place, name) for layer in self.layers if layer.holds(version) for name in layer.values}


@dataclass(frozen=True)
class RecipeSpec:
    """What an author says about a recipe. ``name`` is the folder's."""

    name: str
    folder: Path
    source: Source
    canonical: bool = False
    keep: int = 1
    stand_in: str | None = None
    env: Values[str] = field(default_factory=Values)
    secrets: Values[str | SecretRule] = field(default_factory=Values)
    health: Health = field(default_factory=Health)
    needs: Needs = field(default_factory=Needs)
    tests: Tests = field(default_factory=Tests)
    sentinels: tuple[Sentinel, ...] = ()
    not_applicable: tuple[NotApplicable, ...] = ()
    disposable: tuple[Disposable, ...] = ()
    expected_loss: tuple[ExpectedLoss, ...] = ()
    policy: Policy = field(default_factory=Policy)

    @property
    def file(self) -> Path:
        """The recipe.toml itself."""
        return self.folder / RECIPE_TOML

    def given_secrets(self, version: Release | None) -> dict[str, str]:
        """The secrets of a version that are given, by name: templates. ``version`` as for :class:`Values`."""
        return {name: value for name, value in self.secrets.at(version).items() if isinstance(value, str)}

    def secret_rules(self, version: Release | None) -> dict[str, SecretRule]:
        """How other secrets of that version are made, by name."""
        return {name: rule for name, rule in self.secrets.at(version).items() if isinstance(rule, SecretRule)}

    def waived(self, tier: str) -> str | None:
        """Why ``tier`` does not apply, or ``None`` when it does."""
        return next((each.reason for each in self.not_applicable if each.tier == tier), None)


def load_spec(path: Path) -> RecipeSpec:
    """Read ``path``, a recipe.toml or the folder that holds one.

    Raises:
        RecipeTomlError: it is not there, not TOML, or says what it may not; every fault with its line.
    """
    file = path / RECIPE_TOML if path.is_dir() else path
    text = _read(file)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, lists without end
        line = re.search(r"line (\d+)", str(error))
        number = line[1] if line else str(len(text.splitlines()) or 1)
        raise RecipeTomlError(
            f"this is no TOML: {error}", where=f"{file}:{number}", advice=_advice(text.splitlines(), int(number))
        ) from None
    try:
        said = RecipeToml.model_validate(_tuples(data))
    except ValidationError as error:
        raise _explain(file, text, error) from None
    return _spec(file.absolute().parent, file, said)


def _advice(rows: Sequence[str], number: int) -> str:
    row = rows[number - 1] if 0 < number <= len(rows) else ""
    bare = re.match(r"\s*\[\s*(env|secrets)\s*\.\s*(from|before)\s*\.\s*([^\]\"']*)", row)
    return f'write a version in quotes: [{bare[1]}.{bare[2]}."{bare[3].strip()}"]' if bare else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeTomlError("there is no recipe.toml", where=str(file.parent)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeTomlError(f"it cannot be read: {error}", where=str(file)) from None


def _spec(folder: Path, file: Path, said: RecipeToml) -> RecipeSpec:
    if not _NAME.fullmatch(folder.name):
        raise RecipeTomlError(
            f"{folder.name!r} cannot be a recipe's name",
            where=str(file),
            advice="name the folder with a-z, 0-9 and hyphens: it becomes part of domains",
        )
    return RecipeSpec(
        name=folder.name,
        folder=folder,
        source=_source(folder, file, said.source),
        canonical=said.canonical,
        keep=said.keep,
        stand_in=said.stand_in,
        env=_values("env", said.env.__pydantic_extra__, since=said.env.since, before=said.env.before),
        secrets=_values(
            "secrets", said.secrets.__pydantic_extra__, since=said.secrets.since, before=said.secrets.before
        ),
        health=said.health,
        needs=said.needs,
        sentinels=said.sentinel,
        not_applicable=said.not_applicable,
        disposable=said.disposable,
        expected_loss=said.expected_loss,
        tests=said.tests,
        policy=said.policy,
    )


def _values(
    name: str,
    always: Mapping[str, _V],
    *,
    since: Mapping[str, Mapping[str, _V]],
    before: Mapping[str, Mapping[str, _V]],
) -> Values[_V]:
    """What holds for all versions; over it ``before``, then ``from``, of each the nearest bound last."""

    def by_age(side: str, tables: Mapping[str, Mapping[str, _V]]) -> list[_Layer[_V]]:
        layers = [_Layer((name, side, text), values) for text, values in tables.items()]
        return sorted(layers, key=lambda layer: (layer.bound is None, layer.bound.key if layer.bound else ()))

    whole = _Layer((name,), dict(always))
    return Values((whole, *reversed(by_age("before", before)), *by_age("from", since)))


def _source(folder: Path, file: Path, said: SourceTable) -> Source:
    if said.git is not None:
        plain = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/]+:", said.git) is None
        return GitSource(str((folder / said.git).resolve()) if plain else said.git)
    if said.path is not None:
        return PathSource((folder / said.path).resolve())
    inside = (folder / str(said.bundled)).resolve()
    if not inside.is_relative_to(folder.resolve()):
        raise RecipeTomlError(f"[source] bundled: {said.bundled!r} lies outside the recipe's folder", where=str(file))
    return BundledSource(inside)


def _tuples(value: Any) -> Any:
    """TOML's lists as tuples, so that strict models take them."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _explain(file: Path, text: str, error: ValidationError) -> RecipeTomlError:
    index = line_index(text)
    faults = sorted({(find_line(index, _place(each)), _fault(each)) for each in error.errors(include_url=False)})
    (line, first), *others = faults
    more = "; ".join(f"line {number}: {fault}" for number, fault in others)
    return RecipeTomlError(first, where=f"{file}:{line}", seen=f"also {more}" if more else "")


_SHAPE_OF_SECRET, _SHAPE_OF_RANGED = 2, 4
"""Where pydantic says whether a secret is given or made: behind ``secrets.NAME``, ``secrets.from.VERSION.NAME``."""


def _place(error: ErrorDetails) -> tuple[int | str, ...]:
    """The place in the file; pydantic also puts in which of several shapes a table has, and that a key is wrong."""
    location = tuple(step for step in error["loc"] if step != "[key]")
    if location[:1] == ("secrets",):
        at = _SHAPE_OF_RANGED if location[1:2] in {("from",), ("before",)} else _SHAPE_OF_SECRET
        return location[:at] + location[at + 1 :]
    return location[:2] + location[3:] if location[:1] == ("sentinel",) else location


def _fault(error: ErrorDetails) -> str:
    location = _place(error)
    table, key = _table_name(location[:-1]), str(location[-1]) if location else ""
    if location[:1] in {("env",), ("secrets",)} and (wrong := _no_such_table(error)):
        return wrong
    if error["type"] == "extra_forbidden":
        known = keys_at(error["loc"][:-1])
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r} in {table}; {hint}"
    if error["type"] == "missing":
        return f"key {key!r} is missing in {table}"
    return f"{_key_name(location)}: {_reason(error)}"


def _no_such_table(error: ErrorDetails) -> str:
    """What is wrong where somebody wrote another name than ``from`` or ``before``; empty where it is something else."""
    table, name = error["loc"][0], str(error["loc"][1]) if len(error["loc"]) > 1 else ""
    kind = "string_type" if table == "env" else "extra_forbidden"
    if error["type"] != kind or name in {"from", "before"} or not isinstance(error.get("input"), Mapping):
        return ""
    near = difflib.get_close_matches(name, ("from", "before"), n=1, cutoff=0.5)
    hint = f"did you mean [{table}.{near[0]}]?" if near else f"[{table}] has values, and the tables from and before"
    return f"[{table}] {name}: is a table; {hint}"


def _reason(error: ErrorDetails) -> str:
    plain = {
        "string_type": "must be a string, in quotes",
        "bool_type": "must be true or false",
        "int_type": "must be a whole number",
        "tuple_type": "must be a list",
        "dict_type": "must be a table of strings",
        "model_type": "must be a table",
        "model_attributes_type": "must be a table",
        "union_tag_not_found": f"key 'kind' is missing: one of {_KINDS}",
        "union_tag_invalid": f"kind must be one of {_KINDS}",
        "too_short": "must not be empty",
    }
    text = error["msg"].removeprefix("Value error, ")
    return plain.get(error["type"], text[:1].lower() + text[1:])


def _table_name(location: tuple[int | str, ...]) -> str:
    names = [str(step) for step in location if isinstance(step, str)]
    if not names:
        return "the file's top level"
    return f"[[{_dotted(names)}]]" if any(isinstance(step, int) for step in location) else f"[{_dotted(names)}]"


def _key_name(location: tuple[int | str, ...]) -> str:
    names = [str(step) for step in location if isinstance(step, str)]
    if not names:
        return "recipe.toml"
    return names[0] if len(names) == 1 else f"[{_dotted(names[:-1])}] {names[-1]}"


def _dotted(names: Sequence[str]) -> str:
    return ".".join(name if re.fullmatch(r"[\w-]+", name, re.ASCII) else f'"{name}"' for name in names)
