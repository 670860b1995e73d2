from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.engine import deploy
from pytest_ccci.engine.compose import OverlaySettings
from pytest_ccci.errors import RecipeInvalid, RecipeTomlError
from pytest_ccci.recipe.compose_facts import HealthcheckFacts, compose_facts
from pytest_ccci.recipe.env import AppEnv
from pytest_ccci.recipe.spec import SecretRule
from pytest_ccci.redact import SECRETS
from pytest_ccci.waiting import Deadline

APP = {"ID": "s1", "Version": {"Index": 7}, "Spec": {"Name": "docs_app", "Mode": {"Replicated": {"Replicas": 1}}}}
EVERYWHERE = {"ID": "s2", "Version": {"Index": 7}, "Spec": {"Name": "docs_agent", "Mode": {"Global": {}}}}


class Api:
    """An engine with two services. It keeps five tasks in a slot, and reaps a scaled service's after some time."""

    def __init__(self, *answers: list[str]) -> None:
        self.seen: list[str] = []
        self.services_left = [APP, EVERYWHERE]
        self._answers = list(answers)

    def inspect_swarm(self) -> dict[str, Any]:
        return {"Spec": {"Orchestration": {"TaskHistoryRetentionLimit": 5}}}

    def services(self, **_: object) -> list[Any]:
        return list(self.services_left)

    def containers(self, **_: object) -> list[Any]:
        return []

    def tasks(self, *, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        states = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.seen.append(f"tasks of {', '.join(filters['service'])}: {', '.join(states)}")
        return [{"ServiceID": "s1", "Slot": 1, "DesiredState": state} for state in states]

    def remove_service(self, ident: str) -> None:
        self.seen.append(f"remove {ident}")
        self.services_left = [each for each in self.services_left if each["ID"] != ident]


@pytest.fixture(autouse=True)
def _without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def events(*_: object) -> Iterator[None]:
        yield None

    monkeypatch.setattr(deploy, "stack_events", events)
    monkeypatch.setattr(deploy, "networks", lambda *_, **__: [])
    monkeypatch.setattr(deploy, "_remove_objects", lambda *_: None)
    monkeypatch.setattr(deploy, "post_service", lambda *_: None)


def undeployed(api: Api) -> list[str]:
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    deploy.undeploy(engine, "docs", volumes=False, deadline=Deadline(5))
    return api.seen


AT_REST = ["running", "shutdown"]
RESTARTED = ["ready", *["shutdown"] * 4]


def test_services_go_at_once_so_that_swarm_starts_nothing_again() -> None:
    seen = undeployed(Api(AT_REST))
    assert seen[0] == "tasks of s1, s2: running, shutdown"
    assert sorted(seen[1:]) == ["remove s1", "remove s2"]


def test_one_that_is_restarted_again_and_again_goes_when_swarm_has_reaped_its_tasks_and_not_while_it_does() -> None:
    """Docker 20.10's manager panics in between. What an earlier update left (shutdown) is never reaped by then."""
    seen = undeployed(Api(RESTARTED, ["running"], ["remove", "shutdown"], ["shutdown"]))
    assert seen[1:] == [
        "remove s2",
        "tasks of s1: running",
        "tasks of s1: remove, shutdown",
        "tasks of s1: shutdown",
        "remove s1",
    ]


def test_tasks_that_are_never_reaped_do_not_keep_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_REAPED", 0.1)
    seen = undeployed(Api(RESTARTED, ["remove"]))
    assert seen[-1] == "remove s1"
    assert set(seen[2:-1]) == {"tasks of s1: remove"}


class Containers(Api):
    """The same with one container, as it is when it has been asked to end."""

    def __init__(self, before: str, code: int, *, out_of_memory: bool = False) -> None:
        super().__init__(AT_REST)
        self._labels = {"com.docker.swarm.service.name": "docs_app"}
        self._before, self._state = before, {"ExitCode": code, "OOMKilled": out_of_memory}

    def containers(self, **_: object) -> list[Any]:
        return [{"Id": "c1", "State": self._before, "Labels": self._labels}]

    def stop(self, ident: str, *, timeout: int) -> None:
        self.seen.append(f"stop {ident} within {timeout} s")

    def inspect_container(self, _: str) -> dict[str, Any]:
        return {"State": self._state, "Config": {"Labels": self._labels, "StopSignal": "SIGQUIT"}}

    def remove_container(self, ident: str, **_: object) -> None:
        self.seen.append(f"remove container {ident}")


def with_grace(nanoseconds: int | None) -> list[dict[str, Any]]:
    return [{"Spec": {"Name": "docs_app", "TaskTemplate": {"ContainerSpec": {"StopGracePeriod": nanoseconds}}}}]


@pytest.mark.parametrize(
    ("api", "grace", "told"),
    [
        (Containers("running", 137), 0, ("service app (SIGQUIT, 0 s)",)),
        (Containers("running", 0), 0, ()),
        (Containers("running", 137), None, ()),
        (Containers("running", 137, out_of_memory=True), 0, ()),
        (Containers("exited", 137), 0, ()),
    ],
    ids=["killed", "ended", "ended by itself as one that is killed", "out of memory", "dead before"],
)
def test_a_service_that_must_be_killed_is_told(api: Containers, grace: int | None, told: tuple[str, ...]) -> None:
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    assert deploy.stop_service_containers(engine, "docs", with_grace(grace)) == told
    assert api.seen[-1] == "remove container c1"


@pytest.mark.parametrize(("grace", "seconds"), [(60_000_000_000, 60), (1_500_000_000, 2), (None, 10)])
def test_a_service_has_the_grace_that_it_asks_for(grace: int | None, seconds: int) -> None:
    """Docker's direct stop would kill a database after ten seconds that was promised a minute."""
    api = Containers("running", 0)
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    deploy.stop_service_containers(engine, "docs", with_grace(grace))
    assert api.seen[0] == f"stop c1 within {seconds} s"


CHECK = {"Test": ["CMD", "true"], "Interval": 5_000_000_000, "Timeout": 0, "Retries": 4}


@pytest.mark.parametrize(
    ("said", "brought", "found"),
    [
        (None, CHECK, HealthcheckFacts(test=("CMD", "true"), interval=5.0, retries=4)),
        ({"disable": False}, CHECK, HealthcheckFacts(test=("CMD", "true"), interval=5.0, retries=4)),
        (
            {"interval": "7s", "start_period": "1m"},
            CHECK,
            HealthcheckFacts(test=("CMD", "true"), interval=7.0, retries=4, start_period=60.0),
        ),
        ({"test": ["CMD", "false"]}, CHECK, HealthcheckFacts(test=("CMD", "false"))),
        ({"disable": True}, CHECK, HealthcheckFacts(disabled=True)),
        (None, {"Test": ["NONE"]}, None),
        (None, None, None),
    ],
)
def test_a_health_check_that_the_image_brings_counts(
    said: dict[str, Any] | None, brought: dict[str, Any] | None, found: HealthcheckFacts | None
) -> None:
    service = {"image": "page:1", **({"healthcheck": said} if said else {})}
    facts = compose_facts({"services": {"app": service}})
    api = SimpleNamespace(inspect_image=lambda ref: {"Config": {"Healthcheck": brought}} if ref == "page:1" else {})
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    seen = deploy._with_checks_of_images(engine, facts).services["app"].healthcheck
    assert seen == found


CONFIG: dict[str, Any] = {
    "services": {"app": {"secrets": [{"source": "key"}]}},
    "secrets": {"key": {"external": True, "name": "docs_key_v1"}},
}


def inserted(
    monkeypatch: pytest.MonkeyPatch,
    *,
    older: bool,
    rules: Mapping[str, SecretRule] = MappingProxyType({}),
    **given: str,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The secrets that are there after a deploy of a version with the secret ``key``, and what was left out."""
    made: dict[str, str] = {}
    monkeypatch.setattr(deploy, "present_secrets", lambda _: frozenset())
    monkeypatch.setattr(deploy, "insert_secrets", lambda _engine, _stack, values: made.update(values))
    env = AppEnv({"STACK_NAME": "docs", "V": "v1"}, (), secret_variables={"key": ("V",)})
    overlay = OverlaySettings(vip=True)
    plan = deploy.AppPlan(
        "docs", "docs", "x", env, overlay, 1.0, Path(), given_secrets=given, older=older, secret_rules=rules
    )
    engine: Any = None
    return made, deploy._secrets(engine, plan, CONFIG)[1]


def test_an_older_version_goes_without_a_given_secret_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    made, left_out = inserted(monkeypatch, older=True, key="a", token="b")
    assert made == {"docs_key_v1": "a"}
    assert left_out == ("secret token",)


def test_a_secret_that_recipe_toml_says_how_to_make_is_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"key": SecretRule(length=7, charset="hex"), "token": SecretRule(length=3)}
    made, left_out = inserted(monkeypatch, older=True, rules=rules)
    assert re.fullmatch("[0-9a-f]{7}", made["docs_key_v1"])
    assert left_out == ("secret token",)


def test_head_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeTomlError, match="'token' is no secret of this recipe"):
        inserted(monkeypatch, older=False, key="a", token="b")


def test_given_and_known_secrets_are_hidden_before_anything_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    given, known = f"Gv{uuid.uuid4().hex}", f"Kn{uuid.uuid4().hex}"

    def refused(*_: object) -> None:
        raise RecipeInvalid("the compose files define no service", seen=f"{given}, {known}")

    monkeypatch.setattr(deploy, "read_plan", refused)
    env, overlay = AppEnv({}, ()), OverlaySettings(vip=True)
    plan = deploy.AppPlan(
        "docs", "docs", "x", env, overlay, 1.0, Path(), given_secrets={"a": given}, known_secrets={"b": known}
    )
    engine: Any = None
    with pytest.raises(RecipeInvalid) as caught:
        deploy.deploy_app(engine, plan, prepare=lambda _: ())
    assert SECRETS.scrub(caught.value.seen) == "[secret], [secret]"
