"""The command in a comment: exactly `!testme`, `!testme --quick` or `!testme <full commit id>`, in its first line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Command", "Mode", "parse_command"]

Mode = Literal["cold", "quick"]

_WORD = "!testme"
_MODES: Mapping[str, Mode] = {"": "cold", " --quick": "quick"}
_NAMED = re.compile(r" [0-9a-f]{40}", re.ASCII)
_CODE = 4
"""So many blanks at the beginning of a line make it code, in Markdown."""


@dataclass(frozen=True)
class Command:
    """What a comment asks for. ``problem`` is why it is no command though it begins like one; empty where it is one.

    ``commit`` is the full id that the comment names; empty for the pull request's head.
    """

    mode: Mode = "cold"
    commit: str = ""
    problem: str = ""


def parse_command(text: str) -> Command | None:
    """The command in the first line of ``text``; ``None`` where the comment does not begin like one.

    Blanks at the line's end do not matter; all else does. A quote (``>``) or code never begins like a command.
    """
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    plain = line.lstrip(" \t")
    indent = line[: len(line) - len(plain)].expandtabs(_CODE)
    if not plain.lower().startswith(_WORD) or len(indent) >= _CODE:
        return None
    if not line.startswith(_WORD):
        return Command(problem="the command is written in small letters, at the very beginning of the comment")
    words = line.rstrip(" \t").removeprefix(_WORD)
    if words in _MODES:
        return Command(mode=_MODES[words])
    if _NAMED.fullmatch(words):
        return Command(commit=words[1:])
    if re.fullmatch(r" [0-9a-fA-F]{4,64}", words):
        return Command(problem="a commit is named by its full id: 40 digits of 0-9 and a-f, in small letters")
    return Command(problem="what follows !testme is not known")
