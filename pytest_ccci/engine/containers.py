"""Runs programs in the containers of a service, reads task history and logs, runs short-lived services of ours."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import docker
import requests
from docker.errors import NotFound, create_api_error_from_http_exception
from docker.types import CancellableStream, EndpointSpec, ServiceMode
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from pytest_ccci.engine.cause import DeathFacts, cause_line, error_line
from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.inspect import ServiceState, StackFacts, inspect_stack, running_tasks
from pytest_ccci.errors import CcciError, DeadlineExceeded, EngineUnavailable, NotConverged, RecipeInvalid

__all__ = [
    "ExecResult",
    "address_of",
    "cause_of",
    "collect_evidence",
    "container_of",
    "dismiss",
    "exec_in",
    "exec_in_container",
    "send_out",
    "task_history",
]


@dataclass(frozen=True)
class ExecResult:
    """How a program inside a container ended: exit status and what it printed (undecodable bytes replaced)."""

    rc: int
    stdout: str
    stderr: str


def container_of(engine: Engine, stack: str, service: str) -> str:
    """The id of the container of the service's newest running task.

    Raises:
        NotConverged: no such service, or none of its tasks runs.
    """
    facts = inspect_stack(engine, stack).service(service)
    running = running_tasks(facts) if facts else ()
    if not running:
        known = ", ".join(s.name for s in inspect_stack(engine, stack).services) or "none"
        raise NotConverged(f"no running task of service {service}", where=stack, seen=f"services: {known}")
    return running[-1].container


_ASK_INSIDE = 'ask it with a command in its container: kind = "exec" of [health] in recipe.toml'


def address_of(engine: Engine, stack: str, service: str) -> str:
    """The address at which this machine reaches the container of the service's newest running task.

    It is the one on the bridge through which every Swarm task goes out; overlay networks are the tasks' own.

    Raises:
        NotConverged: none of its tasks runs, or it goes out nowhere (internal networks only).
        RecipeInvalid: the engine is not on this machine.
    """
    if engine.socket_path is None:
        raise RecipeInvalid(
            f"service {service} cannot be asked from here: the engine is not on this machine", advice=_ASK_INSIDE
        )
    with engine_errors(f"looking for the address of {service}"):
        box = engine.client.api.inspect_container(container_of(engine, stack, service))["NetworkSettings"]["SandboxID"]
        there = engine.client.networks.list(names=["docker_gwbridge"], greedy=True)
    ends = (end for bridge in there for end in (bridge.attrs.get("Containers") or {}).values())
    for end in ends:
        if end["Name"] == f"gateway_{box[:12]}":
            return str(end["IPv4Address"].partition("/")[0])
    raise NotConverged(f"service {service} has no address that this machine reaches", where=stack, advice=_ASK_INSIDE)


def exec_in(
    engine: Engine,
    stack: str,
    service: str,
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    user: str = "",
) -> ExecResult:
    """Run ``argv`` (no shell) in the running container of ``service``; any exit status is an answer.

    Raises:
        NotConverged: nothing of the service runs.
        DeadlineExceeded: the program did not end within ``timeout`` seconds, whatever it printed; it is left running.
        EngineUnavailable: the engine went away.
    """
    return exec_in_container(
        engine, container_of(engine, stack, service), argv, timeout=timeout, env=env, user=user, where=service
    )


def exec_in_container(
    engine: Engine,
    container: str,
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    env: Mapping[str, str] | None = None,
    user: str = "",
    where: str = "",
) -> ExecResult:
    """Like ``exec_in``, in one container."""
    api = engine.new_api(timeout=timeout)
    try:
        with engine_errors(f"running {argv[0]} in {where or container[:12]}"):
            handle = api.exec_create(container, list(argv), environment=dict(env or {}), user=user)["Id"]
            out, err, ended = _read_until(_start(api, handle, timeout), timeout)
            if not ended:
                raise DeadlineExceeded(
                    f"{argv[0]} in {where or container[:12]} did not end within {timeout:.0f} s",
                    seen=error_line((out + err).decode("utf-8", "replace")) or "it printed nothing",
                )
            rc = api.exec_inspect(handle)["ExitCode"]
    except EngineUnavailable as error:
        if isinstance(error.__cause__, requests.ReadTimeout):
            raise DeadlineExceeded(f"{argv[0]} in {where} was not started within {timeout:.0f} s") from error
        raise
    finally:
        api.close()
    if rc is None:
        raise EngineUnavailable(f"how {argv[0]} in {where or container[:12]} ended is not known to the engine")
    return ExecResult(int(rc), out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


def _start(api: docker.APIClient, handle: str, timeout: float) -> CancellableStream[tuple[int, bytes]]:
    """Start what ``exec_create`` made; its outputs as they come, to be closed from another thread.

    Not by the SDK's ``exec_start``: that asks for an upgraded connection and reads on below the buffer with which the
    answer's headers were read, so that what comes together with them is lost without a word (SDK 7.2; a busy machine
    is enough). Without an upgrade the engine sends the same frames as the body of its answer.
    """
    response = api.post(
        f"{api.base_url}/v{api.api_version}/exec/{handle}/start",
        json={"Detach": False, "Tty": False},
        stream=True,
        timeout=timeout,
    )
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        create_api_error_from_http_exception(error)
    return CancellableStream(_frames(response.raw), response)


_STDOUT = 1
_HEADER = struct.Struct(">BxxxL")


def _frames(body: BaseHTTPResponse) -> Iterator[tuple[int, bytes]]:
    """Which output, and a part of it. The format: Docker Engine API, "Attach to a container", "Stream format".

    Raises:
        EngineUnavailable: the body ends within a part, or with an error.
    """
    try:
        while header := body.read(_HEADER.size, decode_content=False):
            source, size = _HEADER.unpack(header)
            (part,) = struct.unpack(f"{size}s", body.read(size, decode_content=False))
            yield source, part
    except (struct.error, HTTPError, OSError) as error:
        raise EngineUnavailable("the engine cut off what a program prints", seen=str(error)[:300]) from error


def _read_until(stream: CancellableStream[tuple[int, bytes]], seconds: float) -> tuple[bytes, bytes, bool]:
    """What comes from both outputs until they end, and whether they did within ``seconds``.

    A program may print without end, or nothing at all: another thread closes the stream.

    Raises:
        EngineUnavailable: the outputs were cut off before.
    """
    over = threading.Event()

    def give_up() -> None:
        over.set()
        with suppress(OSError):
            stream.close()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    out, err = bytearray(), bytearray()
    try:
        for source, part in stream:
            (out if source == _STDOUT else err).extend(part)
    except EngineUnavailable as error:
        if not over.is_set() and not isinstance(error.__cause__, ReadTimeoutError):
            raise
        over.set()
    finally:
        timer.cancel()
        with suppress(OSError):
            stream.close()
    return bytes(out), bytes(err), not over.is_set()


def send_out(
    engine: Engine,
    name: str,
    *,
    image: str,
    command: Sequence[str],
    env: Sequence[str],
    network: str,
    labels: Mapping[str, str],
) -> None:
    """Start the service ``name`` on ``network``, reached by its tasks' addresses; does not wait for it."""
    with engine_errors(f"starting service {name}"):
        engine.client.services.create(
            image,
            command=list(command),
            env=list(env),
            name=name,
            networks=[network],
            labels=dict(labels),
            mode=ServiceMode("replicated", 1),
            endpoint_spec=EndpointSpec(mode="dnsrr"),
            stop_grace_period=0,
        )


