from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.backup_labels import backup_plan, idle_labels
from pytest_ccci.recipe.compose_facts import (
    ComposeFacts,
    HealthcheckFacts,
    Mount,
    Port,
    VolumeFacts,
    compose_facts,
    seconds,
)
from pytest_ccci.recipe.coverage import coverage, not_backed_up, shared_data
from pytest_ccci.recipe.names import (
    app_domain,
    canonical_domain,
    check_domain,
    check_names,
    cold_domain,
    stack_name,
)
from pytest_ccci.recipe.spec import Disposable
from pytest_ccci.settings import parse_duration


@pytest.fixture(scope="module")
def notes() -> ComposeFacts:
    """What Docker 28 printed for a recipe with the shapes that real ones have."""
    return compose_facts(yaml.safe_load((Path(__file__).parent / "vectors/notes.yml").read_text(encoding="utf-8")))


def test_a_service_is_read_from_dockers_own_output(notes: ComposeFacts) -> None:
    app = notes.services["app"]
    assert app.image == "example/notes:4.8.1"
    assert app.healthcheck == HealthcheckFacts(("CMD", "curl", "-f", "http://localhost"), 30.0, 10.0, 10, 90.0)
    assert (app.update_order, app.failure_action, app.monitor) == ("start-first", "rollback", 5.0)
    assert app.environment == {"DB_HOST": "notes_ci_test_db", "LANG": "en", "MONEY": "$5", "PLAIN": None}
    assert app.ports == (Port("80", "8080", "tcp", "ingress"), Port("53", "53", "udp", "host"))
    assert app.mounts == (
        Mount("volume", "media", "/srv/media"),
        Mount("tmpfs", "", "/tmp"),
        Mount("bind", "/recipe/readme", "/readme", read_only=True),
    )
    assert app.networks == ("internal", "proxy")
    assert app.secrets == ("db_password", "oidc_rpcs")
    assert notes.label("version") == "1.0.0+4.8.1"


def test_what_is_not_said_takes_dockers_default(notes: ComposeFacts) -> None:
    db, once, agent = (notes.services[name] for name in ("db", "once", "agent"))
    assert (db.update_order, db.failure_action, db.monitor, db.replicas) == ("stop-first", "pause", None, 1)
    assert (db.endpoint_mode, db.constraints, db.stop_grace_period) == ("dnsrr", ("node.role == manager",), 60.0)
    assert db.aliases == {"internal": ("notes_ci_test_db",)}
    assert (once.one_shot, db.one_shot, agent.replicas) == (True, False, None)
    assert agent.healthcheck is not None
    assert agent.healthcheck.disabled


def test_objects_are_read_with_their_names_in_the_swarm(notes: ComposeFacts) -> None:
    assert notes.networks["proxy"].external
    assert notes.networks["internal"].internal
    assert (notes.secrets["oidc_rpcs"].name, notes.secrets["oidc_rpcs"].external) == ("notes_ci_test_rpcs_v1", True)
    config = notes.configs["app_conf"]
    assert (config.name, config.file, config.template_driver) == (
        "notes_ci_test_app_conf_v2",
        "/recipe/app.conf",
        "golang",
    )
    assert notes.images == ("agent:latest", "example/notes:4.8.1", "postgres:15", "busybox")


