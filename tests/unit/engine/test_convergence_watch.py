"""What is told of a stack that does not come up: the cause, from what the engine knows of the task that failed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from pytest_ccci.engine.containers import collect_evidence
from pytest_ccci.engine.convergence import wait_converged
from pytest_ccci.errors import CcciError, CrashLoop, InfrastructureFault, NotConverged, RolledBack
from pytest_ccci.waiting import Deadline

TEMPLATE = {"ContainerSpec": {"Image": "docs:2"}, "ForceUpdate": 0}
BEFORE = {"ContainerSpec": {"Image": "docs:1"}, "ForceUpdate": 0}
LOG = b'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: cannot merge 1 people\n'


def task(number: int, state: str, *, code: int = 0, template: Any = TEMPLATE, message: str = "") -> dict[str, Any]:
    return {
        "ID": f"t{number}",
        "ServiceID": "s1",
        "Slot": 1,
        "DesiredState": "running" if state in {"running", "starting"} else "shutdown",
        "Spec": template,
        "Status": {
            "State": state,
            "Timestamp": f"2026-01-01T10:00:0{number}Z",
            "Err": message,
            "ContainerStatus": {"ContainerID": f"c{number}", "ExitCode": code},
        },
    }


class FakeApi:
    """One service with its tasks; each container with its state and its log in pieces."""

    def __init__(
        self,
        *tasks: dict[str, Any],
        update: str = "",
        log: tuple[bytes, ...] = (LOG,),
        afterwards: tuple[str, list[dict[str, Any]]] = ("", []),
        **state: Any,
    ) -> None:
        self._afterwards = afterwards
        self._tasks, self._update, self._log, self._state = list(tasks), update, log, state
        self.asked: list[str] = []
        self.posted: list[dict[str, Any]] = []

    def _url(self, path: str, *_: object) -> str:
        return path

    def _post_json(self, _: str, *, data: dict[str, Any], params: dict[str, Any]) -> None:
        """The update is continued: the next task is ready when there is one."""
        self.posted.append({**data, **params})
        self._update, self._tasks = self._afterwards

    def _raise_for_status(self, _: object) -> None:
        """It was accepted."""

    def services(self, **_: Any) -> list[dict[str, Any]]:
        spec = {"Name": "blog_backend", "Mode": {"Replicated": {"Replicas": 1}}, "TaskTemplate": TEMPLATE}
        return [
            {
                "ID": "s1",
                "Version": {"Index": 7},
                "Spec": spec,
                "UpdateStatus": {"State": self._update, "Message": "update paused"},
            }
        ]

    def tasks(self, **_: Any) -> list[dict[str, Any]]:
        return self._tasks

    def events(self, **_: Any) -> Iterator[object]:
        return iter(())

    def inspect_container(self, container: str) -> dict[str, Any]:
        self.asked.append(container)
        return {"State": self._state}

    def logs(self, container: str, **options: Any) -> Iterator[bytes]:
        assert options["stream"], "a log is read in pieces: a line may be gigabytes"
        assert options["follow"] is False, "a container that runs on would be followed for ever"
        self.asked.append(container)
        return iter(self._log)


def fault(api: FakeApi) -> CcciError:
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    with pytest.raises(CcciError) as caught:
        wait_converged(engine, "blog", deadline=Deadline(0))
    return caught.value


def test_an_update_that_paused_is_told_by_the_cause_and_not_by_the_pause_alone() -> None:
    error = fault(FakeApi(task(1, "failed", code=1), update="paused"))
    assert isinstance(error, CrashLoop)
    assert error.what == "service backend: update paused, exit status 1: RuntimeError: cannot merge 1 people"


def test_a_rollback_is_told_by_the_cause_in_the_version_that_failed() -> None:
    api = FakeApi(task(1, "failed", code=1), task(2, "running", template=BEFORE), update="rollback_completed")
    error = fault(api)
    assert isinstance(error, RolledBack)
    assert error.what == "service backend: rolled back, exit status 1: RuntimeError: cannot merge 1 people"
    assert set(api.asked) == {"c1"}


def test_a_rollback_whose_spec_is_the_old_one_again_finds_the_task_that_failed() -> None:
    api = FakeApi(task(1, "failed", code=1, template=BEFORE), task(2, "running"), update="rollback_completed")
    assert "cannot merge 1 people" in fault(api).what


def test_a_kill_for_want_of_memory_is_told() -> None:
    error = fault(FakeApi(task(1, "failed", code=137), update="paused", log=(b"ready\n",), OOMKilled=True))
    assert error.what == "service backend: update paused, out of memory: killed by the kernel: its last words: ready"


def test_what_is_not_up_in_time_is_told_by_its_health_check() -> None:
    checks = {"FailingStreak": 4, "Log": [{"ExitCode": 0, "Output": "ok"}, {"ExitCode": 1, "Output": "no pg_hba\n"}]}
    error = fault(FakeApi(task(1, "starting"), log=(b"up\n",), Health=checks))
    assert isinstance(error, NotConverged)
    assert error.what == "not up after 0 s: service backend, its health check failed: no pg_hba: its log: up"


def test_a_container_that_is_gone_leaves_what_swarm_knows() -> None:
    api = FakeApi(task(1, "failed", code=3), update="paused")

    def gone(*_: object, **__: object) -> Any:
        raise NotFound("no such container")

    api.inspect_container = api.logs = gone  # type: ignore[method-assign]  # the container was pruned
    assert fault(api).what == "service backend: update paused, exit status 3"


def test_of_an_endless_line_only_the_end_is_kept() -> None:
    pieces = (b"x" * 16384,) * 200
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=FakeApi(task(1, "failed", code=1), log=(*pieces, LOG))))
    sections = dict(collect_evidence(engine, "blog"))
    assert len(sections["last lines of backend"]) < 70_000
    assert "cannot merge 1 people" in sections["last lines of backend"]


BUSY = "starting container failed: unable to remount dir as readonly: device or resource busy"


@pytest.mark.parametrize("update", ["rollback_completed", ""], ids=["rolled back", "tried until the deadline"])
@pytest.mark.parametrize(
    "message",
    [
        BUSY,
        "starting container failed: error creating overlay mount: no space left on device",
        "starting container failed: failed to create shim: OCI runtime create failed: fork/exec: too many open files",
        "starting container failed: could not find an available IP address",
    ],
)
def test_a_container_that_the_engine_could_not_start_is_not_the_recipes_fault(message: str, update: str) -> None:
    error = fault(FakeApi(task(1, "failed", code=128, message=message), update=update))
    assert isinstance(error, InfrastructureFault)
    assert error.what == "the engine could not start service backend"
    assert error.seen == message


@pytest.mark.parametrize(
    "message",
    [
        "task: non-zero exit (1)",
        'starting container failed: exec: "/serve.py": no such file or directory',
        'starting container failed: failed to create shim task: runc create failed: exec: "/serve.py": not found',
        "invalid mount config: bind source path does not exist: /srv/data",
        "starting container failed: container init was OOM-killed (memory limit too low?)",
    ],
)
def test_what_a_program_says_and_what_a_recipe_asks_for_is_the_recipes(message: str) -> None:
    log = (b"OSError: no space left on device\n",)
    error = fault(FakeApi(task(1, "failed", code=1, message=message), update="paused", log=log))
    assert isinstance(error, CrashLoop)


def test_an_update_that_paused_since_the_engine_could_not_start_a_container_is_continued_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = task(1, "failed", code=128, message=BUSY)
    api = FakeApi(failed, update="paused", afterwards=("completed", [failed, task(2, "running")]))
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    wait_converged(engine, "blog", deadline=Deadline(10))
    assert [(each["Name"], each["version"]) for each in api.posted] == [("blog_backend", 7)]
    assert "it is continued, once" in caplog.text
    again = FakeApi(failed, update="paused", afterwards=("paused", [failed]))
    assert isinstance(fault(again), InfrastructureFault)
    assert len(again.posted) == 1


def test_an_update_that_paused_because_the_app_died_is_not_continued() -> None:
    api = FakeApi(task(1, "failed", code=1, message="task: non-zero exit (1)"), update="paused")
    assert isinstance(fault(api), CrashLoop)
    assert api.posted == []
