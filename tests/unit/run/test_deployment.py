"""What is decided before it deploys: how long an app may take, and what makes a deploy hopeless."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState
from pytest_ccci.errors import RecipeInvalid, Verdict
from pytest_ccci.recipe.compose_facts import ComposeFacts, compose_facts
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.spec import Disposable
from pytest_ccci.recipe.tree import Head, RecipeTree
from pytest_ccci.run import deployment as run_deployment
from pytest_ccci.run.backup import Archive
from pytest_ccci.run.checks import ProofWindow
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.run_dir import Diary

OLD, NEW = (Head("x", letter * 40, version=version) for letter, version in (("a", "1.0.0+1"), ("b", "1.1.0+1")))


def app_of(tmp_path: Path, *, said: float | None = None) -> Deployment:
    spec: Any = SimpleNamespace(
        name="notes",
        health=SimpleNamespace(timeout=said),
        file=tmp_path / "recipe.toml",
        disposable=(Disposable(volume="cahce", reason="filled again"),),
        sentinels=(),
    )
    machine: Any = SimpleNamespace(settings=SimpleNamespace(timeout=600.0))
    mirror = SimpleNamespace(odd_tags=lambda: ("v1",))
    trees: Any = SimpleNamespace(of=lambda head: RecipeTree(tmp_path / head.version, head), mirror=mirror)
    sentinels: Any = None
    return Deployment(machine, spec, trees, "warm-notes.ci.test", Diary(tmp_path / "run"), NEW, sentinels)


def labelled(value: str) -> ComposeFacts:
    labels = {"coop-cloud.warm-notes_ci_test.timeout": value}
    return compose_facts({"services": {"app": {"image": "notes:1", "deploy": {"labels": labels}}}})


@pytest.mark.parametrize(
    ("said", "label", "seconds"),
    [(None, "300", 300), (90.0, "300", 90), (None, "", 600), (None, "soon", 600), (None, "0", 600)],
    ids=["the label", "recipe.toml over the label", "ours", "a label that is no number", "a label of nothing"],
)
def test_an_app_may_take_as_long_as_its_author_says(
    tmp_path: Path, said: float | None, label: str, seconds: float
) -> None:
    assert app_of(tmp_path, said=said)._patience(labelled(label)) == seconds


def config_of(folder: Path, text: str) -> ComposeFacts:
    folder.mkdir()
    (folder / "app.conf").write_text(text)
    environment = {"DB_HOST": "warm-notes_ci_test_app:5432"}
    service = {"image": "notes:1", "healthcheck": {"test": ["CMD", "true"]}, "environment": environment}
    config = {"c": {"name": "warm-notes_ci_test_c_v1", "file": str(folder / "app.conf")}}
    return compose_facts({"services": {"app": service}, "configs": config})


def test_a_changed_config_under_its_old_name_is_found_before_swarm_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = config_of(tmp_path / "1.0.0+1", "one"), config_of(tmp_path / "1.1.0+1", "two")
    app = app_of(tmp_path)
    plan = SimpleNamespace(env=AppEnv({}, ()))
    monkeypatch.setattr(Deployment, "_read", lambda _self, head: (plan, after if head is NEW else before))

    app.check_head(OLD)
    assert {finding.code for finding in app.findings} == {"no-version-label", "names-nothing", "odd-tag"}
    app.deployed, app.version = SimpleNamespace(compose=before), OLD  # type: ignore[assignment]  # as much as is read
    with pytest.raises(RecipeInvalid, match=r"bump its version in abra\.sh"):
        app.check_head(NEW)
    assert "config-not-bumped" in {finding.code for finding in app.findings}


def test_a_health_check_that_fails_beyond_the_window_is_the_recipes_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = TaskState("t1", "running", "running", current=True, image="notes:1", container="c1")
    app = ServiceState("app", "notes:1", {}, 1, job=False, update_state="", update_message="", tasks=(running,))
    health = {"FailingStreak": 9, "Log": [{"ExitCode": 7, "Output": "curl: (7) Failed to connect to localhost"}]}
    api = SimpleNamespace(inspect_container=lambda _: {"State": {"Health": health}}, logs=lambda *_, **__: iter(()))
    deployed = app_of(tmp_path)
    deployed.machine.engine = SimpleNamespace(client=SimpleNamespace(api=api))  # type: ignore[assignment, misc]  # as much as is asked
    deployed.window = ProofWindow({"app": ("t1",)}, 0)
    monkeypatch.setattr(run_deployment, "inspect_stack", lambda *_: StackFacts(deployed.stack, (app,)))
    monkeypatch.setattr(run_deployment, "_PROOF", 0.0)
    problem = deployed.window_problem()
    assert problem is not None
    assert problem.verdict is Verdict.FAIL
    assert problem.what == (
        "service app did not stay healthy: its health check failed: curl: (7) Failed to connect to localhost"
    )


def test_a_backup_tells_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    labels = {"backupbot.backup": "true", "backupbot.backup.volumes.cache": "false"}
    services = {
        "app": {"volumes": ["data:/data"]},
        "redis": {"volumes": ["cache:/cache"], "deploy": {"labels": labels}},
    }
    app = app_of(tmp_path)
    app.deployed = SimpleNamespace(compose=compose_facts({"services": services}))  # type: ignore[assignment]  # as much as is read
    made = Archive("app", "/data", tmp_path / "0000.tar", files=3, size=9)
    monkeypatch.setattr(Deployment, "handle", property(lambda _self: None))
    monkeypatch.setattr(run_deployment, "take_backup", lambda *_: (made,))
    caplog.set_level("INFO", logger="pytest_ccci")
    why = "a label of service redis excludes it"
    assert app.backup() == {"app:/data": "3 files, 9 bytes", "not in the backup: cache": why}
    assert f"not in the backup: cache, since {why}" in caplog.text
