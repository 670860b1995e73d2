"""On which line of a TOML file a key stands: the parser does not tell, a person wants to know."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

__all__ = ["Location", "find_line", "line_index"]

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
