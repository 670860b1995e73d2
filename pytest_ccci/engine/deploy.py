"""Deploys a stack and waits until it is up; removes one in the order that takes one second and not six."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from docker.errors import APIError

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.compose import (
    OverlaySettings,
    build_overlay,
    raised_version,
    run_stack,
    stack_config,
    write_compose,
)
from pytest_ccci.engine.convergence import stack_events, wait_converged
from pytest_ccci.engine.inspect import STACK_LABEL, stack_filter
from pytest_ccci.engine.objects import (
    APP_LABEL,
    bind_volumes,
    check_bound,
    insert_secrets,
    is_gone,
    networks,
    post_service,
    present_secrets,
    remove_app_objects,
    remove_volumes,
    stack_volumes,
)
from pytest_ccci.errors import DeadlineExceeded, EngineUnavailable, ProgramFailed, RecipeFault, RecipeInvalid
from pytest_ccci.recipe.compose_facts import ComposeFacts, HealthcheckFacts, ServiceFacts, compose_facts
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.names import check_names
from pytest_ccci.recipe.schema import SecretRule
from pytest_ccci.recipe.secretspecs import choose, needed, unknown
from pytest_ccci.redact import SECRETS
from pytest_ccci.waiting import Deadline, Stopwatch, until

__all__ = [
    "AppPlan",
    "Deployed",
    "deploy",
    "deploy_app",
    "prune_services",
    "read_plan",
    "restart_services",
    "stop_service_containers",
    "undeploy",
    "volume_name",
]

_LOG = logging.getLogger(__name__)

_DEPLOY_TIMEOUT = 120.0
_REAPED = 5.0
_GRACE = 10.0
"""Docker's own, in seconds, where a service says nothing."""
_KILLED = 137
_SERVICE_NAME = "com.docker.swarm.service.name"
_NANO = 1e9
"""Docker tells durations in nanoseconds."""
_ENGINE_TROUBLE = ("Cannot connect to the Docker daemon", "error during connect", "connection refused", "EOF")


def deploy(engine: Engine, stack: str, files: Sequence[Path], env: Mapping[str, str], *, version: str = "") -> None:
    """Hand the stack to Swarm; does not wait for it. Images are local already, so no registry is asked.

    With ``version`` the files are read as if they said that compose version.

    Raises:
        RecipeInvalid: Docker refuses the stack.
        EngineUnavailable: the engine went away.
    """
    words = ("deploy", "--detach=true", "--resolve-image=never")
    try:
        run_stack(engine, words, files, env, stack=stack, version=version, timeout=_DEPLOY_TIMEOUT, dies_with_us=True)
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


def undeploy(engine: Engine, stack: str, *, volumes: bool, deadline: Deadline) -> tuple[str, ...]:
    """Remove the stack, its secrets and configs, and with ``volumes`` its volumes; return when all of it is gone.

    Services go first so that Swarm starts nothing again, then their containers are stopped directly, each with its own
    stop signal and grace: Swarm waits two seconds before it stops one. ``stack rm`` alone returns long before networks
    and containers are gone, and a redeploy then fails (measured 6 of 6 times), so that the end of both is waited for.

    Returns which services had to be killed, each with the signal that it did not obey.

    Raises:
        EngineUnavailable: the engine went away.
        DeadlineExceeded: something of it would not go; says what.
    """
    with engine_errors(f"undeploying {stack}"), stack_events(engine, stack) as wake:
        services = engine.client.api.services(filters=stack_filter(stack))
        restless = _restless(engine, services)
        _each([each for each in services if each not in restless], lambda service: _remove_service(engine, service))
        _each(restless, lambda service: _scale_to_zero(engine, service))
        killed = stop_service_containers(engine, stack, services)
        _wait_reaped(engine, restless)
        _each(restless, lambda service: _remove_service(engine, service))
        doomed = [network["Id"] for network in networks(engine, filters=stack_filter(stack))]
        _each(doomed, lambda network: _ignore_gone(lambda: engine.client.api.remove_network(network)))
        until(
            lambda: not _left(engine, stack, doomed),
            deadline=deadline,
            what=f"stack {stack} to be gone",
            every=0.1,
            wake=wake,
            seen=lambda: ", ".join(_left(engine, stack, doomed)),
        )
        _remove_objects(engine, stack, deadline)
        if volumes:
            remove_volumes(engine, stack_volumes(engine, stack))
    _LOG.info(f"undeployed {stack}")
    return killed


