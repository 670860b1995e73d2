"""Every setting, declared once: command line > environment > ini > default. The environment is read only here."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_ccci.errors import OptionError

__all__ = [
    "OPTIONS",
    "Configured",
    "Option",
    "Settings",
    "abra_dir",
    "configured",
    "current_environment",
    "default_state_dir",
    "parse_duration",
    "resolve",
    "seconds",
    "slots_for",
]

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_CONFIGURATION_FILES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
"""Where pytest looks in each folder, upwards; the first that speaks to it counts."""
_ALWAYS_SHOWN = {"mode", "ref", "fast_health"}
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GIB = 1 << 30
_PART = re.compile(r"(\d+(?:\.\d+)?)(" + "|".join(_UNITS) + ")", re.ASCII)


class _Unusable(ValueError):
    """Our own word on why a value cannot be used; Python's own would not help."""


def _text(value: str) -> str:
    return value


def _mode(value: str) -> str:
    if value not in {"cold", "quick"}:
        raise _Unusable("is neither cold nor quick")
    return value


def _kept(value: str) -> str:
    if value not in {"", "failed"}:
        raise _Unusable("is not failed, the only thing that can be kept")
    return value


def _run_id(value: str) -> str:
    if value and not re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", value, re.ASCII):
        raise _Unusable("is no id of a run, such as 20261130-224451-3f2c1a")
    return value


