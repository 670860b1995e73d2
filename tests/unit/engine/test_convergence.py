"""When is a stack up, and when is waiting in vain: the table behind every deploy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_ccci.engine.convergence import FailureKind, dead_tasks, judge
from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState, parse_time, running_tasks


def task(task_id: str = "t1", **changes: object) -> TaskState:
    base = TaskState(task_id, "running", "running", current=True, image="app:2", container="c1", since=100.0)
    return replace(base, **changes)  # type: ignore[arg-type]  # shown by what is asserted


def dead(number: int, **changes: object) -> TaskState:
    fields = {"state": "failed", "desired": "shutdown", "exit_code": 1, "message": "non-zero exit", **changes}
    return task(f"dead{number}", since=200.0 + number, **fields)


def service(*tasks: TaskState, **changes: object) -> ServiceState:
    base = ServiceState("app", "app:2", {}, 1, job=False, update_state="", update_message="", tasks=tasks)
    return replace(base, **changes)  # type: ignore[arg-type]  # shown by what is asserted


def stack(*services: ServiceState) -> StackFacts:
    return StackFacts("blog_ci_test", services)


UP = service(task())

CONVERGED = {
    "all tasks of the present spec run": stack(UP),
    "an update that completed": stack(replace(UP, update_state="completed")),
    "paused after one flicker, the present spec runs": stack(replace(UP, update_state="paused")),
    "no replicas wanted": stack(service(wanted=0)),
    "a job that ran to its end": stack(service(task(state="complete", desired="complete"), job=True)),
    "a service that runs once and ended well": stack(
        service(dead(1, state="complete", exit_code=0), restart="none"), replace(UP, name="web")
    ),
    "one that is started again only after a failure": stack(
        service(dead(1), dead(2, state="complete", exit_code=0), restart="on-failure")
    ),
    "one of two replicas ended well": stack(
        service(dead(1, state="complete", exit_code=0), task(), restart="none", wanted=2)
    ),
}

WAITING = {
    "no service at all": stack(),
    "the update has not begun, the old task still runs": stack(service(task(current=False))),
    "the old task still runs beside the new one": stack(service(task("old", current=False), task("new"))),
    "the update is in flight": stack(replace(UP, update_state="updating")),
    "healthy is not reached": stack(service(task(state="starting"))),
    "one of two replicas": stack(service(task(), wanted=2)),
    "a job that runs": stack(service(task(), job=True)),
    "a service that ran once in the version before": stack(
        service(dead(1, state="complete", current=False), restart="none")
    ),
    "one that ended well and is started again": stack(service(dead(1, state="complete"), task(state="starting"))),
    "two deaths are no loop yet": stack(service(dead(1), dead(2), task(state="starting"))),
    "deaths before its database came up": stack(
        service(dead(1), dead(2), dead(3), task(state="starting")),
        service(task(since=300.0), name="db"),
    ),
    "a death of the version before": stack(
        service(*(dead(n, current=False) for n in range(4)), task(state="starting"))
    ),
}

FAILED = {
    FailureKind.ROLLED_BACK: stack(replace(UP, update_state="rollback_completed")),
    FailureKind.CRASH_LOOP: stack(service(dead(1), dead(2), dead(3), task(state="ready"))),
    FailureKind.PAUSED: stack(service(dead(1), update_state="paused", update_message="update paused: failure")),
    FailureKind.NO_IMAGE: stack(service(dead(1, state="rejected", message="No such image: app:9"))),
    FailureKind.JOB_FAILED: stack(service(dead(1), job=True)),
}


def test_a_service_that_runs_once_and_failed_is_not_waited_for() -> None:
    verdict = judge(stack(service(dead(1), restart="none")))
    assert [failure.kind for failure in verdict.failures] == [FailureKind.JOB_FAILED]


@pytest.mark.parametrize("facts", CONVERGED.values(), ids=CONVERGED)
def test_stack_is_up_when(facts: StackFacts) -> None:
    verdict = judge(facts)
    assert verdict.converged
    assert not verdict.failures


@pytest.mark.parametrize("facts", WAITING.values(), ids=WAITING)
def test_stack_is_waited_for_when(facts: StackFacts) -> None:
    verdict = judge(facts)
    assert not verdict.converged
    assert not verdict.failures


@pytest.mark.parametrize(("kind", "facts"), FAILED.items(), ids=lambda value: getattr(value, "name", ""))
def test_waiting_is_in_vain_when(kind: FailureKind, facts: StackFacts) -> None:
    verdict = judge(facts)
    assert not verdict.converged
    assert [failure.kind for failure in verdict.failures] == [kind]


def test_rollback_is_seen_even_though_the_old_version_is_healthy() -> None:
    verdict = judge(stack(replace(UP, update_state="rollback_started", update_message="rolling back")))
    assert verdict.failures[0].seen == "rollback_started: rolling back"


def test_a_flash_of_running_in_a_crash_loop_is_not_up() -> None:
    flashing = service(dead(1), dead(2), dead(3), task("fourth", state="running", since=204.0))
    assert judge(stack(flashing)).converged  # one look cannot tell
    assert [t.task_id for t in running_tasks(flashing)] == ["fourth"]  # the proof window asks for the same ids later


def test_docker_times_keep_their_fraction() -> None:
    assert parse_time("2026-11-23T10:00:00.123456789Z") - parse_time("2026-11-23T10:00:00Z") == pytest.approx(0.123456)


def test_tasks_that_an_engine_took_down_with_it_before_are_no_crash_loop_of_today() -> None:
    facts = stack(service(dead(1), dead(2), dead(3), dead(4), task(state="starting")))
    before = dead_tasks(stack(service(dead(1), dead(2), dead(3))))
    assert judge(facts, forgiven=before).failures == ()
    assert judge(facts, forgiven=dead_tasks(stack(service(dead(1))))).failures[0].kind == FailureKind.CRASH_LOOP


def test_a_rollback_is_explained_by_the_task_of_the_new_version_not_by_an_older_death_of_the_old_one() -> None:
    of_the_base, of_the_head = dead(1), dead(2, current=False)
    rolled_back = service(of_the_base, of_the_head, task(), update_state="rollback_completed")
    (failure,) = judge(stack(rolled_back)).failures
    assert failure.died == of_the_head
    (failure,) = judge(stack(replace(rolled_back, tasks=(of_the_base, task())))).failures
    assert failure.died == of_the_base