def _restless(engine: Engine, services: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The services of which the manager may be reaping a task just now: one that is restarted again and again.

    It reaps what is over in a slot when that has more tasks than the Swarm keeps. A manager that removes a service
    while it reaps one of its tasks ends with a panic, and with it the whole engine (20.10: swarmkit's
    SetServiceTasksRemove takes a task that is gone meanwhile for one that is there).
    """
    if not services:
        return []
    api = engine.client.api
    kept = int(api.inspect_swarm()["Spec"]["Orchestration"].get("TaskHistoryRetentionLimit", 0))
    tasks = api.tasks(filters={"service": [service["ID"] for service in services]})
    slots = Counter((task["ServiceID"], task.get("Slot") or task.get("NodeID")) for task in tasks)
    full = {service for (service, _), number in slots.items() if number >= kept}
    return [service for service in services if service["ID"] in full]


def _remove_service(engine: Engine, service: Mapping[str, Any]) -> None:
    _ignore_gone(lambda: engine.client.api.remove_service(service["ID"]))


def _wait_reaped(engine: Engine, services: Sequence[Mapping[str, Any]]) -> None:
    """Wait until Swarm has reaped the tasks of services that were scaled to 0; not longer than a few seconds."""
    scaled = [service["ID"] for service in services if "Replicated" in service["Spec"]["Mode"]]

    def reaped() -> bool:
        tasks = engine.client.api.tasks(filters={"service": scaled}) if scaled else []
        return all(task["DesiredState"] == "shutdown" for task in tasks)

    with suppress(DeadlineExceeded):
        until(reaped, deadline=Deadline(_REAPED), what="Swarm to reap the tasks", every=0.2)


def stop_service_containers(engine: Engine, stack: str, services: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Stop and remove all containers of ``stack``, in parallel, each with its own stop signal and grace.

    The grace is known from ``services`` alone: Swarm does not write it into the containers that it makes (20.10).

    Returns which services had to be killed, each with the signal that it did not obey, as far as that could be seen.
    """
    containers = engine.client.api.containers(all=True, filters=stack_filter(stack))
    killed: list[str] = []
    said = {service["Spec"]["Name"]: _grace(service["Spec"]) for service in services}

    def stop(container: Mapping[str, Any]) -> None:
        grace = said.get(container["Labels"].get(_SERVICE_NAME, ""), _GRACE)
        killed.extend(_stop_container(engine, container, grace))

    _each(containers, stop)
    return tuple(sorted(f"service {name.removeprefix(f'{stack}_')}" for name in set(killed)))


def _grace(spec: Mapping[str, Any]) -> float:
    grace = spec.get("TaskTemplate", {}).get("ContainerSpec", {}).get("StopGracePeriod")
    return _GRACE if grace is None else grace / _NANO


def _stop_container(engine: Engine, container: Mapping[str, Any], grace: float) -> list[str]:
    """Stop and remove it; its service with the signal, where the engine killed it at the end of its grace.

    Swarm may remove it meanwhile: then the time that it took says so alone.
    """
    api, ident, killed = engine.client.api, container["Id"], list[str]()

    def stop() -> None:
        config, watch = api.inspect_container(ident)["Config"], Stopwatch()
        api.stop(ident, timeout=math.ceil(grace))
        seconds = watch.seconds
        if container["State"] != "running" or seconds < grace:
            return
        state = {"ExitCode": _KILLED, "OOMKilled": False}
        _ignore_gone(lambda: state.update(api.inspect_container(ident)["State"]))
        if state["ExitCode"] == _KILLED and not state["OOMKilled"]:
            signal = str(config.get("StopSignal") or "SIGTERM")
            killed.append(f"{config['Labels'].get(_SERVICE_NAME, ident)} ({signal}, {seconds:.0f} s)")

    _ignore_gone(stop)
    _ignore_gone(lambda: api.remove_container(ident, v=True, force=True))
    return killed


def restart_services(engine: Engine, stack: str, *, keep: frozenset[str]) -> None:
    """Replace the tasks of all services but those in ``keep`` (short names); does not wait for the new ones."""
    with engine_errors(f"restarting services of {stack}"):
        for service in engine.client.api.services(filters=stack_filter(stack)):
            spec = service["Spec"]
            if spec["Name"].removeprefix(f"{stack}_") not in keep:
                template = spec["TaskTemplate"]
                template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
                post_service(engine, service)


def _scale_to_zero(engine: Engine, service: Mapping[str, Any]) -> None:
    spec = service["Spec"]
    if "Replicated" not in spec["Mode"]:
        return
    spec["Mode"]["Replicated"]["Replicas"] = 0
    with suppress(APIError):  # it changed or went meanwhile; removing it does the same, only slower
        post_service(engine, service)


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


@dataclass(frozen=True)
class AppPlan:
    """All that is needed to deploy one version of an app.

    ``given_secrets`` maps short names to values, ``secret_rules`` to how they are made, ``known_secrets`` full Swarm
    names to values that the app's kept data needs again; ``volumes`` maps volume keys to directories for kept data;
    ``work`` takes the written overlay; ``timeout`` is in seconds. ``author`` is where the given secrets stand, for
    messages. An ``older`` version than the one that is tested goes without secrets of the first two that it lacks.
    """

    recipe: str
    stack: str
    domain: str
    env: AppEnv
    overlay: OverlaySettings
    timeout: float
    work: Path
    given_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    known_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    author: str = "recipe.toml"
    older: bool = False
    secret_rules: Mapping[str, SecretRule] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The recipe's compose files, in order."""
        return self.env.compose_files


@dataclass(frozen=True)
class Deployed:
    """An app that is up.

    ``secrets`` are full names → values as far as we know them; ``images`` what ``prepare`` returned; ``dropped`` the
    services that the new version no longer has; ``left_out`` what the plan wanted and an older version does not have.
    """

    stack: str
    compose: ComposeFacts
    secrets: Mapping[str, str] = field(repr=False)
    images: tuple[Any, ...]
    dropped: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def read_plan(engine: Engine, plan: AppPlan) -> tuple[dict[str, Any], ComposeFacts]:
    """What Docker's loader makes of the plan's files, raw and as facts; names checked against Docker's limits."""
    config = stack_config(engine, plan.files, plan.env.values)
    facts = compose_facts(config)
    if not facts.services:
        raise RecipeInvalid("the compose files define no service", where=str(plan.files[0]))
    check_names(facts, stack=plan.stack)
    return config, facts


def deploy_app(
    engine: Engine, plan: AppPlan, *, prepare: Callable[[Iterable[str]], tuple[Any, ...]], doing: str = "deploy"
) -> Deployed:
    """Deploy ``plan`` (fresh, or over what runs) and wait until it is up.

    Images are fetched first, so that a pull failure is never a deploy failure; secrets are made only where missing.

    Raises:
        RecipeFault: the recipe cannot be deployed, or does not come up.
        InfrastructureFault: anything else that kept it from coming up.
    """
    SECRETS.learn(*plan.given_secrets.values(), *plan.known_secrets.values())
    config, facts = read_plan(engine, plan)
    images = prepare(sorted({service.image for service in facts.services.values()}))
    facts = _with_checks_of_images(engine, facts)
    secrets, without = _secrets(engine, plan, config)
    named = {volume_name(facts, plan.stack, key): path for key, path in plan.volumes.items() if key in facts.volumes}
    bind_volumes(engine, named, labels={APP_LABEL: plan.stack, "com.docker.stack.namespace": plan.stack})
    overlay = plan.work / "ccci-overlay.yml"
    try:
        said = str(config.get("version") or "")
        version = raised_version(engine, said, plan.files)
        write_compose(overlay, build_overlay(facts, plan.overlay, version=version or None))
        files = (*plan.files, overlay)
        deploy(engine, plan.stack, files, plan.env.values, version=version if version != said else "")
    finally:
        overlay.unlink(missing_ok=True)  # the app's variables are in it, and what a run keeps holds no secrets
    dropped = prune_services(engine, plan.stack, frozenset(facts.services))
    if dropped:
        _LOG.info(
            f"{doing}: removed {', '.join(dropped)}, which this version no longer has and Swarm would leave running"
        )
    try:
        wait_converged(engine, plan.stack, deadline=Deadline(plan.timeout), doing=doing)
    except RecipeFault:
        check_bound(engine, named)  # an app that finds none of its data is not to blame
        raise
    check_bound(engine, named)
    return Deployed(plan.stack, facts, secrets, images, dropped, (*plan.env.left_out, *without))


def _with_checks_of_images(engine: Engine, facts: ComposeFacts) -> ComposeFacts:
    """The facts with the health checks that the images bring where the compose file says none, or only how often."""
    services = {name: _with_check_of_image(engine, service) for name, service in facts.services.items()}
    return replace(facts, services=services)


def _with_check_of_image(engine: Engine, service: ServiceFacts) -> ServiceFacts:
    check = service.healthcheck
    if check is not None and (check.disabled or check.test):
        return service
    with engine_errors(f"inspecting {service.image}"):
        brought = engine.client.api.inspect_image(service.image)["Config"].get("Healthcheck") or {}
    test = tuple(brought.get("Test") or ())
    if not test or test[0] == "NONE":
        return service
    said = check or HealthcheckFacts()
    merged = replace(
        said,
        test=test,
        interval=said.interval or brought.get("Interval", 0) / _NANO or None,
        timeout=said.timeout or brought.get("Timeout", 0) / _NANO or None,
        retries=said.retries or brought.get("Retries") or None,
        start_period=said.start_period or brought.get("StartPeriod", 0) / _NANO or None,
        start_interval=said.start_interval or brought.get("StartInterval", 0) / _NANO or None,
    )
    return replace(service, healthcheck=merged)


def volume_name(facts: ComposeFacts, stack: str, key: str) -> str:
    """The engine's name of the volume with this key."""
    return facts.volumes[key].name or f"{stack}_{key}"


def _secrets(engine: Engine, plan: AppPlan, config: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Insert what is missing: the given value, else the known one, else a new one.

    Returns all values that we know, and what was given and is left out.
    """
    wanted = needed(config, plan.env)
    there = present_secrets(engine)
    without = unknown(wanted, (*plan.given_secrets, *plan.secret_rules)) if plan.older else ()
    given = {name: value for name, value in plan.given_secrets.items() if name not in without}
    rules = {name: rule for name, rule in plan.secret_rules.items() if name not in without}
    made = choose(wanted, given, rules=rules, where=plan.author)
    values: dict[str, str] = {}
    for secret in wanted:
        if secret.name in plan.known_secrets and not {secret.key, secret.short} & set(given):
            values[secret.name] = plan.known_secrets[secret.name]
        elif secret.name not in there:
            values[secret.name] = made[secret.name]
    insert_secrets(engine, plan.stack, {name: value for name, value in values.items() if name not in there})
    return values, tuple(f"secret {name}" for name in without)
