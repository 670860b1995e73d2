"""Is a stack up? A pure judgement over inspected facts, and the wait for it: events wake us, the API is the truth."""

from __future__ import annotations

import enum
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.containers import cause_of
from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState, inspect_stack, running_tasks, stack_filter
from pytest_ccci.engine.objects import post_service
from pytest_ccci.errors import (
    CcciError,
    CrashLoop,
    ImageMissing,
    InfrastructureFault,
    NotConverged,
    RecipeFault,
    RolledBack,
)
from pytest_ccci.progress import WaitLine
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = [
    "Failure",
    "FailureKind",
    "Judgement",
    "dead_tasks",
    "failure_of",
    "judge",
    "stack_events",
    "tasks_of",
    "wait_converged",
]

_LOG = logging.getLogger(__name__)

_IN_FLIGHT = {"updating"}
_DEAD = {"failed", "rejected", "orphaned"}
_DEATHS_IN_A_ROW = 3
_OF_THE_ENGINE = re.compile(
    r"unable to remount dir as readonly|no space left on device|resource temporarily unavailable|too many open files|"
    r"fork/exec .*: cannot allocate memory|could not find an available|context deadline exceeded|"
    r"error while creating mount source path|ttrpc: closed",
    re.IGNORECASE,
)
"""The engine's own words (never a program's) for a container that it could not start, whatever is in the container.

"unable to remount dir as readonly … device or resource busy" is seen on busy machines: another program that the engine
starts at that moment still has the file open that a secret or config is being written to.
"""


class FailureKind(enum.Enum):
    """Why a stack will not come up by waiting longer."""

    ROLLED_BACK = "rolled back"
    CRASH_LOOP = "crash loop"
    PAUSED = "update paused"
    JOB_FAILED = "job failed"
    NO_IMAGE = "no image"


@dataclass(frozen=True)
class Failure:
    """One service that will not come up, what was seen of it, and its task that died last."""

    kind: FailureKind
    service: str
    seen: str
    died: TaskState | None = None

    @property
    def of_the_engine(self) -> bool:
        """Whether the task that died last was never started, for a reason that is the engine's alone."""
        return self.died is not None and _not_started(self.died)


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
    ended = sum(1 for task in service.tasks if task.current and _ended_well(service, task))
    if ready + min(ended, max(service.wanted - ready, 0)) == service.wanted and not others:
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
    elif dead and (service.job or service.restart == "none"):
        kind = FailureKind.JOB_FAILED
    elif service.update_state == "paused" and not _alive(service):
        kind, seen = FailureKind.PAUSED, service.update_message or seen
    elif sum(1 for task in dead if task.since > progress and task.task_id not in forgiven) >= _DEATHS_IN_A_ROW:
        kind, seen = FailureKind.CRASH_LOOP, f"{len(dead)} tasks died, the last one {seen}"
    others = [task for task in service.tasks if task.state in _DEAD and not task.current]
    # After a rollback the service's present spec is the old one, of which tasks may have died long before the update.
    failed = others or dead if kind is FailureKind.ROLLED_BACK else dead or others
    return Failure(kind, service.name, seen, failed[-1] if failed else None) if kind else None


def _died(service: ServiceState, task: TaskState) -> bool:
    if task.state in _DEAD:
        return True
    # A task that ended by itself with status 0 died too, where the service should keep running.
    ended = task.state == "complete" and not service.job and task.desired == "shutdown"
    return ended and not _ended_well(service, task)


def _not_started(task: TaskState) -> bool:
    """Whether the engine could not start its container, for a reason of its own."""
    return _OF_THE_ENGINE.search(task.message) is not None


def _ended_well(service: ServiceState, task: TaskState) -> bool:
    """Whether it ran to its end, and Swarm will not start it again: what a service does that only prepares others."""
    return task.state == "complete" and not service.job and service.restart != "any"


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


_CHANGES = ["create", "start", "kill", "die", "oom", "stop", "destroy", "health_status"]
_POLL = 0.25
_REMIND = 10.0
_STUCK_STATES = ("new", "pending", "allocated", "assigned", "accepted", "preparing")

_ERRORS: dict[FailureKind, type[RecipeFault]] = {
    FailureKind.ROLLED_BACK: RolledBack,
    FailureKind.CRASH_LOOP: CrashLoop,
    FailureKind.PAUSED: CrashLoop,
    FailureKind.JOB_FAILED: CrashLoop,
    FailureKind.NO_IMAGE: ImageMissing,
}


@contextmanager
def stack_events(engine: Engine, stack: str) -> Iterator[threading.Event]:
    """An event that is set whenever a container of ``stack`` changes (tasks have no events of their own).

    A health check that comes to what the last one came to is no change, and nobody is woken for it.
    """
    wake, stream = threading.Event(), None
    with suppress(Exception):  # without events the poll alone does it
        stream = engine.client.api.events(filters={"type": "container", "event": _CHANGES, **stack_filter(stack)})

    def listen() -> None:
        with suppress(Exception):  # the stream ends by being closed under us
            for _ in stream or ():
                wake.set()

    listener = threading.Thread(target=listen, name=f"events-{stack}", daemon=True)
    listener.start()
    try:
        yield wake
    finally:
        if stream is not None:
            with suppress(Exception):  # closing a stream the engine already closed
                stream.close()
        listener.join(timeout=1)


