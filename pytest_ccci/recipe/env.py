"""The environment an app is deployed with: the ``.env`` dialect, ``abra.sh``, templates, and the env file for abra."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pytest_ccci.errors import InfrastructureFault, RecipeInvalid, RecipeTomlError
from pytest_ccci.recipe.compose_files import read_compose
from pytest_ccci.recipe.tree import RecipeTree
from pytest_ccci.statedir import write_atomic

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

__all__ = [
    "AppEnv",
    "EnvFile",
    "SecretSpec",
    "app_env",
    "env_file",
    "expand",
    "parse_env",
    "parse_exports",
    "render",
    "render_all",
    "write_abra_env",
    "write_env",
]

_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=(.*)", re.DOTALL)
_OFF = re.compile(r"\s*#[#\s]*([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\\(\$)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_NAME_IN_WORD = re.compile(r"\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)", re.ASCII)
_SETTING = re.compile(r"(\w+)=(\S+)", re.ASCII)
_SECRET = re.compile(r"SECRET_.+_VERSION", re.ASCII)
_EXPORT = re.compile(r"export[ \t]+(.*)")
_ASSIGN = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=", re.ASCII)


@dataclass(frozen=True)
class SecretSpec:
    """How a secret is made. ``length`` in characters; ``None`` asks for a passphrase."""

    variable: str
    length: int | None = None
    charset: str = "default"
    generate: bool = True


@dataclass(frozen=True)
class EnvFile:
    """What an env file says: values by name, and what its comments say about secrets.

    ``offered`` are the values of lines that are commented out; their comments count where no line that is on says more.
    """

    values: Mapping[str, str]
    secrets: tuple[SecretSpec, ...] = ()
    offered: Mapping[str, str] = field(default_factory=dict)


def parse_env(text: str, *, given: Mapping[str, str] = MappingProxyType({}), where: str = ".env.sample") -> EnvFile:
    """Read an env file. ``given`` stands for lines somebody edited: it wins over the file's, also in references.

    Lines that are neither an assignment nor a comment are passed over, as dotenv readers do. A value in quotes goes on
    to the closing quote, over as many lines as that takes, as in Docker's and abra's readers.

    Raises:
        RecipeInvalid: a quote is never closed, or more stands behind one that closes in a later line; with the line.
    """
    values: dict[str, str] = {}
    secrets: dict[str, SecretSpec] = {}
    offered: dict[str, str] = {}
    off: dict[str, SecretSpec] = {}
    rows = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    last = -1
    for at, row in enumerate(rows):
        if at <= last:
            continue
        if disabled := _OFF.fullmatch(row):
            name = disabled[1]
            offered[name], comment = _value(disabled[2], values)
            if spec := _secret(name, comment):
                off[name] = spec
        elif not row.lstrip().startswith("#") and (found := _LINE.fullmatch(row)):
            name = found[1]
            rest, last = _whole(found[2], rows, at, name=name, where=where)
            value, comment = _value(rest, values)
            values[name] = given.get(name, value)
            if spec := _secret(name, comment):
                secrets[name] = spec
    off = {name: spec for name, spec in off.items() if name not in values}
    values.update({name: value for name, value in given.items() if name not in values})
    return EnvFile(values, (*secrets.values(), *off.values()), offered)


def write_env(values: Mapping[str, str]) -> str:
    """An env file that :func:`parse_env` reads back as ``values``.

    Raises:
        ValueError: a value holds a carriage return, or both kinds of quotes that the dialect cannot carry together.
    """
    return "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())


def expand(text: str, values: Mapping[str, str]) -> str:
    r"""Replace ``$NAME`` and ``${NAME}`` by ``values``; unknown names become empty, ``\$`` is a plain dollar."""
    return _VARIABLE.sub(lambda hit: hit[1] or values.get(hit[2] or hit[3] or "", ""), text)


def parse_exports(text: str, values: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The ``export NAME=word`` lines of a shell script, at the left margin only, so that function bodies stay out.

    ``values`` (and earlier exports) fill in plain references. A word that would need a shell (``$(…)``, backticks,
    ``${X:-y}``) is left out: nothing of a recipe is ever executed here.
    """
    exports: dict[str, str] = {}
    for row in text.splitlines():
        found = _EXPORT.match(row)
        rest = found[1] if found else ""
        while (hit := _ASSIGN.match(rest)) is not None:
            word, rest = _word(rest[hit.end() :], {**values, **exports})
            if word is not None:
                exports[hit[1]] = word
            rest = rest.lstrip(" \t")
    return exports


