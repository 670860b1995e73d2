"""Waits for a stack: events wake us, the API is re-read as the truth, polling is the fallback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pytest_ccci.engine.client import Engine
from pytest_ccci.engine.convergence import FailureKind, Judgement, dead_tasks, judge, running_tasks
from pytest_ccci.engine.observe import StackFacts, observe, stack_filter
from pytest_ccci.errors import CrashLoop, ImageMissing, InfrastructureFault, NotConverged, RecipeFault, RolledBack
from pytest_ccci.locks import Tell
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = ["stack_events", "tasks_of", "wait_converged"]

_POLL = 0.15
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
    """An event that is set whenever a container of ``stack`` changes (tasks have no events of their own)."""
    wake, stream = threading.Event(), None
    with suppress(Exception):  # without events the poll alone does it
        stream = engine.client.api.events(filters={"type": "container", **stack_filter(stack)})

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


def wait_converged(engine: Engine, stack: str, *, deadline: Deadline, tell: Tell, doing: str = "deploy") -> StackFacts:
    """Wait until ``stack`` is up; fail as soon as it is clear that it will not be.

    Raises:
        RecipeFault: RolledBack, CrashLoop, ImageMissing, or NotConverged at the deadline, with what was in progress.
        InfrastructureFault: the engine could not even start tasks.
        EngineUnavailable: the engine went away.
    """
    watch, told, last = Stopwatch(), "", -_REMIND
    before: frozenset[str] | None = None
    with stack_events(engine, stack) as wake:
        while True:
            wake.clear()
            facts = observe(engine, stack)
            before = dead_tasks(facts) if before is None else before
            verdict = judge(facts, forgiven=before)
            if verdict.converged:
                return facts
            _raise_failure(stack, verdict)
            if deadline.passed:
                raise _overdue(stack, facts, verdict, deadline)
            line = f"{doing}: waiting for {', '.join(verdict.waiting)}; {verdict.up}/{verdict.total} up"
            if watch.seconds - last > (1 if line != told else _REMIND):
                tell(line)
                told, last = line, watch.seconds
            wake.wait(_POLL)


def tasks_of(facts: StackFacts) -> dict[str, tuple[str, ...]]:
    """The ids of the tasks that run, per service: what must stay the same during the proof window."""
    return {service.name: tuple(t.task_id for t in running_tasks(service)) for service in facts.services}


def _raise_failure(stack: str, verdict: Judgement) -> None:
    if not verdict.failures:
        return
    first = verdict.failures[0]
    seen = "; ".join(f"{failure.service}: {failure.seen}" for failure in verdict.failures)
    raise _ERRORS[first.kind](f"service {first.service}: {first.kind.value}", where=stack, seen=seen)


def _overdue(stack: str, facts: StackFacts, verdict: Judgement, deadline: Deadline) -> Exception:
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
            where=stack,
            seen=f"{seen}; {stuck[-1].message}",
            advice="see 'docker service ps --no-trunc': no room, no address left, or a node is down",
        )
    return NotConverged(
        f"not up after {deadline.seconds:.0f} s",
        where=stack,
        seen=f"still in progress: {seen}",
        advice="raise health.timeout in recipe.toml, or the label coop-cloud.<stack>.timeout, if it only needs longer",
    )