def dismiss(engine: Engine, label: str) -> None:
    """Remove every service with ``label`` (``name=value``); those of processes that were killed go too."""
    with engine_errors(f"removing services with {label}"):
        for service in engine.client.services.list(filters={"label": label}):
            with suppress(NotFound):
                service.remove()


_LINES = 25
_SEARCHED = 200
_KEPT_BYTES = 64 * 1024
_HEAD, _TAIL = 1000, 400


def cause_of(engine: Engine, container: str, *, exit_code: int | None = None) -> str:
    """Why the task of ``container`` died or is not well, in one line; empty when nothing can be found out.

    Never raises: it only explains a fault that is told anyway.
    """
    facts = DeathFacts(exit_code)
    with suppress(CcciError, KeyError), engine_errors("looking at a container that died"):
        state = engine.client.api.inspect_container(container)["State"] if container else {}
        health = state.get("Health") or {}
        last = (health.get("Log") or [{}])[-1]
        facts = DeathFacts(
            exit_code=exit_code,
            out_of_memory=bool(state.get("OOMKilled")),
            unhealthy=bool(health.get("FailingStreak")),
            health_output=str(last.get("Output") or "") if last.get("ExitCode") else "",
        )
    if container:
        with suppress(CcciError), engine_errors("reading logs"):
            facts = replace(facts, log=_last_printed(engine, container, lines=_SEARCHED))
    return cause_line(facts)