def wait_converged(engine: Engine, stack: str, *, deadline: Deadline, doing: str = "deploy") -> StackFacts:
    """Wait until ``stack`` is up; fail as soon as it is clear that it will not be.

    An update that paused because the engine could not start a container is continued, once.

    Raises:
        RecipeFault: RolledBack, CrashLoop, ImageMissing, or NotConverged at the deadline, with what was in progress.
        InfrastructureFault: the engine could not start tasks.
        EngineUnavailable: the engine went away.
    """
    watch, told, last = Stopwatch(), "", -_REMIND
    before: frozenset[str] | None = None
    continued = False
    with stack_events(engine, stack) as wake:
        while True:
            wake.clear()
            facts = inspect_stack(engine, stack)
            before = dead_tasks(facts) if before is None else before
            verdict = judge(facts, forgiven=before)
            if verdict.converged:
                return facts
            if verdict.failures and not continued and all(map(_can_continue, verdict.failures)):
                continued = True
                for failure in verdict.failures:
                    _continue_update(engine, stack, failure)
                continue
            if verdict.failures:
                raise failure_of(engine, stack, verdict.failures)
            if deadline.passed:
                raise _overdue(engine, facts, verdict, deadline)
            line = f"{doing}: waiting for {', '.join(verdict.waiting)}; {verdict.up}/{verdict.total} up"
            if watch.seconds - last > (1 if line != told else _REMIND):
                _LOG.info(WaitLine(line))
                told, last = line, watch.seconds
            wake.wait(_POLL)


def tasks_of(facts: StackFacts) -> dict[str, tuple[str, ...]]:
    """The ids of the tasks that run, per service: what must stay the same during the proof window."""
    return {service.name: tuple(t.task_id for t in running_tasks(service)) for service in facts.services}


def _can_continue(failure: Failure) -> bool:
    return failure.kind is FailureKind.PAUSED and failure.of_the_engine


def _continue_update(engine: Engine, stack: str, failure: Failure) -> None:
    """Continue a paused update as ``docker service update SERVICE`` does: by asking for the same service again."""
    why = failure.died.message if failure.died else ""
    _LOG.warning(f"the engine could not start {failure.service} ({why}), and the update paused: it is continued, once")
    with engine_errors(f"continuing the update of {failure.service}"):
        for service in engine.client.api.services(filters={"name": f"{stack}_{failure.service}"}):
            if service["Spec"]["Name"] == f"{stack}_{failure.service}":
                post_service(engine, service)


def failure_of(engine: Engine, stack: str, failures: tuple[Failure, ...]) -> CcciError:
    """The fault of a stack that will not come up: the cause of the first service's in its words, all as seen.

    It is the recipe's where any service's is.
    """
    first = next((failure for failure in failures if not failure.of_the_engine), failures[0])
    if first.of_the_engine and first.died is not None:
        return _start_failed(stack, first.service, first.died.message)
    cause = cause_of(engine, first.died.container, exit_code=first.died.exit_code) if first.died else ""
    seen = "; ".join(f"{failure.service}: {failure.seen}" for failure in failures)
    text = f"service {first.service}: {first.kind.value}"
    return _ERRORS[first.kind](f"{text}, {cause}" if cause else text, where=stack, seen=seen)


def _start_failed(stack: str, service: str, seen: str) -> InfrastructureFault:
    advice = "see ccci doctor; then run it again"
    return InfrastructureFault(f"the engine could not start service {service}", where=stack, seen=seen, advice=advice)


def _overdue(engine: Engine, facts: StackFacts, verdict: Judgement, deadline: Deadline) -> Exception:
    seen = ", ".join(verdict.waiting)
    stuck = [
        task
        for service in facts.services
        for task in service.tasks
        if task.desired in {"running", "ready"} and task.state in _STUCK_STATES
    ]
    if stuck and not any(t.container for s in facts.services for t in s.tasks if t.desired == "running"):
        return InfrastructureFault(
            f"the engine started no task within {deadline.seconds:.0f} s",
            where=facts.stack,
            seen=f"{seen}; {stuck[-1].message}",
            advice="see 'docker service ps --no-trunc': no room, no address left, or a node is down",
        )
    for service in facts.services:
        died = [task for task in service.tasks if task.current and _died(service, task)]
        if len(running_tasks(service)) < service.wanted and died and _not_started(died[-1]):
            return _start_failed(facts.stack, service.name, died[-1].message)
    return NotConverged(
        f"not up after {deadline.seconds:.0f} s{_first_cause(engine, facts)}",
        where=facts.stack,
        seen=f"still in progress: {seen}",
        advice="raise health.timeout in recipe.toml, or the label coop-cloud.<stack>.timeout, if it only needs longer",
    )


def _first_cause(engine: Engine, facts: StackFacts) -> str:
    """The cause at the first service that is not up: of its task that died last, else of the one that comes up."""
    for service in facts.services:
        task = None if len(running_tasks(service)) >= service.wanted else _telling(service)
        cause = cause_of(engine, task.container, exit_code=_exit_of(task)) if task else ""
        if cause:
            return f": service {service.name}, {cause}"
    return ""


def _telling(service: ServiceState) -> TaskState | None:
    made = [task for task in service.tasks if task.container]
    died = [task for task in made if task.exit_code]
    return next(reversed(died or made), None)


def _exit_of(task: TaskState) -> int | None:
    """A task that has not ended says 0."""
    return task.exit_code or None
