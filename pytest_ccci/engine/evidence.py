"""What a person wants to see of a stack that failed: how its tasks fared, and the last lines they logged."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.convergence import running_tasks
from pytest_ccci.engine.observe import ServiceState, StackFacts, observe
from pytest_ccci.errors import CcciError

__all__ = ["collect_evidence", "task_history"]

_LINES = 25


def collect_evidence(engine: Engine, stack: str) -> tuple[tuple[str, str], ...]:
    """``(title, text)`` per section: the task history, then the last log lines of each service that is not well.

    Never raises: evidence that cannot be had is said to be missing.
    """
    try:
        facts = observe(engine, stack)
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
            raw = engine.client.api.logs(container, tail=lines, stdout=True, stderr=True)
            parts.append(f"--- container {container[:12]}\n{raw.decode('utf-8', 'replace').rstrip()}")
    return "\n".join(parts) or "nothing was logged"


def _unwell(service: ServiceState) -> bool:
    dead = any(task.state in {"failed", "rejected"} for task in service.tasks)
    return dead or (not service.job and len(running_tasks(service)) < service.wanted)
