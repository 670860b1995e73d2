from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import process
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, ProgramFailed
from pytest_ccci.ops import provision
from pytest_ccci.ops.provision import MachineFacts, Need, install, missing

ALL = frozenset({"git", "java", "mmdebstrap", "npm", "mvn", "dockerd", "containerd", "runc", "iptables"})


def facts(*, engine: str = "", registry: bool = False, programs: frozenset[str] = ALL, cli: str = "") -> MachineFacts:
    return MachineFacts(root=True, apt=True, engine=engine, registry=registry, programs=programs, cli=cli)


def names(given: MachineFacts) -> list[str]:
    return [need.package for need in missing(given)]


def test_a_machine_with_an_engine_and_a_registry_needs_nothing_but_git() -> None:
    assert names(facts(engine="DOCKER_HOST", registry=True, programs=frozenset({"git"}))) == []
    assert names(facts(engine="DOCKER_HOST", registry=True, programs=frozenset())) == ["git"]


def test_an_engine_is_installed_only_where_none_answers_and_none_is_installed() -> None:
    without = ALL - {"dockerd", "containerd", "runc", "iptables"}
    assert names(facts(engine="/var/run/docker.sock", programs=without)) == []
    assert names(facts(programs=without)) == ["docker.io", "containerd", "runc", "iptables"]
    assert names(facts(programs=ALL - {"iptables"})) == ["iptables"]


def test_what_image_builds_need_is_installed_only_where_no_registry_answers() -> None:
    without = ALL - {"mmdebstrap", "npm", "mvn", "java"}
    assert names(facts(registry=True, programs=without)) == []
    assert names(facts(programs=without)) == ["mmdebstrap", "npm", "maven", "default-jre-headless"]


def test_a_docker_program_that_is_too_old_is_said_with_what_was_found() -> None:
    (need,) = missing(facts(registry=True, cli="/usr/bin/docker is 20.10.24"))
    assert need.package == "docker-cli"
    assert "20.10.24" in need.why


class Apt:
    """Stands in for apt, and looks at what holds while it works."""

    def __init__(self, policy: Path, *, fails: bool = False) -> None:
        self.policy = policy
        self.fails = fails
        self.calls: list[tuple[str, ...]] = []
        self.policy_then: list[str] = []
        self.noninteractive = True

    def run(self, argv: list[str], *, env: dict[str, str] | None = None, **_: object) -> object:
        words = tuple(argv)
        self.calls.append(words)
        if "install" in words:
            self.policy_then.append(self.policy.read_text() if self.policy.exists() else "")
            self.noninteractive &= (env or {}).get("DEBIAN_FRONTEND") == "noninteractive"
            if self.fails:
                raise ProgramFailed("apt-get ended with exit status 100", rc=100, tail="E: Unable to locate package")
        return type("Finished", (), {"stdout": "  Candidate: 1\n"})


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(provision, "_POLICY", path)
    return path


def use(monkeypatch: pytest.MonkeyPatch, apt: Apt) -> None:
    monkeypatch.setattr(process, "run", apt.run)


def test_installing_starts_no_service_and_leaves_no_policy_behind(
    monkeypatch: pytest.MonkeyPatch, policy: Path
) -> None:
    apt = Apt(policy)
    use(monkeypatch, apt)
    install((Need("mmdebstrap", "x"),))
    assert apt.policy_then == ["#!/bin/sh\nexit 101\n"]
    assert not policy.exists()
    assert apt.noninteractive
    assert "--no-install-recommends" in apt.calls[-1]


def test_a_policy_that_is_there_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, policy: Path) -> None:
    policy.write_text("theirs")
    apt = Apt(policy)
    use(monkeypatch, apt)
    install((Need("mmdebstrap", "x"),))
    assert policy.read_text() == "theirs"


def test_apts_own_words_are_shown_when_it_fails_and_the_policy_goes(
    monkeypatch: pytest.MonkeyPatch, policy: Path
) -> None:
    use(monkeypatch, Apt(policy, fails=True))
    with pytest.raises(InfrastructureFault, match="apt-get install failed") as caught:
        install((Need("mmdebstrap", "x"),))
    assert "Unable to locate" in caught.value.seen
    assert not policy.exists()


def test_nothing_missing_means_that_apt_is_not_even_asked(monkeypatch: pytest.MonkeyPatch, policy: Path) -> None:
    apt = Apt(policy)
    use(monkeypatch, apt)
    install(())
    assert apt.calls == []


class Machine:
    """Stands in for a machine on which some things are there already."""

    def __init__(self, there: frozenset[str]) -> None:
        self.there = set(there)
        self.engine = SimpleNamespace(facts=SimpleNamespace(version="29.0", api_version="1.50"))
        self.site: Any = "site"
        self.state, self.settings = SimpleNamespace(), SimpleNamespace(zone="ci.test")

    def inspect_engine(self, *_: Any) -> Any:
        if "engine" not in self.there:
            raise EngineUnavailable("none answers")
        return self.engine

    def bring_up(self, name: str) -> Any:
        self.there.add(name)
        return self.inspect(self.site, name)

    def inspect(self, _site: object, name: str) -> Any:
        app = SimpleNamespace(external=False, healthy=True, version="1.0.0+1", domain=f"{name}.ci.test")
        return app if name in self.there else None

    def open(self, *_: Any, **__: Any) -> Machine:
        self.bring_up("traefik")
        return self

    def prepare(self, refs: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple(SimpleNamespace(origin="built", fresh="images" not in self.there) for _ in refs)


@pytest.mark.parametrize(
    "there",
    [
        frozenset(),
        frozenset({"engine"}),
        frozenset({"engine", "traefik", "images"}),
        frozenset({"engine", "traefik", "keycloak"}),
        frozenset({"engine", "traefik", "keycloak", "images"}),
    ],
    ids=sorted,
)
def test_what_was_there_is_called_reused_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: frozenset[str]
) -> None:
    machine = Machine(there)
    for name, value in {
        "source_of": lambda *_: "",
        "open_engine": lambda *_: machine.engine,
        "open_quietly": lambda *_: machine.site,
        "open_machine": machine.open,
        "inspect_infra": machine.inspect,
        "ensure": lambda _site, app: machine.bring_up(app),
        "recipe_images": lambda *_, **__: ("a:1", "b:1"),
    }.items():
        monkeypatch.setattr(provision, name, value)
    monkeypatch.setattr("pytest_ccci.engine.discovery.inspect_engine", machine.inspect_engine)
    state: Any = SimpleNamespace(engine=tmp_path)
    spec: Any = SimpleNamespace(name="notes", folder=tmp_path)
    settings: Any = None
    steps: list[provision.Step] = []
    provision.provision(settings, state, spec, done=steps.append)
    assert {step.name for step in steps} == {"engine", "traefik", "keycloak", "images"}
    assert {step.name for step in steps if step.reused} == there
