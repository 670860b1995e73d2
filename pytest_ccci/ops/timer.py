"""The sweep by itself, each night: a systemd service and timer, or a line for cron. What is installed is text, pure."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_ccci import process
from pytest_ccci.errors import CcciError, InfrastructureFault, UsageError
from pytest_ccci.settings import OPTIONS
from pytest_ccci.statedir import write_atomic

__all__ = [
    "CRON",
    "Kind",
    "Schedule",
    "Unit",
    "cron_line",
    "install",
    "kind_here",
    "passed_environment",
    "program",
    "secrets_file",
    "units",
    "verify",
]

_LOG = logging.getLogger(__name__)

Kind = Literal["system", "user", "cron"]
NAME = "ccci-sweep"
_PASSED_ON = (
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "XDG_STATE_HOME",
)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_STOP = 300
"""Seconds that the runs of a sweep have to put everything back: more than the grace that the sweep gives them."""
_PATIENCE = 60
_RUNNING = Path("/run/systemd/system")
"""There where systemd is the init system (sd_booted(3))."""
CRON = Path("/etc/cron.d")
_ABOUT = "Tests what is due of the enrolled Co-op Cloud recipes (ccci sweep)"
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Schedule:
    """What is called each day at ``clock`` (``HH:MM``): ``argv`` in ``folder``, with ``environment`` and no other."""

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    clock: str = "03:00"

    def __post_init__(self) -> None:
        if not _CLOCK.fullmatch(self.clock):
            raise UsageError(f"{self.clock!r} is no time of the day", advice="write it like 03:00")
        texts = (*self.argv, str(self.folder), *self.environment.values())
        if any(ord(letter) < ord(" ") for text in texts for letter in text):
            raise UsageError(
                "a line break or control character cannot stand in what is installed", where="--install-timer"
            )


@dataclass(frozen=True)
class Unit:
    """A file to be installed."""

    path: Path
    text: str


def kind_here(*, running: Path = _RUNNING, root: bool | None = None) -> Kind:
    """What this machine has: systemd's system timers for root, its user timers for others; else cron."""
    if not running.is_dir():
        return "cron"
    return "system" if (os.geteuid() == 0 if root is None else root) else "user"


