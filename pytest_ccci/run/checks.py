"""What "upgraded" means: the right tasks run, and they stay up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_ccci.engine.convergence import tasks_of
from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState, running_tasks
from pytest_ccci.engine.registry import parse_reference
from pytest_ccci.errors import CrashLoop, RecipeFault, RolledBack
from pytest_ccci.recipe.compose_facts import ComposeFacts, ServiceFacts

__all__ = [
    "ProofWindow",
    "changed_services",
    "check_running",
    "check_stayed",
    "window_seconds",
]

_DEAD = frozenset({"complete", "failed", "rejected"})
_NO_CHECK = 5.0
_LONGEST = 60.0
_CHECKS = 3
_DOCKER_RETRIES = 3


@dataclass(frozen=True)
class ProofWindow:
    """The tasks that must stay up, per service, and for how many seconds."""

    tasks: Mapping[str, tuple[str, ...]]
    seconds: float


def check_running(requested: ComposeFacts, facts: StackFacts) -> None:
    """Prove that what runs is what was requested: images, labels, and no service besides.

    Swarm's silent rollback leaves a healthy app of the old version; the next deploy erases its trace, so that this is
    asked at once and of the tasks themselves, not of what was sent.

    Raises:
        RolledBack: something else runs than was requested.
        RecipeFault: a service is missing, or one is still there that head no longer has.
    """
    there = {service.name: service for service in facts.services}
    extra, missing = sorted(set(there) - set(requested.services)), sorted(set(requested.services) - set(there))
    if extra or missing:
        seen = "; ".join(text for text in (_list("still there", extra), _list("missing", missing)) if text)
        raise RecipeFault("the services that run are not those of the compose files", where=facts.stack, seen=seen)
    for name, wanted in requested.services.items():
        problem = _difference(wanted, there[name])
        if problem:
            raise RolledBack(f"service {name} does not run what was deployed", where=facts.stack, seen=problem)


def changed_services(base: ComposeFacts, head: ComposeFacts) -> tuple[str, ...]:
    """Names of the services that head adds, drops, or gives another image, label or setting."""
    names = set(base.services) | set(head.services)
    return tuple(sorted(name for name in names if base.services.get(name) != head.services.get(name)))


def window_seconds(facts: ComposeFacts, *, fast_health: bool) -> float:
    """How long the same tasks must stay up at least: three more checks of each, or as many as its own ``retries``.

    A task counts as running only once its check passed, which ends its start period. Whoever closes the window must
    wait on while a check is failing, until it passes again or ``retries`` failures in a row make Docker replace the
    task. Without a check: Swarm's own monitor of 5 s.
    """
    return min(
        _LONGEST, max((_window(service, fast_health=fast_health) for service in facts.services.values()), default=0)
    )


def check_stayed(window: ProofWindow, facts: StackFacts, *, cause: Callable[[TaskState], str] = lambda _: "") -> None:
    """Prove that the tasks of the window are those that run now; ``cause`` tells in a line why one of them died.

    Raises:
        RolledBack: Swarm went back to the old version meanwhile.
        CrashLoop: a task died and was replaced.
    """
    for service in facts.services:
        if service.update_state.startswith("rollback_"):
            failed = [task for task in service.tasks if task.state == "failed"]
            text = _with_cause(f"service {service.name} was rolled back", failed, cause)
            raise RolledBack(text, where=facts.stack, seen=service.update_message)
    now = tasks_of(facts)
    for name, tasks in window.tasks.items():
        there = facts.service(name)
        if there is None or (not there.job and set(now.get(name, ())) | _ended(there) != set(tasks) | _ended(there)):
            died = [t for t in there.tasks if t.task_id in tasks] if there else []
            seen = "; ".join(f"{t.state}: {t.message}" for t in died) or "the task is gone"
            if there and not died:  # Swarm forgets old tasks of a service that it starts again and again
                died = [t for t in there.tasks if t.state in _DEAD][-1:]
                seen += "".join(f"; one after it {t.state}: {t.message}" for t in died)
            text = _with_cause(f"service {name} did not stay up", died, cause)
            raise CrashLoop(text, where=facts.stack, seen=seen)


def _ended(service: ServiceState) -> set[str]:
    """The tasks that ran to their end where none is started again, whatever its end: that is what they are for."""
    return {task.task_id for task in service.tasks if service.restart == "none" and task.state == "complete"}


def _with_cause(text: str, died: list[TaskState], cause: Callable[[TaskState], str]) -> str:
    why = cause(died[-1]) if died else ""
    return f"{text}: {why}" if why else text


def _window(service: ServiceFacts, *, fast_health: bool) -> float:
    check = service.healthcheck
    if check is None or check.disabled:
        return _NO_CHECK
    return (1.0 if fast_health else (check.interval or 30.0)) * min(check.retries or _DOCKER_RETRIES, _CHECKS)


def _difference(wanted: ServiceFacts, there: ServiceState) -> str:
    if not _same_image(wanted.image, there.image):
        return f"image {there.image}, requested {wanted.image}"
    for task in running_tasks(there):
        if not _same_image(wanted.image, task.image):
            return f"a task runs {task.image}, requested {wanted.image}"
    for label, value in wanted.deploy_labels.items():
        if label.startswith("coop-cloud.") and label.endswith(".version") and there.labels.get(label) != value:
            return f"label {label}={there.labels.get(label)}, requested {value}"
    return ""


def _same_image(wanted: str, there: str) -> bool:
    """Docker adds the tag ``latest`` where none was given, and the digest it resolved; a given digest must be kept."""
    asked, found = parse_reference(wanted), parse_reference(there)
    return (asked.name, asked.tag) == (found.name, found.tag) and asked.digest in {"", found.digest}


def _list(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""