def collect_evidence(engine: Engine, stack: str) -> tuple[tuple[str, str], ...]:
    """``(title, text)`` per section: the task history, then the last log lines of each service that is not well.

    Never raises: evidence that cannot be had is said to be missing.
    """
    try:
        facts = inspect_stack(engine, stack)
    except CcciError as error:
        return (("evidence", f"could not be collected: {error}"),)
    if not facts.services:
        return ()
    sections = [(f"tasks of {stack}", task_history(facts))]
    unwell = [service for service in facts.services if _unwell(service)] or list(facts.services)
    sections += [(f"last lines of {service.name}", logs(engine, service)) for service in unwell]
    return tuple(sections)


def task_history(facts: StackFacts) -> str:
    """One line per task, oldest first: time, service, state, exit status, image, message."""
    rows = []
    for service in facts.services:
        if service.update_state:
            rows.append((0.0, f"{service.name}: update {service.update_state} {service.update_message}".rstrip()))
        for task in service.tasks:
            clock = datetime.fromtimestamp(task.since, UTC).strftime("%H:%M:%S")
            code = f" exit {task.exit_code}" if task.exit_code else ""
            image = task.image.partition("@")[0]
            rows.append((task.since, f"{clock}  {service.name:<14} {task.state:<9}{code}  {image}  {task.message}"))
    return "\n".join(text for _, text in sorted(rows))


def logs(engine: Engine, service: ServiceState, lines: int = _LINES) -> str:
    """The last ``lines`` that the newest containers of ``service`` printed, newest container last."""
    parts = []
    containers = [task.container for task in service.tasks if task.container][-2:]
    for container in containers:
        with suppress(CcciError), engine_errors("reading logs"):
            parts.append(f"--- container {container[:12]}\n{_last_printed(engine, container, lines=lines).rstrip()}")
    return "\n".join(parts) or "nothing was logged"


def _last_printed(engine: Engine, container: str, *, lines: int) -> str:
    """The last ``lines`` of a container's log, of which no more than 64 KiB are kept, and of each line both ends."""
    kept = b""
    # A stream of the SDK follows what is yet to come, unless it is told not to.
    printed = engine.client.api.logs(container, tail=lines, stdout=True, stderr=True, stream=True, follow=False)
    for chunk in printed:
        kept = (kept + chunk)[-_KEPT_BYTES:]
    return "\n".join(map(_both_ends, kept.decode("utf-8", "replace").split("\n")))


def _both_ends(line: str) -> str:
    left = len(line) - _HEAD - _TAIL
    return line if left <= 0 else f"{line[:_HEAD]} … ({left} more characters) … {line[-_TAIL:]}"


def _unwell(service: ServiceState) -> bool:
    dead = any(task.state in {"failed", "rejected"} for task in service.tasks)
    return dead or (not service.job and len(running_tasks(service)) < service.wanted)