def test_short_forms_of_older_clients_are_read() -> None:
    raw = {
        "services": {
            "app": {
                "labels": ["a=b=c", "bare"],
                "environment": ["A=1", "PASSED_ON"],
                "ports": ["127.0.0.1:8080:80/udp", "81", 82],
                "volumes": ["data:/srv:ro", "/host:/host", "/anonymous"],
                "secrets": ["one"],
                "networks": ["x"],
                "healthcheck": {"test": "true", "interval": 5_000_000_000},
                "tmpfs": "/run",
            },
            "empty": None,
        },
        "secrets": {"one": {"external": {"name": "remote"}}},
    }
    facts = compose_facts(raw)
    app = facts.services["app"]
    assert app.labels == {"a": "b=c", "bare": ""}
    assert app.environment == {"A": "1", "PASSED_ON": None}
    assert [(port.published, port.target, port.protocol) for port in app.ports] == [
        ("8080", "80", "udp"),
        ("", "81", "tcp"),
        ("", "82", "tcp"),
    ]
    assert [(mount.kind, mount.source, mount.read_only) for mount in app.mounts] == [
        ("volume", "data", True),
        ("bind", "/host", False),
        ("volume", "", False),
        ("tmpfs", "", False),
    ]
    assert app.healthcheck == HealthcheckFacts(("CMD-SHELL", "true"), 5.0)
    assert facts.secrets["one"].name == "remote"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1m30s", 90.0), ("500ms", 0.5), ("1h", 3600.0), ("1m0s", 60.0), ("1.5s", 1.5), ("3us", 3e-6)],
)
def test_durations_are_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.text()))
def test_no_duration_crashes(value: object) -> None:
    found = seconds(value)
    assert found is None or isinstance(found, float)


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["services", "deploy", "labels", "volumes", "ports", "secrets", "test"]), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["services", "volumes", "networks", "secrets", "configs"]), _JUNK))
def test_no_document_crashes_the_reader(raw: dict[str, Any]) -> None:
    facts = compose_facts(raw)
    not_backed_up(facts, backup_plan(facts))
    idle_labels(facts)
    coverage(facts, disposable=())


# --- backup


def test_backup_labels_in_mapping_form_are_read(notes: ComposeFacts) -> None:
    plan = backup_plan(notes)
    (db,) = plan.services
    assert (db.service, db.pre_hook, db.restore_post) == ("db", "/pg_backup.sh backup", "/pg_backup.sh restore")
    assert {each.volume: each.paths for each in plan.volumes}["pg"] == ("backup.sql",)


# --- coverage


def statement(mount: object, volumes: dict[str, Any] | None = None, **waived: str) -> tuple[str, bool, bool, str]:
    facts = compose_facts({"services": {"app": {"volumes": [mount]}}, "volumes": volumes or {}})
    disposable = (Disposable(**waived),) if waived else ()
    (path,) = coverage(facts, disposable=disposable).paths
    return path.kind, path.covered, path.blocks, path.why


@pytest.mark.parametrize(
    ("mount", "volumes", "expected"),
    [
        ("data:/srv", {"data": None}, ("named volume", True, False)),
        ("data:/srv", {"data": {"external": True}}, ("external volume", False, True)),
        ("data:/srv:ro", {"data": {"external": True}}, ("external volume", False, False)),
        ("data:/srv", {"data": {"driver": "rexray"}}, ("remote volume", False, True)),
        ("data:/srv", {"data": {"driver_opts": {"type": "nfs"}}}, ("remote volume", False, True)),
        ("data:/srv", {"data": {"driver_opts": {"type": "none", "o": "bind", "device": "/x"}}}, ("bind", False, True)),
        ("data:/srv", {"data": {"driver_opts": {"type": "tmpfs"}}}, ("tmpfs", False, False)),
        ("/host:/srv", {}, ("bind", False, True)),
        ("/host:/srv:ro", {}, ("bind", False, False)),
        ("/var/run/docker.sock:/var/run/docker.sock", {}, ("docker.sock", False, False)),
        ("/run/user/1000/podman/podman.sock:/docker.sock", {}, ("socket", False, False)),
        ("/run/mysqld/mysqld.sock:/sock", {}, ("socket", False, False)),
        ("/var/run/docker.sock:/engine:ro", {}, ("docker.sock", False, False)),
        ("/dev/net/tun:/dev/net/tun", {}, ("device", False, False)),
        ("/dev:/dev", {}, ("device", False, False)),
        ("/dev/shm:/srv", {}, ("bind", False, True)),
        ("/etc/localtime:/etc/localtime", {}, ("host file", False, False)),
        ("/etc/timezone:/etc/timezone:ro", {}, ("host file", False, False)),
        ("/usr/share/zoneinfo/Europe/Paris:/etc/localtime", {}, ("host file", False, False)),
        ("/sys/fs/cgroup:/sys/fs/cgroup", {}, ("host file", False, False)),
        ("/lib/modules:/lib/modules", {}, ("host file", False, False)),
        ("/etc/localtime.d:/x", {}, ("bind", False, True)),
        ("/devices:/x", {}, ("bind", False, True)),
        ("/etc/../srv/data:/x", {}, ("bind", False, True)),
        ({"type": "npipe", "source": "docker_engine", "target": "/x"}, {}, ("socket", False, False)),
        ("data:/srv", {"data": {"name": "{{ .Service.Name }}_data"}}, ("templated volume", False, True)),
        ("data:/srv:ro", {"data": {"name": "x-{{.Task.Slot}}"}}, ("templated volume", False, False)),
        ("data-{{.Task.Slot}}:/srv", {}, ("templated volume", False, True)),
        ("data:/srv", {"data": {"external": True, "name": "x-{{.Task.Slot}}"}}, ("templated volume", False, True)),
        ("/anonymous", {}, ("anonymous volume", False, False)),
        ({"type": "tmpfs", "target": "/tmp"}, {}, ("tmpfs", False, False)),
        ({"type": "cluster", "source": "x", "target": "/x"}, {}, ("cluster volume", False, True)),
    ],
)
def test_each_stateful_path_is_covered_or_not_with_a_reason(
    mount: object, volumes: dict[str, Any], expected: tuple[str, bool, bool]
) -> None:
    *found, why = statement(mount, volumes)
    assert tuple(found) == expected
    assert why


