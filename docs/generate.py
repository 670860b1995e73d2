"""Writes the generated parts of these pages anew, from what the code says: ``python docs/generate.py``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``; ``tests/repo`` holds that
every one is current.
"""  # noqa: INP001  a script beside the pages it writes

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import runpy
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from pytest_ccci.cli import parser
from pytest_ccci.plugin.fixtures import RunInfo
from pytest_ccci.recipe.findings import KINDS
from pytest_ccci.recipe.spec import Key, describe_keys
from pytest_ccci.results.junit import PROPERTIES
from pytest_ccci.results.model import (
    CoveredPath,
    CustomTest,
    DisposablePlace,
    Evidence,
    ImageUse,
    KnownGoodChange,
    LintFinding,
    RefFact,
    RunResult,
    StepResult,
    TierResult,
)
from pytest_ccci.run.app import App
from pytest_ccci.run.known_good import CanonicalView, SnapshotView
from pytest_ccci.settings import OPTIONS
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.realm_model import RealmLease, User

__all__ = ["PARTS", "main", "renewed"]

FOLDER = Path(__file__).resolve().parent
PACKAGE = FOLDER.parent / "pytest_ccci"
PART = re.compile(r"(<!-- generated: ([a-z]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


def keys() -> str:
    """Every key of recipe.toml, by table."""
    groups: dict[str, list[Key]] = {}
    for key in describe_keys():
        groups.setdefault(key.name.rpartition(".")[0], []).append(key)
    parts = []
    for group, members in groups.items():
        rows = [_key_row(key) for key in members if key.type not in {"table", "tables"}]
        if rows:
            parts += [f"### {_heading(group)}", "", table(("key", "type", "default", "what it says"), rows), ""]
    return "\n".join(parts)


def _heading(group: str) -> str:
    if not group:
        return "Top level"
    kind = re.fullmatch(r"(\w+)\[\]\((\w+)\)", group)
    if kind:
        return f'`[[{kind[1]}]]` with `kind = "{kind[2]}"`'
    return f"`[[{group[:-2]}]]`" if group.endswith("[]") else f"`[{group}]`"


def _key_row(key: Key) -> tuple[str, ...]:
    default = {"": "**required**", "none": ""}.get(key.default, f"`{key.default}`")
    return f"`{key.name.rpartition('.')[2]}`", key.type.replace('"', "`"), default, key.help


def options() -> str:
    """Every option, in all its spellings."""
    rows = (
        (
            f"`{option.flag}={option.metavar}`",
            f"`{option.ini}`",
            f"`{option.env}`",
            f"`{option.default}`" if option.default else "",
            option.help,
        )
        for option in OPTIONS
    )
    return table(("option", "ini key", "environment", "default", "what it does"), rows)


def commands() -> str:
    """The subcommands of ``ccci``."""
    (group,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001  argparse has no public way
    rows = ((f"`ccci {each.dest}`", each.help or "") for each in group._choices_actions)  # noqa: SLF001  the same
    return table(("command", "what it does"), rows)


def state() -> str:
    """The state directory, as the code lays it out."""
    place = StateDir(Path("/"))
    rows = []
    for name, member in vars(StateDir).items():
        if isinstance(member, property):
            path = getattr(place, name).relative_to("/")
            rows.append((f"`{path}`" if path.suffix else f"`{path}/`", inspect.getdoc(member) or ""))
    return table(("path", "what is kept there"), rows)


def fixtures() -> str:
    """What the typed objects behind the fixtures hold."""
    kinds: tuple[tuple[str, type], ...] = (
        ("`app`", App),
        ("`keycloak_realm`", RealmLease),
        ("`keycloak_realm.users[…]`", User),
        ("`canonical`", CanonicalView),
        ("`snapshot`", SnapshotView),
        ("`ccci_run`", RunInfo),
    )
    parts = []
    for title, kind in kinds:
        parts += [
            f"### {title}",
            "",
            inspect.getdoc(kind) or "",
            "",
            table(("name", "type", "what it is"), _members(kind)),
            "",
        ]
    return "\n".join(parts)


def _members(kind: type) -> Iterator[tuple[str, str, str]]:
    for field in dataclasses.fields(kind):
        if not field.name.startswith("_") and field.repr | ("secret" in field.name) | (field.name == "password"):
            yield f"`{field.name}`", f"`{field.type}`", ""
    for name, member in vars(kind).items():
        if name.startswith("_") or isinstance(member, classmethod | staticmethod):
            continue
        function = getattr(member, "fget", None) or getattr(member, "func", None) or member
        if callable(function) and (text := inspect.getdoc(function)):
            called = member is function
            yield f"`{name}{_signature(function) if called else ''}`", _returns(function), text.partition("\n")[0]


def _signature(function: Callable[..., object]) -> str:
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return f"({', '.join(names)})"


def _returns(function: Callable[..., object]) -> str:
    return f"`{inspect.signature(function).return_annotation}`"


def results() -> str:
    """The fields of results.json."""
    kinds = (
        RunResult,
        RefFact,
        TierResult,
        StepResult,
        CustomTest,
        KnownGoodChange,
        CoveredPath,
        DisposablePlace,
        ImageUse,
        LintFinding,
        Evidence,
    )
    parts = []
    for kind in kinds:
        rows = (
            (f"`{name}`", _type(info.annotation, kinds), _default(info)) for name, info in kind.model_fields.items()
        )
        parts += [
            f"### {kind.__name__}",
            "",
            inspect.getdoc(kind) or "",
            "",
            table(("field", "type", "default"), rows),
            "",
        ]
    return "\n".join(parts)


def _type(annotation: object, known: tuple[type[BaseModel], ...]) -> str:
    name, args = getattr(annotation, "__name__", ""), typing.get_args(annotation)
    if annotation in known:
        return f"[{name}](#{name.lower()})"
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    inner = [_type(arg, known) for arg in args if arg is not Ellipsis]
    if origin in {tuple, dict}:
        return f"list of {inner[0]}" if origin is tuple else f"object of {inner[1]}"
    plain = {
        "str": "string",
        "float": "number",
        "bool": "boolean",
        "int": "integer",
        "NoneType": "null",
        "Verdict": "[verdict](#verdicts)",
    }
    return " or ".join(inner) or plain[name]


def _default(info: typing.Any) -> str:
    if info.is_required():
        return "**always given**"
    value = info.get_default(call_default_factory=True, validated_data={})
    return "" if value in ("", None, (), {}) or isinstance(value, BaseModel) else f"`{str(value).lower()}`"


def lint() -> str:
    """Every kind of finding."""
    rows = (
        (f"`{code}`", "refused" if kind.fatal else kind.level.value, kind.why, kind.mend)
        for code, kind in sorted(KINDS.items())
    )
    return table(("code", "level", "what it means", "what to do"), rows)


def properties() -> str:
    """The names of the junit properties."""
    return ", ".join(f"`ccci.{name}`" for name in PROPERTIES)


def modules() -> str:
    """Every module by layer, the highest first, with the first paragraph of its docstring."""
    order = runpy.run_path(str(FOLDER.parent / "tests" / "repo" / "test_directions.py"))["LAYERS"]
    parts = []
    for layer in reversed(order):
        doors = [name for name in sorted(layer) if (PACKAGE / f"{name}.py").is_file()]
        if doors:
            rows = ((f"`{name}`", _about(PACKAGE / f"{name}.py")) for name in doors)
            parts += ["### Top-level modules", "", table(("module", "what it is or does"), rows), ""]
        for name in sorted(set(layer) - set(doors)):
            files = [path for path in sorted((PACKAGE / name).rglob("*.py")) if path.stem != "__init__"]
            rows = ((f"`{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}`", _about(path)) for path in files)
            about = _about(PACKAGE / name / "__init__.py")
            parts += [f"### {name}", "", about, "", table(("module", "what it is or does"), rows), ""]
    return "\n".join(parts)


def _about(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


PARTS: Mapping[str, Callable[[], str]] = {
    "keys": keys,
    "options": options,
    "commands": commands,
    "lint": lint,
    "modules": modules,
    "state": state,
    "fixtures": fixtures,
    "results": results,
    "properties": properties,
}


def renewed(text: str) -> str:
    """``text`` with every generated part written anew."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]().rstrip()}\n\n{found[3]}", text)


def main() -> None:
    """Renew every page that has a generated part."""
    for page in (*sorted(FOLDER.glob("*.md")), FOLDER.parent / "README.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(renewed(text), encoding="utf-8")


if __name__ == "__main__":
    main()
