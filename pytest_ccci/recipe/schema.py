"""The shape of recipe.toml: keys with types, defaults and help, and the same as a table for the reference page."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.fields import FieldInfo

from pytest_ccci.recipe.releases import parse_bound
from pytest_ccci.settings import parse_duration

__all__ = [
    "UNRELEASED",
    "Charset",
    "Disposable",
    "EnvTable",
    "FileSentinel",
    "Health",
    "HttpSentinel",
    "Key",
    "KeycloakNeed",
    "Needs",
    "NotApplicable",
    "Policy",
    "PythonSentinel",
    "RecipeToml",
    "SecretRule",
    "SecretsTable",
    "Sentinel",
    "SourceTable",
    "SqlSentinel",
    "describe_keys",
    "json_schema",
    "keys_at",
]

UNRELEASED = "unreleased"
"""Instead of a version: what is in no release yet."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError('write a duration in quotes, like "90s", "5m" or "1h30m"')


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be longer than nothing")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/") or any(mark in value for mark in "\r\n\0"):
        raise ValueError("must begin with a slash")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _no_option(value: str) -> str:
    if value.startswith("-") or any(ord(mark) < ord(" ") for mark in value):
        raise ValueError("must not begin with a hyphen or hold control characters")
    return _filled(value)


def _variable_names(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a variable")
    return value


def _version(value: str) -> str:
    if parse_bound(value) is None and value != UNRELEASED:
        raise ValueError(
            "is no version: write a release or its recipe version, as in "
            f'[env.from."2.0.0+4.8.1"], in quotes, or "{UNRELEASED}"'
        )
    return value


def _older_than(value: str) -> str:
    if value == UNRELEASED:
        raise ValueError("what is released is before it anyway: name a version, or put it into [env.before] of one")
    return _version(value)


def _status(value: int) -> int:
    if not 100 <= value <= 599:  # noqa: PLR2004  RFC 9110 §15
        raise ValueError(f"{value} is no HTTP status")
    return value


def _kept(value: int) -> int:
    if not 1 <= value <= 99:  # noqa: PLR2004  snapshots take room; a slip of the hand should not fill a disk
        raise ValueError("must be 1 or more, and below 100")
    return value


def _waivable(value: object) -> object:
    if value in {"install", "settle"}:
        raise ValueError(f"the tier {value} always applies: without it nothing else would mean anything")
    return value


Text = Annotated[str, AfterValidator(_filled)]
UrlPath = Annotated[str, AfterValidator(_absolute)]
Seconds = Annotated[float, BeforeValidator(_duration), AfterValidator(_positive)]
Place = Annotated[str, AfterValidator(_no_option)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)


class SourceTable(_Table):
    """Where the recipe comes from."""

    git: Place | None = Field(None, description="URL of the recipe's git repository.")
    path: Place | None = Field(
        None, description="A git work tree or a plain directory, relative to this folder; its tip is the working tree."
    )
    bundled: Place | None = Field(
        None, description="A folder of numbered releases inside this one, made into a git repository."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> SourceTable:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of git, path, bundled")
        return self


Variables = Annotated[dict[str, str], AfterValidator(_variable_names)]
Version = Annotated[str, AfterValidator(_version)]
OlderThan = Annotated[str, AfterValidator(_older_than)]


class _VersionedTable(_Table):
    """Values for every version, and tables of values for some. What is neither ``from`` nor ``before`` is a value."""

    model_config = ConfigDict(extra="allow")
    ANY: ClassVar[tuple[str, str, str]]
    """How the reference page names a value, its type, and what it says of it."""
    TABLE: ClassVar[type[BaseModel] | None] = None
    """What a value may be besides a string."""


class EnvTable(_VersionedTable):
    """Variables merged over `.env.sample`."""

    ANY = ("VARIABLE", "string", "A variable, merged over `.env.sample`; the value is a template.")
    __pydantic_extra__: dict[str, str]
    since: dict[Version, Variables] = Field(
        default_factory=dict,
        alias="from",
        description='`[env.from."VERSION"]`: variables from that version on; `unreleased` is what no release holds.',
    )
    before: dict[OlderThan, Variables] = Field(
        default_factory=dict,
        description='`[env.before."VERSION"]`: variables of the versions older than that one.',
    )

    @model_validator(mode="after")
    def _named(self) -> EnvTable:
        _variable_names(self.__pydantic_extra__)
        return self


Charset = Literal["default", "alnum", "alphanum", "hex", "special", "safespecial"]


class SecretRule(_Table):
    """How a secret is made, over what the comment of its variable in `.env.sample` says."""

    length: Annotated[int, Field(ge=1, le=999_999)] | None = Field(None, description="How many characters it has.")
    charset: Charset | None = Field(None, description="Of which characters.")
    generate: bool | None = Field(
        None, description="`true`: it is made although the recipe says that it must be given."
    )

    @model_validator(mode="after")
    def _says_something(self) -> SecretRule:
        if self.generate is False:
            raise ValueError("a secret that is not made must be given: give its value, as a string")
        if not self.model_fields_set:
            raise ValueError("give at least one of length, charset, generate; or its value, as a string")
        return self


def _given_or_made(value: object) -> str:
    return "made" if isinstance(value, Mapping | SecretRule) else "given"


SecretValue = Annotated[
    Annotated[str, Tag("given")] | Annotated[SecretRule, Tag("made")], Discriminator(_given_or_made)
]


class SecretsTable(_VersionedTable):
    """Secrets: given, or made as is said here."""

    ANY = (
        "SECRET",
        "string or table",
        "A secret by its name. A string is its value, a template; a table says how it is made.",
    )
    TABLE = SecretRule
    __pydantic_extra__: dict[str, SecretValue]
    since: dict[Version, dict[str, SecretValue]] = Field(
        default_factory=dict,
        alias="from",
        description='`[secrets.from."VERSION"]`: secrets from that version on; `unreleased` is what no release holds.',
    )
    before: dict[OlderThan, dict[str, SecretValue]] = Field(
        default_factory=dict,
        description='`[secrets.before."VERSION"]`: secrets of the versions older than that one.',
    )


class Health(_Table):
    """How we see that the app serves."""

    kind: Literal["http", "tcp", "exec", "none"] = Field(
        "http",
        description="`http`: it answers a request; `tcp`: it takes connections; `exec`: a command in a container ends "
        "well; `none`: nothing is asked but that its tasks stay up and healthy.",
    )
    path: UrlPath = Field("/", description="`http`: the path that is asked for.")
    host: Text | None = Field(
        None,
        description="`http`: another host of the app in the zone, like `files-{{ domain }}`; default: its domain.",
    )
    accept: tuple[Annotated[int, AfterValidator(_status)], ...] = Field(
        (200, 301, 302), min_length=1, description="`http`: statuses that count as serving."
    )
    service: Text = Field("app", description="`tcp`, `exec`, and `http` with a port: the service that is asked.")
    port: Annotated[int, Field(ge=1, le=65_535)] | None = Field(
        None, description="`tcp`: the container's port. `http`: the same, asked past Traefik and without TLS."
    )
    command: tuple[Text, ...] = Field((), description="`exec`: the program and its arguments; no shell.")
    reason: Text | None = Field(None, description="`none`: why there is nothing to ask; shown in results.")
    timeout: Seconds | None = Field(
        None,
        description="How long the app may take until it serves, like `5m`; default: the recipe's label, else ours.",
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Health:
        known = {
            "http": {"path", "accept", "host", "port", "service"},
            "tcp": {"port", "service"},
            "exec": {"command", "service"},
            "none": {"reason"},
        }
        needed = {"tcp": "port", "exec": "command", "none": "reason"}.get(self.kind)
        foreign = sorted(self.model_fields_set - known[self.kind] - {"kind", "timeout"})
        if foreign:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(foreign)}")
        if needed and not getattr(self, needed):
            raise ValueError(f"kind {self.kind!r} needs {needed}")
        if self.kind == "http" and "service" in self.model_fields_set and self.port is None:
            raise ValueError("service goes with port: without one the app is asked at its own address, through Traefik")
        return self


class KeycloakNeed(_Table):
    """What the app needs of Keycloak."""

    redirect_paths: tuple[UrlPath, ...] = Field(
        min_length=1, description="Paths of the app that Keycloak may send a person back to after the login."
    )
    post_logout_paths: tuple[UrlPath, ...] = Field(
        ("/",), description="Paths of the app that Keycloak may send a person to after the logout."
    )
    public: bool = Field(False, description="A public client: PKCE instead of a client secret.")  # noqa: FBT003  a default


class Needs(_Table):
    """Infrastructure the app needs."""

    keycloak: KeycloakNeed | None = Field(None, description="A realm of its own with client, secret and test users.")


class Tests(_Table):
    """When the author's tests are run."""

    on_base: bool = Field(
        True,  # noqa: FBT003  a default
        description="Run them on the version before, too, and at a promotion on the kept data: what they write must "
        "live through the upgrade.",
    )


class _Sentinel(_Table):
    name: str = Field("", description="A name for reports, where there are several.")


class FileSentinel(_Sentinel):
    """A file in a service's container."""

    kind: Literal["file"] = Field(description="A file in a service's container.")
    service: Text = Field(description="The service whose container holds the file.")
    path: UrlPath = Field(description="Where the file is written; must be on a volume.")

    @property
    def identity(self) -> str:
        """What it is and where it lives: one datum, wherever in the file it is named."""
        return f"file {self.service} {self.path}"


class SqlSentinel(_Sentinel):
    """A row in a Postgres, MariaDB or MySQL database."""

    kind: Literal["sql"] = Field(description="A row in a Postgres, MariaDB or MySQL database.")
    service: Text = Field(description="The database's service.")
    database: str = Field(
        "",
        description="The database's name; unset, the service's own `POSTGRES_DB`, `MARIADB_DATABASE` or "
        "`MYSQL_DATABASE`.",
    )
    user: str = Field(
        "",
        description="The database user; unset, the service's own `POSTGRES_USER`, `MARIADB_USER` or `MYSQL_USER`.",
    )

    @property
    def identity(self) -> str:
        """What it is and where it lives: one datum, wherever in the file it is named."""
        return f"sql {self.service} {self.database or 'postgres'}"


class HttpSentinel(_Sentinel):
    """A resource of the app itself."""

    kind: Literal["http"] = Field(description="A resource of the app itself.")
    path: UrlPath = Field(description="What is read back; it must hold the value.")
    write_path: UrlPath | None = Field(None, description="Where the value is sent; default: `path`.")
    method: Literal["PUT", "POST"] = Field("PUT", description="How the value is sent.")
    body: Text = Field("{{ value }}", description="What is sent: a template with `value`, `domain` and `realm`.")
    headers: dict[str, str] = Field(
        default_factory=dict, description="Headers of both requests: templates with the same names."
    )

    @property
    def identity(self) -> str:
        """What it is and where it lives: one datum, wherever in the file it is named."""
        return f"http {self.path}"


class PythonSentinel(_Sentinel):
    """A person's datum, written and read by a hook in conftest.py."""

    kind: Literal["python"] = Field(description="A datum that hooks in `conftest.py` write and check.")

    @property
    def identity(self) -> str:
        """What it is and where it lives: one datum, wherever in the file it is named."""
        return f"python {self.name}".rstrip()


def _told_apart(value: tuple[Sentinel, ...]) -> tuple[Sentinel, ...]:
    known = [each.identity for each in value]
    for each in value:
        if known.count(each.identity) > 1:
            raise ValueError(f"two sentinels are the same datum ({each.identity}): one would overwrite the other")
    return value


Sentinel = FileSentinel | SqlSentinel | HttpSentinel | PythonSentinel


class NotApplicable(_Table):
    """A tier that does not apply."""

    tier: Annotated[Literal["upgrade", "backup", "restore", "custom"], BeforeValidator(_waivable)] = Field(
        description="The tier that does not apply; install and settle always do."
    )
    reason: Text = Field(description="Why; printed and counted.")


class Disposable(_Table):
    """Data whose loss does not matter."""

    volume: Text | None = Field(None, description="A volume by its key in the compose file.")
    path: UrlPath | None = Field(None, description="A mount by its path in the container.")
    host: Text | None = Field(None, description="A database outside of the stack, by its host.")
    reason: Text = Field(description="Why losing it does not matter; printed and counted.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Disposable:
        if len(self.model_fields_set & {"volume", "path", "host"}) != 1:
            raise ValueError("give exactly one of volume, path, host")
        return self

    @property
    def names(self) -> str:
        """The one that is given."""
        return self.volume or self.path or self.host or ""


class ExpectedLoss(_Table):
    """Data that a change may lose: told with numbers, and no reason to be red."""

    table: Text | None = Field(None, description="A table of a database of the stack, with or without its schema.")
    volume: Text | None = Field(None, description="A volume by its key in the compose file.")
    reason: Text = Field(description="Why it is no loss.")

    @model_validator(mode="after")
    def _exactly_one(self) -> ExpectedLoss:
        if len(self.model_fields_set & {"table", "volume"}) != 1:
            raise ValueError("give exactly one of table, volume")
        return self


Hold = Literal["major", "minor", "patch", "never"]


class Policy(_Table):
    """When an update of a live-warm app is held for an operator."""

    versions: Literal["semver", "calendar"] = Field(
        "semver", description="How the app's own version counts; in calendar versions the year is no major step."
    )
    hold_recipe: Hold = Field("major", description="The smallest step of the recipe's half that is held.")
    hold_app: Hold = Field("major", description="The smallest step of the app's half that is held.")


class RecipeToml(_Table):
    """The whole file."""

    canonical: bool = Field(False, description="Enrolled: kept warm at a stable domain, and swept nightly.")  # noqa: FBT003  a default
    keep: Annotated[int, AfterValidator(_kept)] = Field(
        1, description="How many known-goods are kept: the newest, and earlier ones by release; for canonicals."
    )
    stand_in: Text | None = Field(None, description="What this recipe stands in for; shown in results.")
    source: SourceTable = Field(description="Where the recipe comes from: exactly one of the three.")
    env: EnvTable = Field(default_factory=EnvTable, description="Variables merged over `.env.sample`.")
    secrets: SecretsTable = Field(
        default_factory=SecretsTable, description="Secrets that are given, or how they are made, by name."
    )
    health: Health = Field(default_factory=Health, description="How we see that the app serves.")
    needs: Needs = Field(default_factory=Needs, description="Infrastructure the app needs.")
    tests: Tests = Field(default_factory=Tests, description="When the author's tests are run.")
    sentinel: Annotated[tuple[Annotated[Sentinel, Field(discriminator="kind")], ...], AfterValidator(_told_apart)] = (
        Field((), description="Data written into the app that must be read back unchanged later; any number.")
    )
    not_applicable: tuple[NotApplicable, ...] = Field((), description="Tiers that do not apply, each with its reason.")
    disposable: tuple[Disposable, ...] = Field((), description="Data whose loss does not matter, each with its reason.")
    expected_loss: tuple[ExpectedLoss, ...] = Field(
        (), description="Data that a change may lose, each with its reason."
    )
    policy: Policy = Field(default_factory=Policy, description="When an update of an infra app is held.")


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
        inside = [
            table for each in tables if step in _fields(each) for table in _tables(_fields(each)[step].annotation)
        ]
        inside += [
            each.TABLE
            for each in tables
            if issubclass(each, _VersionedTable) and step not in _fields(each) and each.TABLE
        ]
        # A step that is no field is the tag of a union: it picks one of its members.
        tables = inside or [each for each in tables if _tag(each) == step] or tables
    return tuple(dict.fromkeys(name for each in tables for name in _fields(each)))


def _describe(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    if issubclass(model, _VersionedTable):
        name, kind, text = model.ANY
        yield Key(f"{prefix}{name}", kind, "none", text)
    for name, info in _fields(model).items():
        full = f"{prefix}{name}"
        inner = _tables(info.annotation)
        yield Key(full, _type(info.annotation), _default(info), info.description or "")
        if typing.get_origin(info.annotation) is dict:
            continue
        many = "[]" if typing.get_origin(info.annotation) is tuple else ""
        for table in inner:
            tag = f"({_tag(table)})" if _tag(table) else ""
            yield from _describe(table, f"{full}{many}{tag}.")
    if issubclass(model, _VersionedTable) and model.TABLE is not None:
        yield from _describe(model.TABLE, f"{prefix}{model.ANY[0]}.")


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the name that the file has for them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _tables(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in typing.get_args(annotation) for table in _tables(part)]


def _tag(model: type[BaseModel]) -> str:
    """Which member of a union it is: its only ``kind``."""
    field = model.model_fields.get("kind")
    kinds = typing.get_args(field.annotation) if field else ()
    return str(kinds[0]) if len(kinds) == 1 else ""


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
    if _tables(annotation) and origin is not dict:
        return "tables" if origin is tuple else "table"
    many = origin is dict and _type(args[1]) == _NAMES[dict]
    return "tables by version" if many else _NAMES.get(origin or annotation, str(annotation))


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
