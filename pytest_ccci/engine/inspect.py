"""Reads from the engine what is true of a stack right now, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pytest_ccci.engine.client import Engine, engine_errors

__all__ = [
    "STACK_LABEL",
    "ServiceState",
    "StackFacts",
    "TaskState",
    "failing_checks",
    "inspect_stack",
    "parse_time",
    "running_tasks",
    "stack_filter",
]

STACK_LABEL = "com.docker.stack.namespace"

_JOBS = {"ReplicatedJob", "GlobalJob"}


@dataclass(frozen=True)
class TaskState:
    """One task: ``current`` says whether it runs the service's present spec; ``since`` is its last change (epoch s)."""

    task_id: str
    state: str
    desired: str
    current: bool
    image: str
    container: str = ""
    exit_code: int | None = None
    message: str = ""
    since: float = 0.0


@dataclass(frozen=True)
class ServiceState:
    """One service: what it asks for, how its last update stands, and its tasks.

    ``wanted`` is the number of tasks it should have; ``job`` marks one that runs to its end; ``restart`` is when Swarm
    starts a task again that ended: ``any`` (always), ``on-failure`` or ``none``.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    wanted: int
    job: bool
    update_state: str
    update_message: str
    tasks: tuple[TaskState, ...]
    restart: str = "any"


@dataclass(frozen=True)
class StackFacts:
    """All services of one stack."""

    stack: str
    services: tuple[ServiceState, ...]

    def service(self, name: str) -> ServiceState | None:
        """The service with this short name."""
        return next((service for service in self.services if service.name == name), None)


def stack_filter(stack: str) -> dict[str, str]:
    """The API filter for what belongs to ``stack``."""
    return {"label": f"{STACK_LABEL}={stack}"}


def inspect_stack(engine: Engine, stack: str) -> StackFacts:
    """What the engine says of ``stack`` now.

    Raises:
        EngineUnavailable: it does not answer.
    """
    with engine_errors(f"looking at stack {stack}"):
        services = engine.client.api.services(filters=stack_filter(stack))
        tasks = engine.client.api.tasks(filters=stack_filter(stack)) if services else []
        nodes = _node_count(engine) if any("Global" in s["Spec"]["Mode"] for s in services) else 1
    by_service: dict[str, list[dict[str, Any]]] = {}
    for task in tasks:
        by_service.setdefault(task["ServiceID"], []).append(task)
    return StackFacts(
        stack, tuple(_service(stack, raw, by_service.get(raw["ID"], []), nodes) for raw in _by_name(services))
    )


def failing_checks(engine: Engine, facts: StackFacts) -> dict[str, TaskState]:
    """The running tasks of which the container's last health check failed, one by the short name of its service."""
    failing: dict[str, TaskState] = {}
    with engine_errors(f"looking at the health of stack {facts.stack}"):
        for service in facts.services:
            for task in service.tasks:
                if task.container and task.state == "running" and task.desired == "running":
                    health = engine.client.api.inspect_container(task.container)["State"].get("Health") or {}
                    if health.get("FailingStreak"):
                        failing[service.name] = task
    return failing


def parse_time(text: str) -> float:
    """Epoch seconds of Docker's RFC 3339 time with nanoseconds; 0 when it is empty."""
    if not text:
        return 0.0
    head, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(fraction + '000000')[:6]}+00:00").timestamp()


def _by_name(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(services, key=lambda raw: str(raw["Spec"]["Name"]))


def _node_count(engine: Engine) -> int:
    return sum(1 for node in engine.client.api.nodes() if node["Status"]["State"] == "ready")


def _service(stack: str, raw: Mapping[str, Any], tasks: list[dict[str, Any]], nodes: int) -> ServiceState:
    spec, update = raw["Spec"], raw.get("UpdateStatus") or {}
    container = spec["TaskTemplate"]["ContainerSpec"]
    return ServiceState(
        name=str(spec["Name"]).removeprefix(f"{stack}_"),
        image=container["Image"],
        labels=dict(spec.get("Labels") or {}),
        wanted=_wanted(spec["Mode"], nodes),
        job=bool(_JOBS & set(spec["Mode"])),
        update_state=update.get("State", ""),
        update_message=update.get("Message", ""),
        tasks=tuple(sorted((_task(task, spec["TaskTemplate"]) for task in tasks), key=lambda t: t.since)),
        restart=(spec["TaskTemplate"].get("RestartPolicy") or {}).get("Condition") or "any",
    )


def _wanted(mode: Mapping[str, Any], nodes: int) -> int:
    if "Replicated" in mode:
        return int(mode["Replicated"].get("Replicas", 1))
    if "ReplicatedJob" in mode:
        return int(mode["ReplicatedJob"].get("TotalCompletions", 1))
    return nodes


def _task(raw: Mapping[str, Any], template: Mapping[str, Any]) -> TaskState:
    status, spec = raw["Status"], raw["Spec"]
    container = status.get("ContainerStatus") or {}
    return TaskState(
        task_id=raw["ID"],
        state=status["State"],
        desired=raw["DesiredState"],
        current=_same_work(spec, template),
        image=spec["ContainerSpec"]["Image"],
        container=container.get("ContainerID", ""),
        exit_code=container.get("ExitCode"),
        message=status.get("Err") or status.get("Message", ""),
        since=parse_time(status.get("Timestamp", "")),
    )


def _same_work(spec: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    """Whether a task was made from the service's present template (an update that has not begun shows the old one)."""
    keys = ("ContainerSpec", "ForceUpdate", "Resources")
    return all(spec.get(key) == template.get(key) for key in keys)


def running_tasks(service: ServiceState) -> tuple[TaskState, ...]:
    """The tasks of the present spec that run and should."""
    return tuple(t for t in service.tasks if t.current and t.state == "running" and t.desired == "running")
