"""Is this machine fit? One check per thing that goes wrong in practice, each with what to do."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_ccci import process
from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import EngineFacts, find_cli, knows_start_interval
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.provision import gather, missing
from pytest_ccci.ops.status import EngineRow, Situation, inspect_situation
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.copying import CopyBackend, choose
from pytest_ccci.store.disk import shown

__all__ = ["Check", "Level", "inspect_machine", "store_commands"]

Level = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One check: what was seen, and what to do about it. ``note`` costs something, ``bad`` stops runs."""

    name: str
    level: Level
    seen: str
    advice: str = ""


def inspect_machine(settings: Settings) -> tuple[Check, ...]:
    """All checks, in the order in which things are needed. Starts nothing."""
    checks = [_guarded("docker CLI", _cli), _guarded("state directory", lambda: _state_dir(settings))]
    given = ", ".join(f"{name}={value} ({source})" for name, value, source in settings.shown() if source != "default")
    if checks[1].level != "bad" and settings.state_dir.is_dir():
        checks.append(_guarded("snapshots", lambda: _backend(settings)))
    found = inspect_situation(settings)
    checks += [*_disk(settings, found), *_damaged(found), *_engine(found), *_ports(settings, found), *_programs(found)]
    return (*checks, Check("settings", "ok", given or "all as by default"))


def _damaged(found: Situation) -> Iterator[Check]:
    """State files that cannot be used."""
    for problem in found.damaged:
        what, _, rest = problem.partition("\n")
        seen, _, advice = rest.partition("  try:  ")
        yield Check("state file", "bad", f"{what} {seen.strip()}".strip(), advice)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except CcciError as error:
        return Check(name, "bad", " ".join(part for part in (error.what, error.seen) if part), error.advice)


def _cli() -> Check:
    path, version = find_cli()
    return Check("docker CLI", "ok", f"{version} at {path}")


def _state_dir(settings: Settings) -> Check:
    path = settings.state_dir
    if path.exists():
        open_state(path)
        return Check("state directory", "ok", f"{path}, writable")
    parent = next(one for one in path.absolute().parents if one.exists())
    if os.access(parent, os.W_OK):
        return Check("state directory", "ok", f"{path} is not there yet and can be made")
    return Check("state directory", "bad", f"{path} cannot be made: {parent} is not writable", "give --ccci-state-dir")


def _disk(settings: Settings, found: Situation) -> Iterator[Check]:
    for one in found.disk.file_systems:
        advice = f"ccci prune, or a larger disk: {shown(settings.keep_free)} (ccci_keep_free) should be free"
        yield Check("disk", "note", str(one), advice) if one.low else Check("disk", "ok", str(one))


def _backend(settings: Settings) -> Check:
    state = StateDir(settings.state_dir)
    backend = choose(state.canonicals if state.canonicals.is_dir() else state.root)
    seen = f"{backend.name}: {backend.why}"
    if not backend.gain:
        return Check("snapshots", "ok", seen)
    kept = state.canonicals.is_dir() and any(state.canonicals.iterdir())
    return Check("snapshots", "note", seen, "\n".join(store_commands(state, kept=kept)))


def store_commands(state: StateDir, *, kept: bool) -> Iterator[str]:
    """How an operator makes an XFS in a file and mounts it at ``canonical/``. ``kept``: something is in there now."""
    file = f"{state.root}-canonical.xfs"
    image, place = shlex.quote(file), shlex.quote(str(state.canonicals))
    yield f"{CopyBackend.gain}, such as"
    if kept:
        yield f"(ccci export each canonical first, empty {place}, and ccci import them at the end: a mount covers them)"
    yield f"truncate -s 20G {image}"
    yield f"mkfs.xfs -m reflink=1 {image}"
    yield f"mkdir -p -m 700 {place}"
    escaped = [path.replace(" ", "\\040") for path in (file, str(state.canonicals))]
    yield f"in /etc/fstab: {' '.join(escaped)} xfs loop,discard,nofail 0 0"
    yield f"mount {place}"


def _engine(found: Situation) -> Iterator[Check]:
    engine = found.engine
    if engine.problem and engine.source:
        yield Check("engine", "bad", engine.problem, "see the line above")
    elif engine.problem:
        why = discovery.possible()
        if why:
            advice = "start an engine or point DOCKER_HOST at one; or, as root, run ccci setup"
            yield Check("engine", "bad", f"none answers, and a private one cannot be started: {why}", advice)
        else:
            yield Check("engine", "ok", "none answers; a private one is started when it is needed")
    else:
        yield Check("engine", "ok", f"Docker {engine.version}, API {engine.api_version}, {engine.source}")
        yield Check("swarm", "ok", "the engine is a manager")
        yield _vip(engine.vip)
        yield _start_period(engine)


def _start_period(engine: EngineRow) -> Check:
    """From Docker 25 on, health checks in a start period have a pace of their own, 5 s by default."""
    if not knows_start_interval(engine.api_version):
        return Check("start periods", "ok", "have no pace of their own before Docker 25: checked as at any other time")
    if EngineFacts("", "", engine.api_version, engine.cli_version, "").start_interval:
        return Check("start periods", "ok", "have a pace of their own (start_interval): checked every second in a run")
    seen = "checked every 5 s, also in a run: this Docker CLI cannot say start_interval"
    return Check("start periods", "note", seen, "install a Docker CLI of 25 or newer")


def _vip(works: bool | None) -> Check:
    if works is None:
        return Check("service VIPs", "note", "not tried yet", "ccci setup tries, once per engine")
    if works:
        return Check("service VIPs", "ok", "work")
    seen = "do not work (no IPVS): services get DNS round robin and host ports by an overlay of ours"
    return Check("service VIPs", "ok", seen)


def _ports(settings: Settings, found: Situation) -> Iterator[Check]:
    if settings.external_proxy:
        yield Check("ports", "ok", "a Traefik that is there already is used")
        return
    ours = any(row.name == "traefik" and row.state == "healthy" for row in found.infra)
    for port in (settings.http_port, settings.https_port):
        if ours:
            yield Check(f"port {port}", "ok", "served by our Traefik")
            continue
        problem = _bind(port)
        advice = "stop what has it, use --ccci-http-port and --ccci-https-port, or --ccci-external-proxy"
        yield Check(f"port {port}", "bad", problem, advice) if problem else Check(f"port {port}", "ok", "free")


def _bind(port: int) -> str:
    """Empty when ``port`` is free on this machine, else the kernel's word."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except PermissionError:
            return ""  # the engine binds it, not we
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _programs(found: Situation) -> Iterator[Check]:
    facts = gather("" if found.engine.problem else found.engine.source)
    seen = "answers" if facts.registry else "does not answer: images that are not there are built here"
    yield Check("image registry", "ok" if facts.registry else "note", seen)
    needs = missing(facts)
    for need in needs:
        yield Check(f"package {need.package}", "bad", f"missing: {need.why}", "ccci setup installs it")
    if not needs:
        yield Check("packages", "ok", "nothing is missing")
    if found.engine.private and not (process.which("iptables") or Path("/usr/sbin/iptables").exists()):
        yield Check("iptables", "bad", "missing: the private engine's networks need it", "apt install iptables")
