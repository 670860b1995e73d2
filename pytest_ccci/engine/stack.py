"""Deploys a stack, and removes one in the order that takes one second and not six."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import APIError

from pytest_ccci import process
from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.compose import compose_arguments
from pytest_ccci.engine.external import APP_LABEL, remove_app_objects
from pytest_ccci.engine.networks import is_gone, networks
from pytest_ccci.engine.observe import STACK_LABEL, stack_filter
from pytest_ccci.engine.volumes import remove_volumes, stack_volumes
from pytest_ccci.engine.watch import stack_events
from pytest_ccci.errors import EngineUnavailable, ProgramFailed, RecipeInvalid
from pytest_ccci.locks import Tell
from pytest_ccci.waiting import Deadline, until

__all__ = ["deploy", "prune_services", "restart_services", "stop_service_containers", "undeploy"]

_DEPLOY_TIMEOUT = 120.0
_ENGINE_TROUBLE = ("Cannot connect to the Docker daemon", "error during connect", "connection refused", "EOF")


def deploy(engine: Engine, stack: str, files: Sequence[Path], env: Mapping[str, str]) -> None:
    """Hand the stack to Swarm; does not wait for it. Images are local already, so no registry is asked.

    Raises:
        RecipeInvalid: Docker refuses the stack.
        EngineUnavailable: the engine went away.
    """
    options = ("--detach=true", "--resolve-image=never", *compose_arguments(files))
    try:
        process.run(
            [engine.cli, "stack", "deploy", *options, stack],
            env=engine.docker_env(env),
            cwd=files[0].parent,
            timeout=_DEPLOY_TIMEOUT,
            dies_with_us=True,
        )
    except ProgramFailed as error:
        if any(sign in error.tail for sign in _ENGINE_TROUBLE):
            raise EngineUnavailable(f"deploying {stack}: the engine does not answer", seen=error.tail) from error
        raise RecipeInvalid("Docker refuses to deploy the stack", where=stack, seen=error.tail) from error


def prune_services(engine: Engine, stack: str, keep: frozenset[str]) -> tuple[str, ...]:
    """Remove services of ``stack`` not in ``keep`` (``stack deploy`` leaves them running); return their short names."""
    dropped = []
    with engine_errors(f"pruning services of {stack}"):
        for service in engine.client.api.services(filters=stack_filter(stack)):
            name = service["Spec"]["Name"].removeprefix(f"{stack}_")
            if name not in keep:
                engine.client.api.remove_service(service["ID"])
                dropped.append(name)
    return tuple(dropped)


def undeploy(engine: Engine, stack: str, *, volumes: bool, deadline: Deadline, tell: Tell) -> None:
    """Remove the stack, its secrets and configs, and with ``volumes`` its volumes; return when all of it is gone.

    Services are scaled to 0 first so that Swarm starts nothing again, then their containers are stopped directly, each
    with its own stop signal and grace. ``stack rm`` alone returns long before networks and containers are gone, and a
    redeploy then fails (measured 6 of 6 times), so that the end of both is waited for.

    Raises:
        EngineUnavailable: the engine went away.
        DeadlineExceeded: something of it would not go; says what.
    """
    with engine_errors(f"undeploying {stack}"), stack_events(engine, stack) as wake:
        services = engine.client.api.services(filters=stack_filter(stack))
        _each(services, lambda service: _scale_to_zero(engine, service))
        stop_service_containers(engine, stack)
        _each(services, lambda service: _ignore_gone(lambda: engine.client.api.remove_service(service["ID"])))
        doomed = [network["Id"] for network in networks(engine, filters=stack_filter(stack))]
        _each(doomed, lambda network: _ignore_gone(lambda: engine.client.api.remove_network(network)))
        until(
            lambda: not _left(engine, stack, doomed),
            deadline=deadline,
            what=f"stack {stack} to be gone",
            every=0.05,
            wake=wake,
            seen=lambda: ", ".join(_left(engine, stack, doomed)),
        )
        _remove_objects(engine, stack, deadline)
        if volumes:
            remove_volumes(engine, stack_volumes(engine, stack))
    tell(f"undeployed {stack}")


def stop_service_containers(engine: Engine, stack: str) -> None:
    """Stop and remove all containers of ``stack``, in parallel, each with its own stop signal and grace."""
    containers = engine.client.api.containers(all=True, filters=stack_filter(stack))
    _each(containers, lambda container: _stop_container(engine, container["Id"]))


def _stop_container(engine: Engine, container: str) -> None:
    def stop() -> None:
        engine.client.api.stop(container)
        engine.client.api.remove_container(container, v=True, force=True)

    _ignore_gone(stop)


def restart_services(engine: Engine, stack: str, *, keep: frozenset[str]) -> None:
    """Replace the tasks of all services but those in ``keep`` (short names); does not wait for the new ones."""
    with engine_errors(f"restarting services of {stack}"):
        for service in engine.client.api.services(filters=stack_filter(stack)):
            spec = service["Spec"]
            if spec["Name"].removeprefix(f"{stack}_") not in keep:
                template = spec["TaskTemplate"]
                template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
                _update(engine, service)


def _scale_to_zero(engine: Engine, service: Mapping[str, Any]) -> None:
    spec = service["Spec"]
    if "Replicated" not in spec["Mode"]:
        return
    spec["Mode"]["Replicated"]["Replicas"] = 0
    with suppress(APIError):  # it changed or went meanwhile; removing it does the same, only slower
        _update(engine, service)


def _update(engine: Engine, service: Mapping[str, Any]) -> None:
    """Post a service's spec as it was read and then changed; the SDK's own call would drop what it does not know."""
    api = engine.client.api
    url = api._url("/services/{0}/update", service["ID"])  # noqa: SLF001  the SDK has no call for a whole spec
    response = api._post_json(url, data=service["Spec"], params={"version": service["Version"]["Index"]})  # noqa: SLF001  the same
    api._raise_for_status(response)  # noqa: SLF001  the same


def _remove_objects(engine: Engine, stack: str, deadline: Deadline) -> None:
    """Secrets and configs are in use until Swarm has forgotten the services' tasks, a moment after they are gone."""

    def gone() -> bool:
        try:
            remove_app_objects(engine, stack, filters=(STACK_LABEL, APP_LABEL))
        except EngineUnavailable as error:
            if "in use" in error.seen:
                return False
            raise
        return True

    until(gone, deadline=deadline, what=f"secrets and configs of {stack} to be free", every=0.1)


def _left(engine: Engine, stack: str, doomed: Sequence[str]) -> list[str]:
    containers = engine.client.api.containers(all=True, filters=stack_filter(stack))
    known = {network["Id"]: network["Name"] for network in networks(engine)}
    left = [f"container {container['Names'][0].lstrip('/')}" for container in containers]
    left += [f"network {known[network]}" for network in doomed if network in known]
    return left + [f"service {s['Spec']['Name']}" for s in engine.client.api.services(filters=stack_filter(stack))]


def _ignore_gone(act: Callable[[], object]) -> None:
    try:
        act()
    except APIError as error:
        # 409: "removal of container … is already in progress"
        if not is_gone(error) and error.status_code != 409:  # noqa: PLR2004  HTTP's own number
            raise


def _each(things: Sequence[Any], act: Callable[[Any], object]) -> None:
    if not things:
        return
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(act, things))