@pytest.mark.parametrize(
    ("mount", "volumes", "shared"),
    [
        ("data:/srv", {"data": None}, True),
        ("data:/srv:ro", {"data": None}, False),
        ("/host:/srv", {}, True),
        ("/host:/srv:ro", {}, False),
        ("/dev/dri:/dev/dri", {}, False),
        ("/var/run/docker.sock:/s", {}, False),
        ("/etc/localtime:/etc/localtime", {}, False),
        ({"type": "tmpfs", "target": "/tmp"}, {}, False),
        ("ram:/tmp", {"ram": {"driver_opts": {"type": "tmpfs"}}}, False),
        ("/anonymous", {}, False),
        ("data:/srv", {"data": {"name": "{{.Task.Slot}}"}}, True),
        ("data:/srv", {"data": {"external": True}}, True),
        ({"type": "cluster", "source": "x", "target": "/x"}, {}, True),
    ],
)
def test_two_tasks_tear_only_what_both_write(mount: object, volumes: dict[str, Any], *, shared: bool) -> None:
    facts = compose_facts({"services": {"app": {"volumes": [mount]}}, "volumes": volumes})
    assert [each.target for each in shared_data(facts.services["app"], facts)] == (
        [facts.services["app"].mounts[0].target] if shared else []
    )


def test_what_an_author_calls_disposable_does_not_block() -> None:
    *_, blocks, why = statement("/host:/srv", {}, path="/srv", reason="only logs")
    assert not blocks
    assert "only logs" in why
    *_, blocks, why = statement("data:/srv", {"data": {"external": True}}, volume="data", reason="a cache")
    assert not blocks


def test_a_disposable_entry_that_names_nothing_is_told(notes: ComposeFacts) -> None:
    found = coverage(notes, disposable=(Disposable(volume="typo", reason="x"),))
    assert found.unused == ("typo",)


def test_the_statement_lists_secrets_and_configs_and_the_volumes_of_a_snapshot(notes: ComposeFacts) -> None:
    found = coverage(notes, disposable=())
    assert found.volumes == ("media", "pg")
    assert found.complete
    assert {(path.service, path.kind) for path in found.paths} >= {
        ("app", "secret"),
        ("app", "config"),
        ("db", "secret"),
    }


# --- names


def test_a_stack_is_named_after_its_domain() -> None:
    assert stack_name("warm-lasuite-docs.ci.test") == "warm-lasuite-docs_ci_test"


def test_a_stack_name_that_abra_would_cut_is_refused() -> None:
    with pytest.raises(RecipeInvalid, match="46 characters"):
        stack_name("a" * 38 + ".ci.test")
    assert len(stack_name("a" * 37 + ".ci.test")) == 45