def _flag(value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise _Unusable("is neither true nor false")


def slots_for(cores: int, memory: int) -> int:
    """How many runs at once suit a machine with so many cores and bytes of memory.

    A run mostly waits, so that two fit on one core; each takes about 1 GiB, and what is always there 1.5 GiB.
    """
    return max(1, min(max(2, cores), int(memory / _GIB - 1.5), 16))


def _slots(value: str) -> int:
    if value != "auto":
        return _count(value)
    return slots_for(len(os.sched_getaffinity(0)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _count(value: str) -> int:
    number = int(value)
    if number < 1:
        raise _Unusable("must be 1 or more")
    return number


def _size(value: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:iB|B)?)?", value.strip(), re.ASCII | re.IGNORECASE)
    if not found:
        raise _Unusable("is no size such as 500M or 5GiB")
    return int(float(found[1]) * 1024 ** (" KMGT".index(found[2].upper()) if found[2] else 0))


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``1m30s``, ``500ms`` or ``5m``.

    Raises:
        ValueError: it is none.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write one like 30s, 5m or 1h30m")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def seconds(value: str) -> float:
    """Seconds of a duration like ``90``, ``90s``, ``5m``, ``1h30m``."""
    try:
        return parse_duration(f"{value}s" if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII) else value)
    except ValueError:
        raise _Unusable("is no duration such as 90s or 5m") from None


def _port(value: str) -> int:
    number = int(value)
    if not 0 < number < 65536:  # noqa: PLR2004  TCP's own range
        raise _Unusable("is no port")
    return number


def _place(value: str) -> str:
    host, colon, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or host != (f"[{bare}]" if ":" in bare else bare):
        raise _Unusable("is no ADDRESS:PORT such as 127.0.0.1:8642 or [::1]:8642")
    if port != "0":  # which is any that is free
        _port(port)
    return value


def _path(value: str) -> Path:
    return Path(value).expanduser()


def _optional_path(value: str) -> Path | None:
    return _path(value) if value else None


class Option(NamedTuple):
    """One setting: its name, how its text is read, its default as text, and what it does. A secret is never shown."""

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    metavar: str = "VALUE"
    secret: bool = False

    @property
    def flag(self) -> str:
        """The pytest option."""
        return "--ccci-" + self.name.replace("_", "-")

    @property
    def ini(self) -> str:
        """The ini key."""
        return "ccci_" + self.name

    @property
    def env(self) -> str:
        """The environment variable."""
        return "CCCI_" + self.name.upper()


OPTIONS: tuple[Option, ...] = (
    Option("mode", _mode, "cold", "cold (fresh app, the authority) or quick (from the kept known-good)", "cold|quick"),
    Option("ref", _text, "tip", "what to test: a commit, branch or tag of the recipe, 'latest' or 'tip'", "REF"),
    Option(
        "base",
        _text,
        "",
        "the release that a run upgrades from; cold: one older than head (default: the newest of them); quick: one "
        "whose known-good is kept, or 'all' for one run each (default: the newest)",
        "RELEASE|all",
    ),
    Option(
        "reseed",
        _flag,
        "false",
        "a whole, green cold run of the latest release seeds the canonical afresh, although there is a known-good",
        "BOOL",
    ),
    Option(
        "promote",
        _flag,
        "true",
        "a whole, green cold run of the latest release becomes the known-good",
        "BOOL",
    ),
    Option(
        "keep",
        _kept,
        "",
        "failed: leave the app of a cold run that is not green deployed, until ccci release removes it",
        "failed",
    ),
    Option(
        "run_id",
        _run_id,
        "",
        "the id of the run, for who must know it beforehand; of all runs with that id only the first is begun",
        "ID",
    ),
    Option(
        "reach",
        _text,
        "",
        "refuse, before anything is deployed, a head that reaches outside of its app what this version does not: a "
        "commit, branch or tag, such as main",
        "REF",
    ),
    Option(
        "grant",
        _text,
        "",
        "what --ccci-reach lets pass: KIND:NAME as ccci reach shows it, several separated by blanks, quoted where they "
        "hold some",
        "KIND:NAME",
    ),
    Option(
        "state_dir",
        _optional_path,
        "",
        "where canonicals, mirrors, locks and results are kept (default: /var/lib/ci-warm for root, else the user's "
        "state directory)",
        "DIR",
    ),
    Option("zone", _text, "ci.test", "the DNS zone under which apps get their domains", "DOMAIN"),
    Option("zone_address", _text, "127.0.0.1", "where Traefik's ports are, seen from the tests", "ADDRESS"),
    Option("http_port", _port, "80", "Traefik's port for plain HTTP", "PORT"),
    Option("https_port", _port, "443", "Traefik's port for HTTPS", "PORT"),
    Option(
        "external_proxy",
        _flag,
        "false",
        "a Traefik that is already on this Swarm's proxy network serves the zone; none of ours is started",
        "BOOL",
    ),
    Option("zone_ca", _optional_path, "", "the CA that signed the zone's certificates, where it is not ours", "FILE"),
    Option(
        "fast_health",
        _flag,
        "true",
        "run existing health checks every second while testing; the time until they give up stays the author's",
        "BOOL",
    ),
    Option("timeout", seconds, "10m", "how long an app may take to come up, where its recipe does not say", "TIME"),
    Option("lock_wait", seconds, "30m", "how long to wait for another run of the same app", "TIME"),
    Option(
        "infra_recipes",
        _optional_path,
        "",
        "the folder with the recipes of Traefik and Keycloak (default: those that come with the package)",
        "DIR",
    ),
    Option(
        "alert_urls",
        _text,
        "",
        "where alerts are sent: Apprise addresses, separated by blanks (needs the extra [alerts]); best given in "
        "the environment, as they hold secrets",
        "URLS",
        secret=True,
    ),
    Option("alert_again", seconds, "24h", "how often an update that stays held is alerted anew", "TIME"),
    Option(
        "slots",
        _slots,
        "auto",
        "how many runs may be in flight on this machine at once (auto: one per core, at least two, as far as there is "
        "1 GiB of memory for each beside 1.5 GiB)",
        "N",
    ),
    Option("forge", _text, "", "ccci trigger: the address of the Forgejo or Gitea, as of its front page", "URL"),
    Option(
        "forge_team", _text, "", "ccci trigger: the team whose members may test; its organisation is polled", "ORG/TEAM"
    ),
    Option("forge_bot", _text, "", "ccci trigger: the account that the token is of, and that answers", "LOGIN"),
    Option(
        "forge_recipes",
        _text,
        "recipes",
        "ccci trigger: what is tested: folders with a folder per repository, and single ones as REPOSITORY=DIR, "
        "separated by blanks",
        "DIR",
    ),
    Option(
        "forge_token_file",
        _optional_path,
        "",
        "ccci trigger: holds the bot's token, in one line; scopes write:issue, write:repository, read:organization",
        "FILE",
    ),
    Option("forge_secret_file", _optional_path, "", "ccci trigger: holds the webhook's secret, in one line", "FILE"),
    Option("forge_listen", _text, "127.0.0.1:8474", "ccci trigger: where webhooks are taken", "ADDRESS:PORT"),
    Option(
        "forge_link",
        _text,
        "",
        "ccci trigger: where the folder runs/ of the state directory is served, if it is",
        "URL",
    ),
    Option("realms", _count, "64", "how many realm leases the warm Keycloak may hold at once", "N"),
    Option(
        "serve_at",
        _place,
        "127.0.0.1:8642",
        "where ccci serve listens; everybody who reaches another address than a loopback one can read all results",
        "ADDRESS:PORT",
    ),
    Option("keep_runs", _count, "50", "how many runs' results and logs are kept", "N"),
    Option(
        "keep_free",
        _size,
        "5GiB",
        "how much should be free on each file system that we fill: with less, `ccci prune` and the sweep remove images "
        "of ours and old runs until it is twice as much, and an operator is alerted",
        "SIZE",
    ),
)


class Settings(NamedTuple):
    """The effective settings and, per name, where each came from.

    This and `Option` are named tuples since each pytest in the environment makes them: a dataclass takes eight times as
    long to make.
    """

    mode: str
    ref: str
    base: str
    reseed: bool
    promote: bool
    keep: str
    run_id: str
    reach: str
    grant: str
    state_dir: Path
    zone: str
    zone_address: str
    http_port: int
    https_port: int
    external_proxy: bool
    zone_ca: Path | None
    fast_health: bool
    timeout: float
    lock_wait: float
    infra_recipes: Path | None
    alert_urls: str
    alert_again: float
    forge: str
    forge_team: str
    forge_bot: str
    forge_recipes: str
    forge_token_file: Path | None
    forge_secret_file: Path | None
    forge_listen: str
    forge_link: str
    slots: int
    realms: int
    serve_at: str
    keep_runs: int
    keep_free: int
    sources: Mapping[str, str]
    environment: Mapping[str, str]

    def __repr__(self) -> str:
        hidden = {"environment", *(option.name for option in OPTIONS if option.secret)}
        shown = (f"{name}={value!r}" for name, value in self._asdict().items() if name not in hidden)
        return f"Settings({', '.join(shown)})"

    def shown(self) -> tuple[tuple[str, str, str], ...]:
        """``(name, value, source)`` of all that is not default, and always of what changes how an app is tested."""
        rows = []
        for option in OPTIONS:
            source, value = self.sources.get(option.name, "default"), getattr(self, option.name)
            if source != "default" or option.name in _ALWAYS_SHOWN:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                rows.append((option.name, "***" if option.secret else text, source))
        return tuple(rows)


def current_environment() -> dict[str, str]:
    """The process environment, as it is now."""
    return dict(os.environ)


def abra_dir(environment: Mapping[str, str]) -> Path | None:
    """The directory of abra itself, ``ABRA_DIR`` or ``~/.abra`` (its documentation); ``None`` where it is not there."""
    home = environment.get("HOME", "")
    place = environment.get("ABRA_DIR", "") or (f"{home}/.abra" if home else "")
    return Path(place) if place and Path(place).is_dir() else None


def default_state_dir() -> Path:
    """``/var/lib/ci-warm`` for root, else in the user's state directory (XDG: ``~/.local/state``)."""
    if os.geteuid() == 0:
        return Path("/var/lib/ci-warm")
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    usual = Path(os.path.expanduser("~/.local/state"))  # noqa: PTH111  Path's own raises for a user without a home
    return (given if given.is_absolute() else usual) / "ci-warm"  # XDG: a relative path is to be ignored


def resolve(
    cli: Mapping[str, object],
    ini: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The effective settings. ``cli`` and ``ini`` map option names to what was given there, absent when not given.

    Raises:
        OptionError: a value cannot be read; names where it was given.
    """
    env = current_environment() if environment is None else dict(environment)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        given, source, where = _given(option, cli, ini, env)
        sources[option.name] = source
        try:
            values[option.name] = option.parse(given)
        except ValueError as error:
            reason = str(error) if isinstance(error, _Unusable) else "cannot be read"
            raise OptionError(f"{given!r} {reason}", where=where, advice=option.help) from error
    values["state_dir"] = values["state_dir"] or default_state_dir()
    return Settings(**values, sources=sources, environment=env)


class Configured(NamedTuple):
    """What pytest's configuration says, by option name: ``options`` are from ``addopts``, ``ini`` are ini keys."""

    file: Path | None
    options: Mapping[str, str]
    ini: Mapping[str, str]


def configured(folder: Path, environment: Mapping[str, str], *, file: Path | None = None) -> Configured:
    """What a pytest without arguments, started in ``folder``, would take from its configuration.

    ``file`` is a configuration file as with pytest's ``-c``. pytest itself is not imported: it is heavy, and only the
    plugin knows it. The files, their order and their sections are those of its page "Configuration".

    Raises:
        OptionError: a configuration file cannot be read.
    """
    words = shlex.split(environment.get("PYTEST_ADDOPTS", ""))
    from_environment = _pytest_options(words)
    if file is None and from_environment.config_file:
        file = Path(from_environment.config_file)
    found, table = _configuration(folder, None if file is None else folder / file.expanduser())
    addopts = table.get("addopts", "")
    all_options = _pytest_options([*(map(str, addopts) if isinstance(addopts, list) else shlex.split(addopts)), *words])
    overridden = dict(text.split("=", 1) for text in all_options.override_ini if "=" in text)
    ini = {**{key: str(value) for key, value in table.items()}, **overridden}
    given = {option.name: getattr(all_options, option.ini) for option in OPTIONS}
    return Configured(
        file=found,
        options={name: value for name, value in given.items() if value is not None},
        ini={option.name: ini[option.ini] for option in OPTIONS if option.ini in ini},
    )


def _pytest_options(words: Sequence[str]) -> argparse.Namespace:
    """Those of pytest's options that say something about ours."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config-file", default="")
    parser.add_argument("-o", "--override-ini", action="append", default=[])
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.ini)
    try:
        options, rest = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise OptionError("pytest's addopts cannot be read", seen=str(error)) from error
    for mode in ("quick", "cold"):
        if f"--{mode}" in rest:
            options.ccci_mode = mode
    return options


def _configuration(folder: Path, file: Path | None) -> tuple[Path | None, Mapping[str, Any]]:
    """The file that counts, and what its pytest section says."""
    if file is not None:
        if not file.exists():
            raise OptionError("the configuration file is not there", where=str(file))
        return file, _section(file) or {}
    start = folder.absolute()
    for base in (start, *start.parents):
        for name in _CONFIGURATION_FILES:
            if (base / name).is_file():
                section = _section(base / name)
                if section is not None:
                    return base / name, section
    return None, {}


def _section(file: Path) -> Mapping[str, Any] | None:
    """What the file says to pytest; ``None`` where it does not speak to it."""
    try:
        if file.suffix == ".toml":
            return _toml_section(file)
        return _ini_section(file) if file.suffix in {".ini", ".cfg"} else {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise OptionError("the configuration file cannot be read", where=str(file), seen=str(error)) from error


def _toml_section(file: Path) -> Mapping[str, Any] | None:
    import tomllib  # noqa: PLC0415  the plugin never needs it: pytest reads its own files

    document = tomllib.loads(file.read_text(encoding="utf-8"))
    dedicated = file.name in {"pytest.toml", ".pytest.toml"}
    if dedicated or (file.name != "pyproject.toml" and "pytest" in document):
        return dict(document.get("pytest", {}))
    tool = document.get("tool", {}).get("pytest", {})
    native = {key: value for key, value in tool.items() if key != "ini_options"}
    if native and tool.get("ini_options"):
        raise ValueError("both [tool.pytest] and [tool.pytest.ini_options] are there, which pytest refuses")
    return native or tool.get("ini_options")


def _ini_section(file: Path) -> Mapping[str, Any] | None:
    import iniconfig  # noqa: PLC0415  as above

    try:
        read = iniconfig.IniConfig(str(file))
    except iniconfig.ParseError as error:
        raise ValueError(str(error)) from error
    name = "tool:pytest" if file.suffix == ".cfg" else "pytest"
    if name in read:
        return dict(read[name].items())
    return {} if file.name in {"pytest.ini", ".pytest.ini"} else None


def _given(
    option: Option, cli: Mapping[str, object], ini: Mapping[str, str], env: Mapping[str, str]
) -> tuple[str, str, str]:
    if cli.get(option.name) is not None:
        return str(cli[option.name]), "command line", option.flag
    if env.get(option.env):
        return env[option.env], option.env, option.env
    if ini.get(option.name):
        return ini[option.name], "ini", option.ini
    return option.default, "default", option.flag