def _whole(rest: str, rows: Sequence[str], at: int, *, name: str, where: str) -> tuple[str, int]:
    """What stands behind ``=`` in row ``at``, to the end of the row where a quote closes; and which row that is."""
    quote = rest.lstrip()[:1]
    if quote not in {"'", '"'} or _closing(rest.lstrip()) > 0:
        return rest, at
    block = "\n".join((rest, *rows[at + 1 :])).lstrip()
    end = _closing(block)
    if end < 0:
        raise RecipeInvalid(
            f"the quote with which the value of {name} begins is never closed",
            where=f"{where}:{at + 1}",
            advice="close it, or put the value into the other kind of quotes",
        )
    last, tail = at + block.count("\n", 0, end), block[end + 1 :].partition("\n")[0]
    if tail.strip() and not tail.lstrip().startswith("#"):
        raise RecipeInvalid(
            f"the quote with which the value of {name} begins closes in line {last + 1}, and more stands behind it",
            where=f"{where}:{at + 1}",
            advice="close it in the line where it begins, or put nothing but a comment behind it",
        )
    return block[: end + 1] + tail, last


def _value(rest: str, values: Mapping[str, str]) -> tuple[str, str]:
    """The value and the comment of what stands behind ``=``."""
    text = rest.strip()
    if text[:1] == "'" and (end := _closing(text)) > 0:
        return text[1:end], _comment(text[end + 1 :])
    if text[:1] == '"' and (end := _closing(text)) > 0:
        inner = text[1:end].replace('\\"', '"').replace("\\n", "\n")
        return expand(inner, values), _comment(text[end + 1 :])
    # A bare value ends where a blank is followed by "#": many recipes align their comments with blanks.
    bare, mark, comment = re.split(r"(^|\s)#", rest, maxsplit=1)[0], "#", ""
    if len(bare) < len(rest):
        comment = rest[len(bare) :].partition(mark)[2]
    return expand(bare.strip(), values), comment.strip()


def _comment(tail: str) -> str:
    return tail.partition("#")[2].strip()


def _closing(text: str) -> int:
    """Where the quote closes with which ``text`` begins; -1 for nowhere. Only double ones can be escaped."""
    at = 1
    while at < len(text):
        if text[at] == "\\" and text[0] == '"':
            at += 1
        elif text[at] == text[0]:
            return at
        at += 1
    return -1


def _secret(variable: str, comment: str) -> SecretSpec | None:
    """How the secret of which ``variable`` carries the version is made; ``None`` where the line speaks of none."""
    said = {name.lower(): value for name, value in _SETTING.findall(comment)}
    if not _SECRET.fullmatch(variable) and not said.keys() & {"length", "charset", "generate"}:
        return None
    length = said.get("length", "")
    return SecretSpec(
        variable=variable,
        length=int(length) if re.fullmatch(r"[1-9]\d{0,5}", length, re.ASCII) else None,
        charset=said.get("charset", "default").lower(),
        generate=said.get("generate", "true").lower() not in {"false", "no", "0"},
    )


def _quoted(value: str) -> str:
    if "\r" in value:
        raise ValueError("an env file holds no carriage returns")
    if "'" not in value:
        return f"'{value}'" if re.search(r"""[\s#$"\\`,]""", value) else value
    if '"' in value or "\\" in value or "$" in value:
        raise ValueError("an env file cannot carry single quotes beside double quotes, dollars or backslashes")
    return f'"{value}"'


def _word(text: str, values: Mapping[str, str]) -> tuple[str | None, str]:
    """The shell word that ``text`` begins with (``None`` if it takes a shell), and what follows it."""
    parts: list[str] = []
    at, plain = 0, True
    while at < len(text) and text[at] not in " \t;&|":
        piece, literal, at = _piece(text, at)
        plain = plain and (literal or _is_plain(piece))
        parts.append(piece if literal else _NAME_IN_WORD.sub(lambda hit: values.get(hit[1] or hit[2], ""), piece))
    rest = text[at:]
    if rest[:1] in {";", "&", "|"} or rest.lstrip().startswith("#"):
        rest = ""
    return ("".join(parts) if plain else None), rest


def _piece(text: str, at: int) -> tuple[str, bool, int]:
    """One quoted or bare stretch from ``at``: its text, whether it is literal, and where it ends."""
    quote = text[at]
    if quote in "'\"":
        end = text.find(quote, at + 1)
        end = len(text) if end < 0 else end
        return text[at + 1 : end], quote == "'", end + 1
    stop = re.compile(r"[\s'\";&|]").search(text, at)
    end = stop.start() if stop else len(text)
    return text[at:end], False, end


def _is_plain(piece: str) -> bool:
    bare = _NAME_IN_WORD.sub("", piece)
    return "$" not in bare and "`" not in bare and "\\" not in bare


_REFERENCE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)


