"""Is a stack up? A pure judgement over observed facts.

Rules from outside, measured on Swarm: all replicas running is not converged while an update has not begun (the task
must be of the present spec); ``paused`` stays for ever after one flicker, so only ``updating`` and
``rollback_started`` are in flight; ``rollback_*`` means that the old spec was put back; services with 0 replicas and
completed jobs count as up.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_ccci.engine.observe import ServiceState, StackFacts, TaskState

__all__ = ["Failure", "FailureKind", "Judgement", "dead_tasks", "judge", "running_tasks"]

_IN_FLIGHT = {"updating"}
_DEAD = {"failed", "rejected", "orphaned"}
_DEATHS_IN_A_ROW = 3


class FailureKind(enum.Enum):
    """Why a stack will not come up by waiting longer."""

    ROLLED_BACK = "rolled back"
    CRASH_LOOP = "crash loop"
    PAUSED = "update paused"
    JOB_FAILED = "job failed"
    NO_IMAGE = "no image"


@dataclass(frozen=True)
class Failure:
    """One service that will not come up, and what was seen of it."""

    kind: FailureKind
    service: str
    seen: str


@dataclass(frozen=True)
class Judgement:
    """Converged, or what is still waited for, or why waiting is in vain. ``up`` of ``total`` services are up."""

    converged: bool
    waiting: tuple[str, ...]
    failures: tuple[Failure, ...]
    up: int
    total: int


def judge(facts: StackFacts, *, forgiven: frozenset[str] = frozenset()) -> Judgement:
    """Judge the stack as observed.

    ``forgiven`` are ids of tasks whose death makes no crash loop: those that were dead before anybody waited. Swarm
    remembers the tasks that every restart of the engine has killed, and an app that is kept running has many.
    """
    waits = {service.name: _missing(service) for service in facts.services}
    progress = _last_progress(facts.services, waits)
    failures = tuple(
        f for service in facts.services if (f := _failure(service, waits[service.name], progress, forgiven))
    )
    waiting = tuple(f"{name} ({why})" for name, why in waits.items() if why)
    total = len(facts.services)
    return Judgement(total > 0 and not waiting, waiting, failures, total - len(waiting), total)


def running_tasks(service: ServiceState) -> tuple[TaskState, ...]:
    """The tasks of the present spec that run and should."""
    return tuple(t for t in service.tasks if t.current and t.state == "running" and t.desired == "running")


def dead_tasks(facts: StackFacts) -> frozenset[str]:
    """The ids of all tasks that have died."""
    return frozenset(task.task_id for service in facts.services for task in service.tasks if _died(service, task))


def _missing(service: ServiceState) -> str:
    """Empty when the service is up, else what it lacks."""
    if service.update_state.startswith("rollback_"):
        return service.update_state.replace("_", " ")
    if service.job:
        done = sum(1 for task in service.tasks if task.current and task.state == "complete")
        return "" if done >= service.wanted else f"{done}/{service.wanted} completed"
    if service.update_state in _IN_FLIGHT:
        return f"updating, {_phase(service)}"
    others = [t for t in service.tasks if t.state == "running" and t.desired == "running" and not t.current]
    ready = len(running_tasks(service))
    if ready == service.wanted and not others:
        return ""
    return f"{_phase(service)}, {ready}/{service.wanted}"


def _phase(service: ServiceState) -> str:
    wanted = [task for task in service.tasks if task.desired in {"running", "ready"}]
    if not wanted:
        return "no task yet"
    newest = wanted[-1]
    return f"{newest.state}: {newest.message}" if newest.state in {"pending", "rejected"} else newest.state


def _failure(service: ServiceState, missing: str, progress: float, forgiven: frozenset[str]) -> Failure | None:
    dead = [task for task in service.tasks if task.current and _died(service, task)]
    kind: FailureKind | None = None
    seen = _describe_last(dead)
    if not missing:
        return None
    if service.update_state.startswith("rollback_"):
        kind, seen = FailureKind.ROLLED_BACK, f"{service.update_state}: {service.update_message}"
    elif dead and "No such image" in dead[-1].message:
        kind = FailureKind.NO_IMAGE
    elif service.job and dead:
        kind = FailureKind.JOB_FAILED
    elif service.update_state == "paused" and not _alive(service):
        kind, seen = FailureKind.PAUSED, service.update_message or seen
    elif sum(1 for task in dead if task.since > progress and task.task_id not in forgiven) >= _DEATHS_IN_A_ROW:
        kind, seen = FailureKind.CRASH_LOOP, f"{len(dead)} tasks died, the last one {seen}"
    return Failure(kind, service.name, seen) if kind else None


def _died(service: ServiceState, task: TaskState) -> bool:
    if task.state in _DEAD:
        return True
    # A task that ended by itself with status 0 died too, where the service should keep running.
    return task.state == "complete" and not service.job and task.desired == "shutdown"


def _alive(service: ServiceState) -> bool:
    return any(task.current and task.desired == "running" and task.state not in _DEAD for task in service.tasks)


def _last_progress(services: Iterable[ServiceState], waits: dict[str, str]) -> float:
    """When a service last came up: deaths before that may be those of an app that waited for it."""
    return max((t.since for s in services if not waits[s.name] for t in running_tasks(s)), default=0.0)


def _describe(task: TaskState) -> str:
    code = f" (exit status {task.exit_code})" if task.exit_code is not None else ""
    return f"{task.state}{code}: {task.message}"


def _describe_last(dead: list[TaskState]) -> str:
    return _describe(dead[-1]) if dead else "no task died"
