from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState
from pytest_ccci.errors import CrashLoop, RecipeFault, RolledBack
from pytest_ccci.recipe.compose_facts import ComposeFacts, HealthcheckFacts, ServiceFacts, compose_facts
from pytest_ccci.run.checks import (
    ProofWindow,
    changed_services,
    check_running,
    check_stayed,
    window_seconds,
)

VERSION = "coop-cloud.docs_ci_test.version"
OLD, NEW = "1.1.0+0.0.20", "2.0.0+0.1.0"


def requested(*services: ServiceFacts) -> ComposeFacts:
    empty = compose_facts({"services": {}})
    return replace(empty, services={service.name: service for service in services})


APP = ServiceFacts("app", image="docs:2", deploy_labels={VERSION: NEW, "traefik.enable": "true"})
DB = ServiceFacts("db", image="postgres:15")
BOTH = requested(APP, DB)


def task(name: str, image: str, *, state: str = "running", current: bool = True, message: str = "") -> TaskState:
    return TaskState(name, state, "running", current, image, message=message)


def service(name: str, image: str, **changes: object) -> ServiceState:
    tasks = (task(f"t-{name}", image),)
    fresh = ServiceState(name, image, {}, 1, job=False, update_state="completed", update_message="", tasks=tasks)
    return replace(fresh, **changes)  # type: ignore[arg-type]  # the fields are checked by what is asserted


APP_UP = service("app", "docs:2", labels={VERSION: NEW})
DB_UP = service("db", "postgres:15")


def stack(*services: ServiceState) -> StackFacts:
    return StackFacts("docs_ci_test", services)


def test_what_was_requested_and_runs_is_proved() -> None:
    check_running(BOTH, stack(APP_UP, DB_UP))


def test_a_silent_rollback_is_found_by_the_services_image_though_all_is_healthy() -> None:
    """With start-first and ``failure_action: rollback`` health never blinks."""
    back = service("app", "docs:1", labels={VERSION: OLD}, update_state="rollback_completed")
    with pytest.raises(RolledBack, match="service app does not run what was deployed") as caught:
        check_running(BOTH, stack(back, DB_UP))
    assert caught.value.seen == "image docs:1, requested docs:2"


def test_a_silent_rollback_is_found_by_the_label_where_both_versions_have_one_image() -> None:
    with pytest.raises(RolledBack) as caught:
        check_running(BOTH, stack(replace(APP_UP, labels={VERSION: OLD}), DB_UP))
    assert caught.value.seen == f"label {VERSION}={OLD}, requested {NEW}"


def test_a_task_that_still_runs_the_old_image_is_found_though_the_services_spec_is_new() -> None:
    """What the tasks run counts, not what the service was asked for."""
    stale = replace(APP_UP, tasks=(task("t-app", "docs:1"),))
    with pytest.raises(RolledBack) as caught:
        check_running(BOTH, stack(stale, DB_UP))
    assert caught.value.seen == "a task runs docs:1, requested docs:2"


def test_a_service_that_head_dropped_and_that_is_still_there_is_found() -> None:
    """``docker stack deploy`` does not remove it."""
    with pytest.raises(RecipeFault, match="not those of the compose files") as caught:
        check_running(requested(APP), stack(APP_UP, DB_UP))
    assert caught.value.seen == "still there: db"


def test_a_service_that_is_not_there_is_found() -> None:
    with pytest.raises(RecipeFault) as caught:
        check_running(BOTH, stack(APP_UP))
    assert caught.value.seen == "missing: db"


DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("wanted", "runs", "same"),
    [
        ("nginx:1.25", "nginx:1.25", True),
        ("nginx:1.25", f"nginx:1.25@{DIGEST}", True),  # Docker adds the digest it resolved
        ("nginx", "nginx:latest", True),  # Docker adds the tag
        ("nginx", f"nginx:latest@{DIGEST}", True),
        ("docker.io/library/nginx:1.25", "nginx:1.25", True),
        ("docker.io/nginx:1.25", "nginx:1.25", True),
        ("quay.io/keycloak/keycloak:26.7.3", "quay.io/keycloak/keycloak:26.7.3", True),
        ("localhost:5000/nginx:1.25", "localhost:5000/nginx:1.25", True),
        (f"nginx:1.25@{DIGEST}", f"nginx:1.25@{DIGEST}", True),
        (f"nginx:1.25@{DIGEST}", f"nginx:1.25@{OTHER}", False),
        (f"nginx@{DIGEST}", f"nginx@{OTHER}", False),
        ("nginx:1.25", "nginx:1.24", False),
        ("nginx:1.25", "nginx", False),
        ("quay.io/nginx:1.25", "nginx:1.25", False),
        ("localhost:5000/nginx:1.25", "nginx:1.25", False),
    ],
)
def test_images_are_compared_as_docker_means_them(wanted: str, runs: str, *, same: bool) -> None:
    asked, there = requested(ServiceFacts("web", image=wanted)), stack(service("web", runs))
    if same:
        check_running(asked, there)
    else:
        with pytest.raises(RolledBack):
            check_running(asked, there)


