"""``ccci lint``: what is wrong or risky in recipes, from their files alone."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.ops.lint import lint_folder
from pytest_ccci.recipe.findings import Finding, Level
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    command = add_command(
        commands,
        "lint",
        run,
        about="what is wrong or risky in recipes, by file and line; needs no engine and no network",
        settings=PLACE,
    )
    command.set_defaults(only_reads=True)
    command.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a folder with a recipe.toml, or a checkout of a recipe"
    )
    command.add_argument(
        "--format", choices=sorted(_FORMATS), default="text", help="github: annotations of a workflow (default: text)"
    )
    command.add_argument("--strict", action="store_true", help="end with 1 for warnings too")


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Lint. 0: nothing is wrong, though there may be warnings; 1: something is; 2: there is nothing to lint."""
    found = [(folder, lint_folder(folder, zone=settings.zone)) for folder in dict.fromkeys(args.folders)]
    _FORMATS[args.format](found, terminal)
    bad = [each for _, findings in found for each in findings if args.strict or each.level is Level.ERROR]
    return 1 if bad else 0


_Found = Iterable[tuple[Path, tuple[Finding, ...]]]


def _text(found: _Found, terminal: Terminal) -> None:
    count = dict.fromkeys(Level, 0)
    for folder, findings in found:
        for each in findings:
            count[each.level] += 1
            place = f"{each.file}:{each.line}" if each.file else str(folder)
            tone = "bad" if each.level is Level.ERROR else "warn"
            terminal.say(f"{place}: {each.level} {each.code}: {each.where}: {each.text}", tone)
            terminal.say(f"    why: {each.why}")
            terminal.say(f"    try: {each.mend}")
    told = ", ".join(f"{number} {level}{'' if number == 1 else 's'}" for level, number in count.items())
    terminal.say(told, "bad" if count[Level.ERROR] else "good")


def _json(found: _Found, terminal: Terminal) -> None:
    terminal.json(
        [
            {
                "recipe": str(folder),
                **dataclasses.asdict(each),
                "why": each.why,
                "mend": each.mend,
                "fatal": each.fatal,
            }
            for folder, findings in found
            for each in findings
        ]
    )


def _github(found: _Found, terminal: Terminal) -> None:
    for folder, findings in found:
        for each in findings:
            place = f"file={_property(each.file)},line={each.line}," if each.file else ""
            where = each.where if each.file else f"{folder}: {each.where}"
            text = f"{where}: {each.text}\n{each.why}; try: {each.mend}"
            terminal.raw(f"::{each.level} {place}title={_property(each.code)}::{_data(text)}")


def _data(text: str) -> str:
    """``text`` as a workflow command carries it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_FORMATS: dict[str, Callable[[_Found, Terminal], None]] = {"text": _text, "json": _json, "github": _github}