@dataclass(frozen=True)
class AppEnv:
    """Variables, compose files in order, and how each secret of the compose files is made.

    ``secret_variables`` maps a secret's compose key to the variables of its name, of which the last carries its
    version; ``left_out`` are compose files that an older version was asked for and does not have.
    """

    values: Mapping[str, str] = field(repr=False)
    compose_files: tuple[Path, ...]
    secrets: tuple[SecretSpec, ...] = ()
    secret_variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def app_env(tree: RecipeTree, *, domain: str, stack: str, overrides: Mapping[str, str], older: bool = False) -> AppEnv:
    """Everything a deploy of ``tree`` at ``domain`` interpolates. ``overrides`` are rendered already.

    An ``older`` version than the one that is tested goes without the compose files of ``overrides`` that it lacks.

    Raises:
        RecipeInvalid: ``COMPOSE_FILE`` names a file that is not in the recipe, or ``.env.sample`` cannot be read.
    """
    chain = overrides.get("COMPOSE_FILE")
    given = {name: value for name, value in overrides.items() if name != "COMPOSE_FILE"} | {"DOMAIN": domain}
    sample = parse_env(tree.env_sample, given=given)
    values = dict(sample.values)
    left_out: tuple[str, ...] = ()
    if chain is not None:
        names = _chain(expand(chain, values))
        left_out = tuple(name for name in names if not tree.has(name)) if older else ()
        values["COMPOSE_FILE"] = ":".join(name for name in names if name not in left_out)
    values |= parse_exports(tree.abra_sh, values)
    values["STACK_NAME"] = stack
    files = _compose_files(tree, values.get("COMPOSE_FILE", ""))
    return AppEnv(values, files, sample.secrets, _secret_variables(files, tree.path), left_out)


def env_file(env: AppEnv, *, recipe: str, version: str) -> Mapping[str, str]:
    """What an abra env file of this app holds: its variables, and ``TYPE``."""
    hidden = {"STACK_NAME"}
    return {"TYPE": f"{recipe}:{version}"} | {k: v for k, v in env.values.items() if k not in hidden | {"TYPE"}}


def _chain(text: str) -> list[str]:
    return [name for part in text.split(":") if (name := part.strip())]


def _compose_files(tree: RecipeTree, chain: str) -> tuple[Path, ...]:
    return tuple(tree.file(name) for name in dict.fromkeys(_chain(chain) or ["compose.yml"]))


def _secret_variables(files: tuple[Path, ...], within: Path) -> dict[str, tuple[str, ...]]:
    """The variables in the name of each secret: key, remote name and variable differ in real recipes."""
    found: dict[str, tuple[str, ...]] = {}
    for path in files:
        for key, raw in _secrets_of(path, within).items():
            names = [name for name in _REFERENCE.findall(_remote_name(raw)) if name != "STACK_NAME"]
            if names:
                found[str(key)] = tuple(names)
    return found


def _remote_name(raw: object) -> str:
    table = raw if isinstance(raw, Mapping) else {}
    external = table.get("external")
    nested = external.get("name") if isinstance(external, Mapping) else ""
    return str(table.get("name") or nested or "")


def _secrets_of(path: Path, within: Path) -> Mapping[str, Any]:
    file = read_compose(path, within=within)
    if file.problem is not None:
        raise file.problem
    return file.table("secrets")


_MARK = "# Written by pytest-ccci, which writes it anew at each deploy of this app.\n"


def write_abra_env(abra: Path | None, env: AppEnv, *, recipe: str, version: str, domain: str) -> str:
    """Write the env file of the app at ``domain``; why it was not written, empty when it was or nobody wants one.

    ``abra`` is abra's own directory, ``None`` where there is none.
    """
    if abra is None or not (folder := abra / "servers" / "default").is_dir():
        return ""
    path = folder / f"{domain}.env"
    try:
        if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
            return f"{path} is not one of ours and stays as it is"
        text = _MARK + write_env(env_file(env, recipe=recipe, version=version))
        write_atomic(path, text.encode())
    except ValueError as error:  # a value that the dialect cannot carry
        return f"{path} was not written: {error}"
    except OSError as error:
        return str(InfrastructureFault("the env file for abra could not be written", where=str(path), seen=str(error)))
    return ""


def render(text: str, context: Mapping[str, Any], *, where: str = "") -> str:
    """``text`` with its ``{{ … }}`` filled from ``context``; ``where`` names file and key in an error.

    Raises:
        RecipeTomlError: a template that cannot be read, or a name that is not in ``context``.
    """
    if "{" not in text:
        return text
    from jinja2 import TemplateError  # noqa: PLC0415  light until a recipe is run

    try:
        return _sandbox().from_string(text).render(context)
    except (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        # The value itself may hold secrets by now: only the template as written and the reason are shown.
        raise RecipeTomlError(
            f"template {text!r}: {error}",
            where=where,
            advice=f"known names: {', '.join(sorted(context)) or 'none'}",
        ) from None


def render_all(values: Mapping[str, str], context: Mapping[str, Any], *, where: str = "") -> dict[str, str]:
    """Each value rendered; an error names its key."""
    return {key: render(value, context, where=f"{where}, key {key}".lstrip(", ")) for key, value in values.items()}


@cache
def _sandbox() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined  # noqa: PLC0415  light until a recipe is run
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  the same

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
