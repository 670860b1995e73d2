"""The keys of recipe.toml as a table, for the reference page and for "did you mean"."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pytest_ccci.recipe.toml_schema import RecipeToml

__all__ = ["Key", "describe_keys", "json_schema", "keys_at"]

_NAMES: dict[object, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "duration",
    dict: "table of strings",
}


@dataclass(frozen=True)
class Key:
    """One key: its full name (``[[sentinel]] sql.database``), type, default (empty: required) and help."""

    name: str
    type: str
    default: str
    help: str


def describe_keys() -> tuple[Key, ...]:
    """Every key that recipe.toml may hold, in the order of the file's shape."""
    return tuple(_describe(RecipeToml, ""))


def json_schema() -> dict[str, Any]:
    """A JSON Schema of recipe.toml, for editors."""
    return RecipeToml.model_json_schema()


def keys_at(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys that a table of recipe.toml may hold; ``location`` as pydantic reports it, without the key itself."""
    tables: list[type[BaseModel]] = [RecipeToml]
    for step in location:
        if isinstance(step, int):
            continue
        inside = [table for each in tables if step in each.model_fields for table in _tables(_annotation(each, step))]
        # A step that is no field is the tag of a union: it picks one of its members.
        tables = inside or [each for each in tables if _tag(each) == step] or tables
    return tuple(dict.fromkeys(name for each in tables for name in each.model_fields))


def _describe(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, info in model.model_fields.items():
        full = f"{prefix}{name}"
        inner = _tables(info.annotation)
        yield Key(full, _type(info.annotation), _default(info), info.description or "")
        many = "[]" if typing.get_origin(info.annotation) is tuple else ""
        for table in inner:
            tag = f"({_tag(table)})" if _tag(table) else ""
            yield from _describe(table, f"{full}{many}{tag}.")


def _annotation(model: type[BaseModel], name: str) -> object:
    return model.model_fields[name].annotation


def _tables(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in typing.get_args(annotation) for table in _tables(part)]


def _tag(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    return str(typing.get_args(field.annotation)[0]) if field else ""


def _type(annotation: object) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(args[0])
    if origin is Literal:
        return " | ".join(f'"{value}"' for value in args)
    if origin in {types.UnionType, typing.Union}:
        return " | ".join(dict.fromkeys(_type(arg) for arg in args if arg is not type(None)))
    if origin is tuple and not _tables(annotation):
        return f"list of {_type(args[0])}"
    if _tables(annotation):
        return "tables" if origin is tuple else "table"
    return _NAMES.get(origin or annotation, str(annotation))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return ""
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel) or value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