@pytest.mark.parametrize(
    "domain", ["", "a..b", "-a.b", "a_b.c", "A.b", "a" * 64 + ".b", "a/b", ".".join(["a" * 60] * 5)]
)
def test_what_is_no_host_name_is_refused(domain: str) -> None:
    with pytest.raises(RecipeInvalid):
        check_domain(domain)


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,30}", fullmatch=True), st.text(max_size=20))
def test_domains_of_runs_are_host_names_and_their_own(recipe: str, run_id: str) -> None:
    for domain in (cold_domain(recipe, run_id, "ci.test"), canonical_domain(recipe, "ci.test")):
        check_domain(domain)
    assert cold_domain(recipe, run_id, "ci.test") == cold_domain(recipe, run_id, "ci.test")
    assert cold_domain(recipe, run_id, "ci.test") != cold_domain(recipe, run_id + "x", "ci.test")


def test_the_canonical_of_an_infra_recipe_has_not_the_live_apps_domain() -> None:
    assert canonical_domain("keycloak", "ci.test") != app_domain("keycloak", "ci.test") == "keycloak.ci.test"


def test_names_that_docker_would_refuse_are_told_all_at_once_before_a_deploy() -> None:
    stack = "s" * 40
    raw = {
        "services": {"a" * 30: {}, "ok": {}, "dot.ted": {}},
        "networks": {"n" * 30: {}, "x" * 60: {"external": True, "name": "y" * 80}},
        "secrets": {"long": {"external": True, "name": stack + "_" + "k" * 24}, "odd": {"name": stack + "_k-"}},
        "configs": {"c" * 30: {"file": "x"}},
    }
    with pytest.raises(RecipeInvalid) as caught:
        check_names(compose_facts(raw), stack=stack)
    message = str(caught.value)
    for part in (
        "service name s",
        "71 characters",
        "dot.ted",
        "network name s",
        "65 characters",
        "_k-'",
        "config name s",
    ):
        assert part in message
    assert "yyyy" not in message


def test_an_empty_version_variable_is_told_as_that_and_not_as_a_name_too_long() -> None:
    raw = {
        "services": {"app": {}},
        "secrets": {"key": {"external": True, "name": "x_ci_test_key_"}},
        "configs": {"conf": {"name": "x_ci_test_conf_", "file": "x"}},
    }
    with pytest.raises(RecipeInvalid) as caught:
        check_names(compose_facts(raw), stack="x_ci_test")
    assert "of the secret key ends in _" in caught.value.what
    assert "of the config conf ends in _" in caught.value.what
    assert "empty or not set" in caught.value.what
    assert "abra.sh" in caught.value.advice
    assert "shorter" not in caught.value.advice
    with pytest.raises(RecipeInvalid) as both:
        check_names(compose_facts({**raw, "services": {"a" * 60: {}}}), stack="x_ci_test")
    assert "abra.sh" in both.value.advice
    assert "shorter" in both.value.advice


def test_names_within_the_limits_pass(notes: ComposeFacts) -> None:
    check_names(notes, stack="notes_ci_test")


def test_a_volume_without_declaration_is_a_plain_one() -> None:
    assert compose_facts({"volumes": {"x": None}}).volumes["x"] == VolumeFacts("x")


@pytest.mark.parametrize(
    ("ports", "published"),
    [
        (["8080:80"], {(8080, "tcp")}),
        (["3478:3478/udp", "3478:3478"], {(3478, "udp"), (3478, "tcp")}),
        ([{"target": 80, "published": 8080, "protocol": "tcp", "mode": "host"}], {(8080, "tcp")}),
        ([{"target": 80, "published": "8080"}], {(8080, "tcp")}),
        (["80"], set()),
        ([{"target": 80, "mode": "ingress"}], set()),
    ],
    ids=["short", "two protocols", "long", "a number as text", "Swarm chooses", "Swarm chooses, long"],
)
def test_the_ports_that_an_app_wants_for_itself(ports: list[object], published: set[tuple[int, str]]) -> None:
    facts = compose_facts({"services": {"db": {"image": "a:1"}, "app": {"image": "a:1", "ports": ports}}})
    assert facts.published == published
