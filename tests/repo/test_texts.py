"""What may not stand in any tracked file: promises for later, somebody's home, private keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LATER = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X\\b", "HA" + "CK\\b")))
HOME = re.compile(r"(?<![\w.])/(?:home|Users)/[a-z][\w.-]+/")
KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE " + "KEY-----")


def texts(tracked: tuple[Path, ...], root: Path) -> dict[str, str]:
    """The tracked text files by their name in the tree, without licences of others."""
    found = {}
    for path in tracked:
        raw = path.read_bytes()
        if b"\0" not in raw[:4096]:
            found[str(path.relative_to(root))] = raw.decode("utf-8", "replace")
    return found


def naming(files: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """Places where ``pattern`` stands."""
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_later(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), LATER) == []


def test_no_private_key_is_tracked(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), KEY) == []


def test_no_file_names_somebodys_home(tracked: tuple[Path, ...], root: Path) -> None:
    assert naming(texts(tracked, root), HOME) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (LATER, "# TO" + "DO later"),
        (HOME, "path = '/ho" + "me/somebody/recipes'"),
        (KEY, "-----BEGIN RSA PRIVATE " + "KEY-----"),
    ],
)
def test_a_planted_text_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert len(naming({"planted.md": f"fine\n{line}\n"}, pattern)) == 1
