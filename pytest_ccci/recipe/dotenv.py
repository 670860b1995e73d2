"""The ``.env`` dialect of Co-op Cloud recipes, and the ``export`` lines of ``abra.sh``: parsed, never executed.

The dialect, as real recipes write it: no ``export``; later keys win; single quotes are literal; double quotes and
bare values see the variables of earlier lines; many blanks before an inline comment; ``KEY=`` is empty; ``#KEY=`` is
disabled. A secret's length and charset stand in the comment of its ``SECRET_…_VERSION`` line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["EnvFile", "SecretSpec", "expand", "parse_env", "parse_exports", "write_env"]

_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=(.*)", re.DOTALL)
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
    """What an env file says: values by name, and what its comments say about secrets."""

    values: Mapping[str, str]
    secrets: tuple[SecretSpec, ...] = ()


def parse_env(text: str, *, given: Mapping[str, str] = MappingProxyType({})) -> EnvFile:
    """Read an env file. ``given`` stands for lines somebody edited: it wins over the file's, also in references.

    Lines that are neither an assignment nor a comment are passed over, as dotenv readers do.
    """
    values: dict[str, str] = {}
    secrets: dict[str, SecretSpec] = {}
    for row in text.removeprefix("\ufeff").splitlines():
        found = None if row.lstrip().startswith("#") else _LINE.fullmatch(row)
        if found is None:
            continue
        name, rest = found[1], found[2]
        value, comment = _value(rest, values)
        values[name] = given.get(name, value)
        if _SECRET.fullmatch(name):
            secrets[name] = _secret(name, comment)
    values.update({name: value for name, value in given.items() if name not in values})
    return EnvFile(values, tuple(secrets.values()))


def write_env(values: Mapping[str, str]) -> str:
    """An env file that :func:`parse_env` reads back as ``values``.

    Raises:
        ValueError: a value holds a line break or both kinds of quotes that the dialect cannot carry together.
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


def _value(rest: str, values: Mapping[str, str]) -> tuple[str, str]:
    """The value and the comment of what stands behind ``=``."""
    text = rest.strip()
    if text[:1] == "'" and (end := text.find("'", 1)) > 0:
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
    at = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            return at
        at += 1
    return -1


def _secret(variable: str, comment: str) -> SecretSpec:
    said = {name.lower(): value for name, value in _SETTING.findall(comment)}
    length = said.get("length", "")
    return SecretSpec(
        variable=variable,
        length=int(length) if re.fullmatch(r"[1-9]\d{0,5}", length, re.ASCII) else None,
        charset=said.get("charset", "default").lower(),
        generate=said.get("generate", "true").lower() not in {"false", "no", "0"},
    )


def _quoted(value: str) -> str:
    if len(value.splitlines()) > 1 or value.endswith(("\n", "\r")):
        raise ValueError("an env file holds no line breaks")
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
