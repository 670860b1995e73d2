"""What is decided before it deploys: how long an app may take, and what makes a deploy hopeless."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine.deploy import AppPlan
from pytest_ccci.engine.inspect import ServiceState, StackFacts, TaskState
from pytest_ccci.errors import DataLost, RecipeInvalid, RecipeTomlError, Verdict
from pytest_ccci.recipe.compose_facts import ComposeFacts, compose_facts
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import Disposable, ExpectedLoss, load_spec
from pytest_ccci.recipe.tree import Head, RecipeTree
from pytest_ccci.run import deployment as run_deployment
from pytest_ccci.run.backup import Archive
from pytest_ccci.run.census import Census, Table
from pytest_ccci.run.checks import ProofWindow
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.run_dir import Diary, Trees

OLD, NEW = (Head("x", letter * 40, version=version) for letter, version in (("a", "1.0.0+1"), ("b", "1.1.0+1")))


def app_of(tmp_path: Path, *, said: float | None = None) -> Deployment:
    spec: Any = SimpleNamespace(
        name="notes",
        health=SimpleNamespace(timeout=said, host=None),
        file=tmp_path / "recipe.toml",
        disposable=(Disposable(volume="cahce", reason="filled again"),),
        sentinels=(),
        expected_loss=(),
    )
    site = SimpleNamespace(zone=SimpleNamespace(name="ci.test"))
    machine: Any = SimpleNamespace(settings=SimpleNamespace(timeout=600.0), site=site)
    mirror = SimpleNamespace(odd_tags=lambda: ("v1",), releases=tuple)
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
    plan = SimpleNamespace(env=AppEnv({"TAG": "1"}, ()))
    monkeypatch.setattr(Deployment, "_read", lambda _self, head: (plan, after if head is NEW else before))

    app.check_head(OLD)
    assert {finding.code for finding in app.findings} == {"no-version-label", "names-nothing", "odd-tag"}
    app.deployed, app.version = SimpleNamespace(compose=before), OLD  # type: ignore[assignment]  # as much as is read
    with pytest.raises(RecipeInvalid, match=r"bump its version in abra\.sh"):
        app.check_head(NEW)
    assert app.environment == {"TAG": "1"}
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
    monkeypatch.setattr(app, "count", lambda: census(9))
    caplog.set_level("INFO", logger="pytest_ccci")
    why = "a label of service redis excludes it"
    assert app.backup() == {"app:/data": "3 files, 9 bytes", "not in the backup: cache": why}
    assert app.counted == census(9)
    assert f"not in the backup: cache, since {why}" in caplog.text


TOML = """
[source]
bundled = "releases"
[env]
COMPOSE_FILE = "compose.yml"
OF = "{{ recipe }}"
[env.from."1.1.0+1"]
COMPOSE_FILE = "compose.yml:compose.oidc.yml"
[env.from.unreleased]
NEW = "1"
[secrets]
password = "given"
[secrets.from.unreleased]
token = "new"
"""


def planned(tmp_path: Path, toml: str, *, head: str = "tip") -> dict[str, AppPlan]:
    """What would be deployed for each version of a recipe of two releases and a tip, in a run of ``head``."""
    folder = tmp_path / "notes"
    for place, names in {
        "1-1.0.0+1": ["compose.yml"],
        "2-1.1.0+1": ["compose.oidc.yml"],
        "tip": ["compose.mail.yml"],
    }.items():
        (folder / "releases" / place).mkdir(parents=True)
        for name in names:
            (folder / "releases" / place / name).write_text("services: {app: {image: notes}}", encoding="utf-8")
    (folder / "recipe.toml").write_text(toml, encoding="utf-8")
    spec = load_spec(folder)
    mirror = open_mirror(spec, cache=tmp_path / "cache")
    site = SimpleNamespace(zone=SimpleNamespace(name="ci.test"))
    machine: Any = SimpleNamespace(
        settings=SimpleNamespace(timeout=600.0), site=site, overlay=lambda labels, *_, **__: labels
    )
    trees, diary = Trees(mirror, tmp_path / "trees"), Diary(tmp_path / "run")
    sentinels: Any = None
    app = Deployment(machine, spec, trees, "x.ci.test", diary, mirror.resolve(head), sentinels)
    versions = {ref: mirror.resolve(ref) for ref in ("1.0.0+1", "1.1.0+1", "tip")}
    return {ref: app._plan(app.trees.of(version)) for ref, version in versions.items()}


def test_each_version_is_deployed_with_the_variables_and_secrets_that_hold_for_it(tmp_path: Path) -> None:
    plans = planned(tmp_path, TOML)
    assert {ref: [path.name for path in plan.files] for ref, plan in plans.items()} == {
        "1.0.0+1": ["compose.yml"],
        "1.1.0+1": ["compose.yml", "compose.oidc.yml"],
        "tip": ["compose.yml", "compose.oidc.yml"],
    }
    assert [plan.env.values.get("NEW") for plan in plans.values()] == [None, None, "1"]
    assert {plan.env.values["OF"] for plan in plans.values()} == {"notes"}
    assert [sorted(plan.given_secrets) for plan in plans.values()] == [["password"]] * 2 + [["password", "token"]]


def test_only_what_is_not_the_head_may_lack_an_overlay(tmp_path: Path) -> None:
    toml = '[source]\nbundled = "releases"\n[env]\nCOMPOSE_FILE = "compose.yml:compose.oidc.yml"\n'
    plans = planned(tmp_path, toml)
    assert [(plan.older, plan.env.left_out) for plan in plans.values()] == [
        (True, ("compose.oidc.yml",)),
        (True, ()),
        (False, ()),
    ]


def test_a_head_that_lacks_an_overlay_is_refused(tmp_path: Path) -> None:
    toml = '[source]\nbundled = "releases"\n[env]\nCOMPOSE_FILE = "compose.yml:compose.oidc.yml"\n'
    with pytest.raises(RecipeInvalid, match=r"there is no file compose\.oidc\.yml"):
        planned(tmp_path, toml, head="1.0.0+1")


def test_what_was_left_out_is_a_fact_of_the_tier_and_a_line_of_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = SimpleNamespace(compose=ComposeFacts(services={}), left_out=("compose.oidc.yml", "secret token"))
    app = app_of(tmp_path)
    app.spec.health.reason = ""  # type: ignore[misc]  # a namespace here
    monkeypatch.setattr(Deployment, "deploy", lambda *_, **__: done)
    with caplog.at_level("INFO"):
        facts = app.come_up(OLD, doing="install")
    assert facts["left out"] == "compose.oidc.yml, secret token"
    assert "install: 1.0.0+1 goes without compose.oidc.yml, secret token, which it does not have" in caplog.text


@pytest.mark.parametrize(
    ("host", "filled"),
    [(None, ""), ("files-{{ domain }}", "files-warm-notes.ci.test"), ("{{ recipe }}.{{ zone }}", "notes.ci.test")],
)
def test_the_host_that_is_asked_is_filled_in(tmp_path: Path, host: str | None, filled: str) -> None:
    app = app_of(tmp_path)
    app.spec.health.host = host  # type: ignore[misc]  # a fake
    assert app._host_asked() == filled


@pytest.mark.parametrize("host", ["files.example.org", "{{ domian }}", "ci.test"])
def test_a_host_that_is_not_in_the_zone_or_cannot_be_filled_in_is_refused_with_its_place(
    tmp_path: Path, host: str
) -> None:
    app = app_of(tmp_path)
    app.spec.health.host = host  # type: ignore[misc]  # a fake
    with pytest.raises(RecipeTomlError) as caught:
        app._host_asked()
    assert "recipe.toml, [health], host" in str(caught.value)


def census(rows: int) -> Census:
    return Census({("db", "app.public.note"): Table(rows, {"text": rows})})


def test_a_change_that_loses_rows_is_red_with_numbers_and_with_how_to_say_that_it_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(tmp_path)
    monkeypatch.setattr(app, "count", lambda: census(9))
    with pytest.raises(DataLost) as caught:
        app.check_kept(census(10), "the upgrade")
    assert caught.value.what == "the upgrade lost data: table app.public.note of db has 9 rows, and had 10"
    assert "[[expected_loss]]" in caught.value.advice


def test_a_change_that_loses_what_the_author_expects_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(tmp_path)
    app.spec.expected_loss = (ExpectedLoss(table="note", reason="they end with the year"),)  # type: ignore[misc]  # a fake
    monkeypatch.setattr(app, "count", lambda: census(9))
    facts = app.check_kept(census(10), "the restore")
    assert facts["counted"] == "10 rows in 1 table before, 9 rows in 1 table after"
    assert facts["fewer"] == "table app.public.note of db has 9 rows, and had 10"


def test_what_could_not_be_counted_is_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(tmp_path)
    monkeypatch.setattr(app, "count", lambda: Census(uncounted={"db": "connection refused"}))
    assert app.check_kept(census(10), "the upgrade")["not counted"] == "db: connection refused"
