"""Runs a program inside the running container of a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import docker
import requests

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.convergence import running_tasks
from pytest_ccci.engine.observe import observe
from pytest_ccci.errors import DeadlineExceeded, EngineUnavailable, NotConverged

__all__ = ["ExecResult", "container_of", "exec_in", "exec_in_container"]


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
    facts = observe(engine, stack).service(service)
    running = running_tasks(facts) if facts else ()
    if not running:
        known = ", ".join(s.name for s in observe(engine, stack).services) or "none"
        raise NotConverged(f"no running task of service {service}", where=stack, seen=f"services: {known}")
    return running[-1].container


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
        DeadlineExceeded: the program said nothing for ``timeout`` seconds.
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
    api = docker.APIClient(base_url=engine.host, version=engine.facts.api_version, timeout=int(timeout))
    try:
        with engine_errors(f"running {argv[0]} in {where or container[:12]}"):
            handle = api.exec_create(container, list(argv), environment=dict(env or {}), user=user)["Id"]
            out, err = api.exec_start(handle, demux=True)
            rc = api.exec_inspect(handle)["ExitCode"]
    except EngineUnavailable as error:
        if isinstance(error.__cause__, requests.ReadTimeout):
            raise DeadlineExceeded(f"{argv[0]} in {where} said nothing for {timeout:.0f} s") from error
        raise
    finally:
        api.close()
    return ExecResult(int(rc), (out or b"").decode("utf-8", "replace"), (err or b"").decode("utf-8", "replace"))