def test_the_window_holds_when_the_same_tasks_are_up() -> None:
    check_stayed(ProofWindow({"app": ("t-app",), "db": ("t-db",)}, 5), stack(APP_UP, DB_UP))


def test_a_task_that_was_replaced_in_the_window_is_a_crash_though_its_successor_is_up() -> None:
    """A crash-looping service flashes *running* about once a second."""
    died = task("t-app", "docs:2", state="failed", message="task: non-zero exit (1)")
    again = replace(APP_UP, tasks=(died, task("t-app-2", "docs:2")))
    with pytest.raises(CrashLoop, match="service app did not stay up") as caught:
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(again))
    assert caught.value.seen == "failed: task: non-zero exit (1)"


def test_of_a_task_that_swarm_has_forgotten_a_later_one_tells_how_it_ended() -> None:
    later = task("t-app-8", "docs:2", state="complete", message="finished")
    again = replace(APP_UP, tasks=(later, task("t-app-9", "docs:2")))
    with pytest.raises(CrashLoop, match="service app did not stay up: because of t-app-8") as caught:
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(again), cause=lambda dead: f"because of {dead.task_id}")
    assert caught.value.seen == "the task is gone; one after it complete: finished"


def test_a_service_that_vanished_in_the_window_is_found() -> None:
    with pytest.raises(CrashLoop) as caught:
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(DB_UP))
    assert caught.value.seen == "the task is gone"


def test_a_second_task_that_appeared_in_the_window_is_found() -> None:
    """Two of what should be one: Swarm has begun to replace it."""
    two = replace(APP_UP, tasks=(*APP_UP.tasks, task("t-app-2", "docs:2")))
    with pytest.raises(CrashLoop):
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(two))


@pytest.mark.parametrize("state", ["rollback_started", "rollback_paused", "rollback_completed"])
def test_a_rollback_in_the_window_is_told_from_a_crash(state: str) -> None:
    back = replace(APP_UP, update_state=state, update_message="rolled back: task failed")
    with pytest.raises(RolledBack, match="was rolled back") as caught:
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(back))
    assert caught.value.seen == "rolled back: task failed"


def test_a_job_that_completed_in_the_window_is_no_crash() -> None:
    done = service("migrate", "docs:2", job=True, tasks=(task("t-migrate", "docs:2", state="complete"),))
    check_stayed(ProofWindow({"migrate": ("t-migrate",)}, 5), stack(done))
    once = replace(done, job=False, restart="none")
    check_stayed(ProofWindow({"migrate": ("t-migrate",)}, 5), stack(once))
    for changed in (
        replace(once, tasks=(replace(done.tasks[0], state="failed"),)),
        replace(once, tasks=()),
        replace(once, restart="on-failure"),  # as most services that should stay up say
    ):
        with pytest.raises(CrashLoop):
            check_stayed(ProofWindow({"migrate": ("t-migrate",)}, 5), stack(changed))


CHECK = HealthcheckFacts(("CMD", "true"), interval=10, timeout=3, retries=4, start_period=60)


@pytest.mark.parametrize(
    ("check", "fast", "seconds"),
    [
        (CHECK, True, 3),
        (CHECK, False, 30),
        (replace(CHECK, retries=2), True, 2),
        (replace(CHECK, retries=None), False, 30),
        (replace(CHECK, interval=None), False, 60),  # Docker's 30 s three times, cut at the longest we wait
        (replace(CHECK, disabled=True), False, 5),
        (None, False, 5),
        (None, True, 5),
    ],
)
def test_the_window_is_three_more_checks_or_as_many_as_find_a_dead_task(
    check: HealthcheckFacts | None, *, fast: bool, seconds: float
) -> None:
    assert window_seconds(requested(replace(APP, healthcheck=check)), fast_health=fast) == seconds


def test_the_slowest_check_decides_the_window() -> None:
    facts = requested(replace(APP, healthcheck=CHECK), DB)
    assert window_seconds(facts, fast_health=False) == 30


def test_nothing_to_prove_takes_no_time() -> None:
    assert window_seconds(requested(), fast_health=True) == 0


def test_changed_services_are_those_added_dropped_or_different() -> None:
    base = requested(APP, DB, ServiceFacts("old"))
    head = requested(replace(APP, image="docs:3"), DB, ServiceFacts("new"))
    assert changed_services(base, head) == ("app", "new", "old")
    assert changed_services(base, base) == ()


def test_a_task_that_died_in_the_window_is_told_with_its_cause() -> None:
    died = task("t-app", "docs:2", state="failed", message="task: non-zero exit (1)")
    again = replace(APP_UP, tasks=(died, task("t-app-2", "docs:2")))
    with pytest.raises(CrashLoop, match="service app did not stay up: because of t-app"):
        check_stayed(ProofWindow({"app": ("t-app",)}, 5), stack(again), cause=lambda dead: f"because of {dead.task_id}")
