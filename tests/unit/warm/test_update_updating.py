"""The order of an update and of its way back, with everything that reaches an engine replaced by notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import (
    CrashLoop,
    DataLost,
    EngineUnavailable,
    ImageUnavailable,
    InfrastructureFault,
    StoreDamaged,
)
from pytest_ccci.recipe.releases import parse
from pytest_ccci.recipe.tree import Head
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.warm import update
from pytest_ccci.warm.infra_recipe import Good, last_good
from pytest_ccci.warm.update import Ending, Remedy, Step, Update, Way, in_progress, journal_of, remedy, stuck, tried

OLD = Head("latest", "a" * 40, release=parse("1.0.0+1.0.0"), version="1.0.0+1.0.0")
NEW = Head("latest", "b" * 40, release=parse("1.0.1+1.0.1"), version="1.0.1+1.0.1")
FORWARD = ["write marker", "fetch new", "roll out new", "prove new", "expect marker"]
STATEFUL = ["write marker", "fetch new", "learn", "park", "adopt", "snapshot", "roll out new", "prove new"]


class Scene:
    """What was done, and what is to go wrong."""

    def __init__(self, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.state = state
        self.site: Any = SimpleNamespace(state=state, engine=None, tell=lambda _line: None)
        self.recipe: Any = SimpleNamespace(name="app", stack="app_x", domain="app.x")
        names = {OLD.commit: "old", NEW.commit: "new"}
        told: dict[str, Callable[..., str]] = {
            "write_marker": lambda *_a: "write marker",
            "fetch_images": lambda _s, _r, head: f"fetch {names[head.commit]}",
            "learn_secrets": lambda *_a: "learn",
            "park": lambda *_a: "park",
            "adopt": lambda *_a: "adopt",
            "roll_out": lambda _s, _r, head: f"roll out {names[head.commit]}",
            "prove": lambda _s, _r, head, ident: f"prove {names[head.commit]}",  # noqa: ARG005  the signature
            "expect_marker": lambda *_a, same_schema: f"expect marker{' and schema' if same_schema else ''}",
            "drop_marker": lambda *_a: "drop marker",
        }
        for name, text in told.items():
            monkeypatch.setattr(update, name, self._noting(text))
        monkeypatch.setattr(update, "read_facts", lambda *_a: None)
        monkeypatch.setattr(update, "known_secrets", lambda *_a: {})
        monkeypatch.setattr(update, "stopped", lambda *_a: None)
        monkeypatch.setattr(update, "head_of", lambda _r, good: OLD if good.commit == OLD.commit else None)
        monkeypatch.setattr(update, "data_of", lambda *_a: self)

    def _noting(self, text: Callable[..., str]) -> Callable[..., None]:
        def act(*args: object, **options: object) -> None:
            what = text(*args, **options)
            self.done.append(what)
            if what in self.fails:
                raise self.fails[what]

        return act

    # as the store
    def recover(self) -> tuple[str, ...]:
        return ()

    def live_volumes(self) -> tuple[str, ...]:
        return ("db",)

    def snapshot(self, **_options: object) -> str:
        self._noting(lambda: "snapshot")()
        return "taken"

    def promote(self, *_args: object, **_options: object) -> None:
        pass

    def mark_drifted(self, *_args: object) -> None:
        pass

    def way(self, *, data: bool) -> Way:
        update = Update("app", "u1", Good(OLD.version, OLD.commit), Good(NEW.version, NEW.commit), data=data)
        back = self._noting(lambda *_a: "restore")
        return Way(self.site, self.recipe, update, restore=back)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(open_state(tmp_path / "state"), monkeypatch)


@pytest.mark.parametrize(("data", "expected"), [(False, FORWARD), (True, [*STATEFUL, "expect marker"])])
def test_a_healthy_release_is_the_last_good_only_after_it_was_proved(
    scene: Scene, data: bool, expected: list[str]
) -> None:
    way = scene.way(data=data)
    seen: list[str] = []
    way.stepped = lambda _step: seen.append(last_good(scene.state, "app").release)

    assert way.go(OLD, NEW) is Ending.STAYED

    assert scene.done == [*expected, "drop marker"]
    assert NEW.version not in seen
    assert last_good(scene.state, "app") == Good(NEW.version, NEW.commit)
    assert in_progress(scene.state, "app") is None


@pytest.mark.parametrize(
    ("fails", "back"),
    [
        ("write marker", ["prove old"]),
        ("fetch new", ["prove old", "expect marker and schema"]),
        ("learn", ["prove old", "expect marker and schema"]),
        ("park", ["park", "roll out old", "prove old", "expect marker and schema"]),
        ("snapshot", ["park", "roll out old", "prove old", "expect marker and schema"]),
        ("roll out new", ["park", "restore", "roll out old", "prove old", "expect marker and schema"]),
        ("prove new", ["park", "restore", "roll out old", "prove old", "expect marker and schema"]),
        ("expect marker", ["park", "restore", "roll out old", "prove old", "expect marker and schema"]),
    ],
)
def test_what_was_touched_is_put_back_with_its_data_and_no_more(scene: Scene, fails: str, back: list[str]) -> None:
    scene.fails[fails] = CrashLoop("it dies")
    way = scene.way(data=True)
    way.journal  # noqa: B018  made before anything else
    if fails == "park":
        first = scene._noting(lambda *_a: "park")

        def once(*_args: object) -> None:
            fault = scene.fails
            try:
                first()
            finally:
                fault.pop("park", None)

        vars(update)["park"] = once

    assert way.go(OLD, NEW) is Ending.BACK

    at = scene.done.index(fails)
    assert scene.done[at + 1 :] == [*back, "drop marker"]
    assert last_good(scene.state, "app").release != NEW.version
    assert in_progress(scene.state, "app") is None
    assert stuck(scene.state, "app") is None


def test_an_app_without_data_goes_back_by_its_version_alone(scene: Scene) -> None:
    scene.fails["prove new"] = CrashLoop("it dies")

    assert scene.way(data=False).go(OLD, NEW) is Ending.BACK

    assert scene.done[4:] == ["roll out old", "prove old", "expect marker and schema", "drop marker"]


@pytest.mark.parametrize(
    ("fails", "error", "remembered"),
    [
        ("fetch new", ImageUnavailable("no registry"), False),
        ("roll out new", CrashLoop("it dies"), True),
        ("prove new", RuntimeError("a defect of ours"), True),
    ],
)
def test_a_release_is_not_blamed_for_what_kept_it_from_being_tried(
    scene: Scene, fails: str, error: Exception, remembered: bool
) -> None:
    scene.fails[fails] = error

    assert scene.way(data=True).go(OLD, NEW) is Ending.BACK

    assert (tried(scene.state, "app") is not None) is remembered


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        ("restore", StoreDamaged("the snapshot is damaged")),
        ("roll out old", CrashLoop("it dies too")),
        ("expect marker and schema", DataLost("the schema is not what it was")),
    ],
)
def test_a_rollback_that_fails_is_told_once_and_never_tried_again_by_itself(
    scene: Scene, fails: str, error: Exception
) -> None:
    scene.fails |= {"prove new": CrashLoop("it dies"), fails: error}
    way = scene.way(data=True)

    assert way.go(OLD, NEW) is Ending.STUCK

    mark = stuck(scene.state, "app")
    assert mark is not None
    assert str(error) in mark.problem
    assert "it dies" in mark.problem
    assert scene.done.count("roll out old") <= 1
    assert in_progress(scene.state, "app") is None
    assert "drop marker" not in scene.done


def test_an_app_that_is_not_well_by_itself_waits_for_nobody(scene: Scene) -> None:
    scene.fails |= {"fetch new": ImageUnavailable("no registry"), "prove old": CrashLoop("down by itself")}

    with pytest.raises(InfrastructureFault, match="nothing was touched"):
        scene.way(data=True).go(OLD, NEW)

    assert stuck(scene.state, "app") is None
    assert in_progress(scene.state, "app") is None


def test_where_the_engine_is_gone_the_next_one_puts_it_back(scene: Scene) -> None:
    gone = EngineUnavailable("it went away")
    scene.fails |= {"roll out new": gone, "restore": gone}

    with pytest.raises(EngineUnavailable):
        scene.way(data=True).go(OLD, NEW)

    pending = in_progress(scene.state, "app")
    assert pending is not None
    assert remedy(pending.steps, data=True) is Remedy.RESTORE
    assert stuck(scene.state, "app") is None


def test_every_step_is_in_the_journal_before_it_is_begun(scene: Scene) -> None:
    scene.fails["prove new"] = CrashLoop("it dies")
    way, rows = scene.way(data=True), []

    def stepped(step: str) -> None:
        pending = in_progress(scene.state, "app")
        assert pending is not None
        rows.append((pending.steps[-1], step, len(scene.done)))

    way.stepped = stepped
    way.go(OLD, NEW)

    assert [row[0] for row in rows] == [row[1] for row in rows]
    assert [row[1] for row in rows] == [
        Step.MARK,
        Step.FETCH,
        Step.PARK,
        Step.SNAPSHOT,
        Step.DEPLOY,
        Step.PROVE,
        Step.UNDO,
    ]
    assert [scene.done[count] for _, _, count in rows[:3]] == ["write marker", "fetch new", "park"]


@pytest.mark.parametrize(
    ("steps", "data", "expected"),
    [
        ((), True, Remedy.FORGET),
        (("mark",), True, Remedy.FORGET),
        (("mark", "fetch"), True, Remedy.FORGET),
        (("mark", "fetch"), False, Remedy.FORGET),
        (("mark", "fetch", "undo"), True, Remedy.FORGET),
        (("mark", "fetch", "park"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "undo"), True, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "deploy"), True, Remedy.RESTORE),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove"), True, Remedy.RESTORE),
        (("mark", "fetch", "park", "snapshot", "deploy", "undo"), True, Remedy.RESTORE),
        (("mark", "fetch", "deploy"), False, Remedy.REDEPLOY),
        (("mark", "fetch", "deploy", "prove", "undo"), False, Remedy.REDEPLOY),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove", "proved"), True, Remedy.FINISH),
        (("mark", "fetch", "park", "snapshot", "deploy", "prove", "proved", "undo"), True, Remedy.RESTORE),
    ],
)
def test_what_a_death_left_is_finished_or_undone_by_rule(steps: tuple[str, ...], data: bool, expected: Remedy) -> None:
    assert remedy(steps, data=data) is expected


def test_an_update_is_read_back_from_its_journal(scene: Scene) -> None:
    update = scene.way(data=True).update
    journal_of(scene.state, "app").begin("update", **update.facts())

    pending = in_progress(scene.state, "app")

    assert pending is not None
    assert Update.parse(pending) == update
