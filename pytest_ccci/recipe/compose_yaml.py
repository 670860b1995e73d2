"""YAML as Docker reads it: any scalar is a value, only the first document counts, and each key has its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from pytest_ccci.errors import RecipeInvalid

__all__ = ["Document", "Path", "load_document", "load_yaml"]

Path = tuple[str | int, ...]
"""Where a value stands: keys of mappings, and numbers of items."""

_TAG = "tag:yaml.org,2002:"
_DEPTH, _NODES = 100, 100_000
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-f_]+|0o?[0-7_]+|[1-9][0-9_]*|0)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Document:
    """A file's value, the line (from 1) of each key and item in it, the keys that are there twice, and its tags."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    twice: tuple[tuple[Path, int], ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    """Each YAML tag that is written out (``!!binary``), with its line."""

    def line(self, path: Path) -> int:
        """The line of ``path``, or of the nearest thing around it; 1 when there is none."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 1)


def load_yaml(text: str, *, where: str) -> Any:
    """The value of the first document in ``text``; ``where`` names the file in an error.

    Raises:
        RecipeInvalid: it is no YAML, or larger than what a person writes.
    """
    return load_document(text, where=where).value


def load_document(text: str, *, where: str) -> Document:
    """The first document in ``text`` with the lines of its keys.

    Raises:
        RecipeInvalid: it is no YAML, or larger than what a person writes.
    """
    try:
        loader = _Loader(text)
        node = loader.get_node() if loader.check_node() else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise RecipeInvalid(f"this is no YAML: {what}", where=f"{where}{line}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        seen = "too many levels" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise RecipeInvalid(f"this is no YAML: {seen}", where=where) from error
    if node is None:
        return Document(None)
    made = _Maker(where)
    return Document(made.make(node, ()), made.lines, tuple(made.twice), tuple(loader.tags))


class _Loader(yaml.SafeLoader):
    """Stops where brackets go too deep: each level of them makes every further token slower. Notes tags."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags: list[tuple[str, int]] = []

    def fetch_tag(self) -> None:
        super().fetch_tag()
        tag = self.tokens[-1]
        handle, suffix = tag.value
        self.tags.append((f"{handle or ''}{suffix}", tag.start_mark.line + 1))

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803  PyYAML's name
        super().fetch_flow_collection_start(TokenClass)
        if self.flow_level > _DEPTH:
            raise yaml.scanner.ScannerError(None, None, "too many levels of brackets", self.get_mark())


class _Maker:
    """Makes plain values of nodes. What anchors repeat is counted each time, so that a small file stays small."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines: dict[Path, int] = {}
        self.twice: list[tuple[Path, int]] = []
        self._made = 0

    def make(self, node: yaml.Node, path: Path) -> Any:
        self._made += 1
        if len(path) > _DEPTH or self._made > _NODES:
            line = node.start_mark.line + 1
            raise RecipeInvalid("this YAML repeats itself without end, or is too large", where=f"{self.where}:{line}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(each, (*path, at)) for at, each in enumerate(node.value)]
        return _scalar(node)

    def _item(self, node: yaml.Node, path: Path) -> Any:
        self.lines[path] = node.start_mark.line + 1
        return self.make(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Any, Any]:
        table: dict[Any, Any] = {}
        own: set[str] = set()
        for key, value in self._pairs(node, path, 0):
            name = _key(key)
            place = (*path, name)
            line = key.start_mark.line + 1
            merged = not any(key is each for each, _ in node.value)
            if merged and name in table:
                continue
            if not merged and name in own:
                self.twice.append((place, line))
            if not merged:
                own.add(name)
            self.lines[place] = line
            table[name] = self.make(value, place)
        return table

    def _pairs(self, node: yaml.MappingNode, path: Path, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The mapping's own pairs, then those of what it merges (``<<``)."""
        if depth > _DEPTH:
            raise RecipeInvalid("this YAML merges itself", where=f"{self.where}:{node.start_mark.line + 1}")
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == f"{_TAG}merge":
                merges += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                yield key, value
        for each in merges:
            self._made += 1
            if self._made > _NODES:
                raise RecipeInvalid("this YAML merges itself", where=f"{self.where}:{node.start_mark.line + 1}")
            if isinstance(each, yaml.MappingNode):
                yield from self._pairs(each, path, depth + 1)


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        return "?"
    return str(node.value)


def _scalar(node: yaml.Node) -> Any:
    text = str(node.value)
    if node.tag == f"{_TAG}null":
        return None
    if node.tag == f"{_TAG}bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    if node.tag == f"{_TAG}int" and _INT.fullmatch(text) and any(map(str.isdigit, text)):
        return _whole(text.replace("_", ""))
    if node.tag == f"{_TAG}float":
        return _fraction(text)
    return None if node.tag == "!reset" else text


def _whole(text: str) -> Any:
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text.removeprefix("+"))
    octal = re.fullmatch(r"0([0-7]+)", digits)
    try:
        return int(f"{sign}0o{octal[1]}" if octal else f"{sign}{digits}", 0)
    except ValueError:
        return text


def _fraction(text: str) -> Any:
    try:
        number = float(text.replace("_", ""))
    except ValueError:
        return text  # base 60, infinity by name: Docker keeps such as text, or has no use for it
    return number if math.isfinite(number) else text
