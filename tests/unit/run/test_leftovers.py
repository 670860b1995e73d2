"""Whose is what exists after a run and did not before: decided by values alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import locks
from pytest_ccci.engine.objects import Thing
from pytest_ccci.errors import LeftBehind, NotShown
from pytest_ccci.run import context as module
from pytest_ccci.run import leftovers
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.leftovers import (
    HostInventory,
    Others,
    inspect_inventory,
    inspect_others,
    left_behind,
    remove_left,
)
from pytest_ccci.run.run_dir import Diary, Owned
from pytest_ccci.statedir import StateDir, open_state

OWN = frozenset({"docs-1_ci_test"})
OLD = Thing("volume", "old")
MASTER = Thing("realm", "master")
OURS = SimpleNamespace(facts=SimpleNamespace(private=True))
BEFORE = HostInventory(frozenset({OLD, MASTER}), frozenset({"run r0 was begun"}))


def decide(*new: Thing, reaches: bool = True, others: Others = Others(), events: tuple[str, ...] = ()) -> list[Any]:  # noqa: B008  frozen
    after = HostInventory(BEFORE.things | set(new), BEFORE.events | set(events))
    found = left_behind(BEFORE, after, own=OWN, reaches_engine=reaches, others=others)
    return [(one.thing.name, one.ours) for one in found]


ALONE = Others(frozenset({"traefik_ci_test"}))
BESIDE = Others(frozenset({"chat_ci_test"}), frozenset({"chat-r2"}), frozenset({"run r2"}))


@pytest.mark.parametrize(
    ("thing", "reaches", "others", "events", "ours"),
    [
        (Thing("container", "box"), True, ALONE, (), True),
        (Thing("volume", "data"), True, ALONE, (), True),
        (Thing("network", "net", "n1"), True, ALONE, (), True),
        (Thing("secret", "key", "s1"), True, ALONE, (), True),
        (Thing("service", "stray", stack="nobodys"), True, ALONE, (), False),
        (Thing("volume", "data"), True, BESIDE, (), False),
        (Thing("volume", "data"), True, ALONE, ("run r9 was begun",), False),
        (Thing("volume", "data"), True, ALONE, ("run r0 ended",), False),
        (Thing("volume", "data"), True, ALONE, ("keycloak was reconciled (1)",), False),
        (Thing("volume", "data"), False, ALONE, (), False),
        (Thing("volume", "docs-1_ci_test_x"), False, BESIDE, (), True),
        (Thing("secret", "odd", stack="docs-1_ci_test"), False, BESIDE, (), True),
        (Thing("service", "chat_ci_test_app", stack="chat_ci_test"), True, BESIDE, (), None),
        (Thing("volume", "chat_ci_test_data"), True, BESIDE, (), None),
        (Thing("config", "x", stack="traefik_ci_test"), True, ALONE, (), None),
        (Thing("realm", "chat-r2"), True, BESIDE, (), None),
        (Thing("realm", "stray"), True, ALONE, (), False),
        (Thing("mount", "/state/runs/x"), True, ALONE, (), False),
        (Thing("file", "/state/odd"), False, ALONE, (), False),
    ],
)
def test_whose_a_new_thing_is(
    thing: Thing, reaches: bool, others: Others, events: tuple[str, ...], ours: bool | None
) -> None:
    expected = [] if ours is None else [(thing.name, ours)]
    assert decide(thing, reaches=reaches, others=others, events=events) == expected


def test_what_was_there_before_is_nobodys_and_what_went_neither() -> None:
    after = HostInventory(frozenset({MASTER}))
    assert left_behind(BEFORE, after, own=OWN, reaches_engine=True, others=ALONE) == ()


def test_a_thing_made_anew_under_an_old_name_is_new() -> None:
    before = HostInventory(frozenset({Thing("secret", "key", "s1")}))
    after = HostInventory(frozenset({Thing("secret", "key", "s2")}))
    assert [left.ours for left in left_behind(before, after, own=OWN, reaches_engine=True, others=ALONE)] == [True]


def test_realms_that_were_not_looked_at_before_are_not_new() -> None:
    before, after = HostInventory(frozenset()), HostInventory(frozenset({MASTER}))
    assert left_behind(before, after, own=OWN, reaches_engine=True, others=ALONE) == ()


def test_a_stack_of_ours_is_ours_although_others_hold_its_lock() -> None:
    others = Others(OWN)
    assert decide(Thing("volume", "docs-1_ci_test_x"), others=others) == [("docs-1_ci_test_x", True)]


def test_everything_that_a_run_could_leave_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path)

    def row(name: str) -> dict[str, Any]:
        return {"ID": name, "Spec": {"Name": name, "Labels": {"com.docker.stack.namespace": "theirs"}}}

    box = {"Id": "c", "Names": ["/box"], "Created": 0, "Labels": {}}
    task = {**box, "Names": ["/theirs_app.1"], "Labels": {"com.docker.swarm.task.id": "t"}}
    api = SimpleNamespace(
        secrets=lambda: [row("a secret")],
        configs=lambda: [row("a config")],
        services=lambda: [row("a service")],
        networks=lambda **_: [{"Id": "n", "Name": "a network"}, {"Id": "i", "Name": "ingress", "Ingress": True}],
        volumes=lambda: {"Volumes": [{"Name": "a volume", "Labels": None}]},
        containers=lambda **_: [box, task],
    )
    engine: Any = SimpleNamespace(client=SimpleNamespace(api=api))
    keycloak: Any = SimpleNamespace(realms=lambda: ({"realm": "master"}, {"realm": "stray"}))
    (tmp_path / "odd").touch()
    monkeypatch.setattr(leftovers, "_mounts_below", lambda root, but: frozenset({f"{root}/mounted but {but.name}"}))

    found = inspect_inventory(engine, state, keycloak=keycloak, run_id="r1")

    told = {(thing.kind, thing.name, thing.stack) for thing in found.things}
    assert told >= {(kind, f"a {kind}", "theirs") for kind in ("secret", "config", "service")}
    assert told >= {(kind, f"a {kind}", "") for kind in ("network", "volume")}
    assert told >= {("container", "box", ""), ("realm", "stray", ""), ("file", str(tmp_path / "odd"), "")}
    assert told >= {("mount", f"{tmp_path}/mounted but engine", "")}
    assert not [name for _, name, _ in told if name in {"theirs_app.1", "ingress"}]


def test_mounts_are_found_below_a_folder_but_for_those_of_the_private_engine() -> None:
    assert "/proc" in leftovers._mounts_below(Path("/"), but=Path("/nowhere"))
    assert "/proc" not in leftovers._mounts_below(Path("/"), but=Path("/proc"))
    assert "/" not in leftovers._mounts_below(Path("/"), but=Path("/nowhere"))


def test_others_are_known_by_held_locks_slots_and_records(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    Diary(state.run("r3")).own((Owned("r3", "blog", "blog_ci_test", "blog.ci.test", "/l"),))
    state.lock("dead.ci.test").touch()
    with (
        locks.hold(state.lock("chat.ci.test"), wait=0, owner={"run": "r2"}),
        locks.hold(state.slots / "0.lock", wait=0, owner={"run": "r4"}),
        locks.hold(state.slots / "1.lock", wait=0, owner={"run": "r1"}),
        locks.hold(state.lock("docs-1.ci.test"), wait=0, owner={"run": "r1"}),
        locks.hold(state.lock("keycloak.ci.test"), wait=0, owner={"doing": "reconcile"}),
    ):
        others = inspect_others(state, run_id="r1", own=OWN)
    assert others.stacks == {"chat_ci_test", "blog_ci_test", "keycloak_ci_test"}
    assert others.holders == {"run r2", "run r4", "keycloak.ci.test"}


def test_only_what_is_provably_the_runs_is_removed_users_first() -> None:
    calls: list[str] = []

    class Api:
        def __getattr__(self, name: str) -> Any:
            return lambda which, **_: calls.append(f"{name} {which}")

    engine: Any = SimpleNamespace(client=SimpleNamespace(api=Api()))
    new = (Thing("volume", "v"), Thing("network", "n", "n1"), Thing("container", "c", "c1"), Thing("realm", "x"))
    kinds = ("service", "container", "network", "volume", "secret", "config")
    theirs = {Thing(kind, f"their {kind}", f"their {kind}", stack="blog_example_org") for kind in kinds}
    after = HostInventory(BEFORE.things | set(new) | theirs)
    found = left_behind(BEFORE, after, own=OWN, reaches_engine=True, others=ALONE)
    assert {one.thing for one in found if not one.ours} == {Thing("realm", "x"), *theirs}
    assert remove_left(engine, found) == ()
    assert calls == ["remove_container c1", "remove_network n1", "remove_volume v"]


@pytest.fixture
def run(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """A run of one app, between the two looks: volume ``data`` came meanwhile."""
    nothing: Any = SimpleNamespace(zone="ci.test")
    made = RunContext(
        run_id="r1",
        spec=nothing,
        settings=nothing,
        state=state,
        mirror=nothing,
        head=nothing,
        sentinels=nothing,
        diary=Diary(state.run("r1")),
        trees=nothing,
    )
    made._machine = SimpleNamespace(own_keycloak="", engine=OURS)  # type: ignore[assignment]  # as much as is asked for
    made.owned = (Owned("r1", "docs", "docs-1_ci_test", "docs-1.ci.test", "/l"),)
    looks = iter((BEFORE, HostInventory(BEFORE.things | {Thing("volume", "data")}, BEFORE.events)))
    monkeypatch.setattr(module, "inspect_inventory", lambda *_, **__: next(looks))
    monkeypatch.setattr(
        module, "remove_left", lambda _engine, left: tuple(f"no {x.thing.name}" for x in left if x.ours)
    )
    made.note_before()
    return made


def stage(*, reaches: bool) -> Any:
    return SimpleNamespace(domain="docs-1.ci.test", reaches_engine=reaches, killed=())


def test_what_is_the_runs_fails_it_and_is_in_the_result(run: RunContext) -> None:
    with pytest.raises(LeftBehind, match="volume data"):
        run.check_nothing_left(stage(reaches=True))
    assert [text.partition(" (")[0] for text in run.leftovers] == ["volume data"]
    assert run.warnings == ["could not be removed: no data"]


def test_what_cannot_be_told_leaves_settle_unverified(run: RunContext, state: StateDir) -> None:
    with (
        locks.hold(state.slots / "1.lock", wait=0, owner={"run": "r2"}),
        pytest.raises(NotShown, match=r"volume data .*while run r2 was in flight"),
    ):
        run.check_nothing_left(stage(reaches=True))
    assert run.leftovers == ()


def test_what_the_app_cannot_have_made_is_a_warning(run: RunContext) -> None:
    run.check_nothing_left(stage(reaches=False))
    assert "volume data" in run.warnings[0]
    assert run.leftovers == ()


def test_a_service_that_had_to_be_killed_is_a_warning(run: RunContext) -> None:
    app = stage(reaches=False)
    app.killed = ("service app (SIGTERM, 10 s)", "service db (SIGINT, 60 s)")
    run.check_nothing_left(app)
    assert run.warnings[0].startswith(
        "service app (SIGTERM, 10 s), service db (SIGINT, 60 s) did not end when asked to"
    )
    assert run.leftovers == ()


def test_what_was_found_of_its_stack_fails_it_too(run: RunContext) -> None:
    with pytest.raises(LeftBehind, match="route docs-1"):
        run.check_nothing_left(stage(reaches=False), left=("route docs-1.ci.test",))
    assert run.leftovers == ("route docs-1.ci.test",)


def test_on_an_engine_that_others_use_nothing_is_taken_for_the_runs_because_it_was_alone() -> None:
    stray = Thing("volume", "somebodys-data")
    before, after = HostInventory(frozenset()), HostInventory(frozenset({stray}))

    def found(*, shared: bool) -> tuple[bool, ...]:
        left = left_behind(before, after, own=frozenset(), reaches_engine=True, others=Others(), shared=shared)
        return tuple(one.ours for one in left)

    assert found(shared=False) == (True,)
    assert found(shared=True) == (False,)


def test_a_new_container_of_somebody_elses_stack_is_no_news_where_the_app_cannot_have_made_it() -> None:
    restarted = Thing("container", "blog_app.1.x2", stack="blog_example_org")
    after = HostInventory(frozenset({restarted}))

    def found(*, reaches: bool) -> int:
        return len(
            left_behind(HostInventory(frozenset()), after, own=OWN, reaches_engine=reaches, others=ALONE, shared=True)
        )

    assert found(reaches=False) == 0
    assert found(reaches=True) == 1


def test_nothing_that_bears_another_stacks_name_is_removed_however_alone_the_app_was() -> None:
    theirs = Thing("service", "blog_app", stack="blog_example_org")
    left = left_behind(
        HostInventory(frozenset()), HostInventory(frozenset({theirs})), own=OWN, reaches_engine=True, others=ALONE
    )
    assert [(one.thing, one.ours) for one in left] == [(theirs, False)]