def passed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment the sweep needs again: how engine and network are found, and our settings; no secrets."""
    ours = {option.env for option in OPTIONS if not option.secret}
    wanted = {*_PASSED_ON, *ours, *_PROXIES, *(name.upper() for name in _PROXIES)}
    return {name: value for name, value in sorted(environment.items()) if name in wanted and value}


def program(executable: str = sys.executable) -> str:
    """The ``ccci`` of this very installation.

    Raises:
        UsageError: it is not there.
    """
    found = Path(executable).parent / "ccci"
    if not os.access(found, os.X_OK):
        raise UsageError(
            "the ccci command is not installed beside its Python, so that a timer could not call it",
            where=str(found),
            advice="install pytest-ccci into that environment",
        )
    return str(found)


def units(schedule: Schedule, kind: Kind, *, home: Path) -> tuple[Unit, ...]:
    """The files to install. With systemd the service first, then its timer."""
    if kind == "cron":
        return (Unit(CRON / NAME, f"# {_ABOUT}\n{cron_line(schedule, user='root')}\n"),)
    folder = Path("/etc/systemd/system") if kind == "system" else home / ".config" / "systemd" / "user"
    return (
        Unit(folder / f"{NAME}.service", _service(schedule, kind, home)),
        Unit(folder / f"{NAME}.timer", _timer(schedule)),
    )


def _service(schedule: Schedule, kind: Kind, home: Path) -> str:
    variables = [f"Environment={_quoted(f'{name}={value}')}" for name, value in schedule.environment.items()]
    after = ["Wants=network-online.target", "After=network-online.target docker.service"] if kind == "system" else []
    rows = (
        "[Unit]",
        f"Description={_ABOUT}",
        *after,
        "",
        "[Service]",
        "Type=oneshot",
        f"WorkingDirectory={_escaped(str(schedule.folder))}",
        *variables,
        f"EnvironmentFile=-{_escaped(str(secrets_file(kind, home)))}",
        f"ExecStart={' '.join(_quoted(word, argument=True) for word in schedule.argv)}",
        "# A sweep takes as long as its runs: each has a deadline of its own (--patience).",
        "TimeoutStartSec=infinity",
        "# Asked to end, it lets its runs put everything back: they are asked by it, and not all at once.",
        "KillMode=mixed",
        f"TimeoutStopSec={_STOP}",
        "",
    )
    return "\n".join(rows)


def secrets_file(kind: Kind, home: Path) -> Path:
    """Where an operator puts what no unit file may hold, such as CCCI_ALERT_URLS."""
    return Path(f"/etc/{NAME}.env") if kind != "user" else home / ".config" / f"{NAME}.env"


def _timer(schedule: Schedule) -> str:
    rows = (
        "[Unit]",
        "Description=Calls ccci sweep each day",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {schedule.clock}",
        "# A machine that was off at that time catches up.",
        "Persistent=true",
        "AccuracySec=1min",
        "# Always the same small delay: a large one that is drawn anew is missed by machines that restart.",
        "RandomizedDelaySec=10min",
        "FixedRandomDelay=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    )
    return "\n".join(rows)


def cron_line(schedule: Schedule, *, user: str = "") -> str:
    """A line for a crontab; for a file in ``/etc/cron.d`` it names the ``user``."""
    hour, minute = schedule.clock.split(":")
    variables = [f"{name}={shlex.quote(value)}" for name, value in schedule.environment.items()]
    command = " ".join(["cd", shlex.quote(str(schedule.folder)), "&&", *variables, shlex.join(schedule.argv)])
    # In a crontab a percent sign ends the command.
    when = " ".join([str(int(minute)), str(int(hour)), "* * *", *([user] if user else [])])
    log = f" >>/var/log/{NAME}.log 2>&1" if user == "root" else ""  # else cron mails it
    return f"{when} {command}{log}".replace("%", "\\%")


def _escaped(text: str) -> str:
    """A path in a unit: specifiers begin with a percent sign (systemd.unit(5))."""
    return text.replace("%", "%%")


def _quoted(text: str, *, argument: bool = False) -> str:
    """A word in a unit, quoted as systemd.syntax(7) says; in a command a dollar sign would be a variable's."""
    found = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{found.replace("$", "$$") if argument else found}"'


def verify(files: Sequence[Unit]) -> str:
    """What ``systemd-analyze verify`` says against them; empty when it finds them good, or is not there."""
    analyze = process.which("systemd-analyze")
    if analyze is None or not files[0].path.suffix:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / unit.path.name for unit in files]
        for path, unit in zip(paths, files, strict=True):
            path.write_text(unit.text, encoding="utf-8")
        user = ["--user"] if "user" in files[0].path.parts else []
        done = process.run([analyze, *user, "verify", "--man=no", *paths], timeout=_PATIENCE, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if NAME in line]
    return "\n".join(said) if done.rc else ""


def install(files: Sequence[Unit], kind: Kind) -> tuple[str, ...]:
    """Write them and switch the timer on; lines that say what was done.

    Raises:
        InfrastructureFault: a file cannot be written, systemd refuses them, or they are not good.
    """
    problem = verify(files)
    if problem:
        raise InfrastructureFault("systemd would not take the timer", seen=problem)
    done = []
    for unit in files:
        had = unit.path.exists()
        try:
            write_atomic(unit.path, unit.text.encode(), mode=0o644)
        except OSError as error:
            raise InfrastructureFault(
                "the timer cannot be installed",
                where=str(unit.path),
                seen=str(error.strerror),
                advice="as root, or see --dry-run for what would be written",
            ) from error
        done.append(f"{'replaced' if had else 'wrote'} {unit.path}")
    if kind == "cron":
        return tuple(done)
    systemctl = ["systemctl", *(["--user"] if kind == "user" else [])]
    for words in (["daemon-reload"], ["enable", "--now", f"{NAME}.timer"]):
        try:
            process.run([*systemctl, *words], timeout=_PATIENCE)
        except CcciError as error:
            raise InfrastructureFault(
                "the timer is written, and could not be switched on",
                seen=str(error),
                advice=shlex.join([*systemctl, *words]),
            ) from error
    return (*done, f"switched on {NAME}.timer: see {shlex.join([*systemctl, 'list-timers', NAME + '.timer'])}")
