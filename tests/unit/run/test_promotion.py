"""A promotion, on a real store: the old known-good stands until the new one is read back, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import CanonicalRefused, CcciError, DiskFull, Interrupted, NotServing, StoreDamaged
from pytest_ccci.results.model import KnownGoodChange
from pytest_ccci.run import promotion
from pytest_ccci.run.census import Census
from pytest_ccci.run.promotion import promote
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.warm.alerts import AlertKind, open_alerts

OLD, NEW = "1.0.0+1.0", "1.1.0+1.1"


class Ground:
    """A machine with one canonical and a fake app on its real volumes. ``at`` is called as each step is reached."""

    def __init__(self, state: StateDir) -> None:
        self.did: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}
        self.covered = True
        self.kept = CanonicalStore(state.canonical("notes"), "notes")
        self.note = self.kept.live("data") / "note"
        engine = SimpleNamespace(socket_path=Path("/run/docker.sock"))
        self.app: Any = SimpleNamespace(
            stack="warm-notes_ci_test",
            domain="warm-notes.ci.test",
            secrets={},
            memory={},
            lease=None,
            last=SimpleNamespace(compose=None, images=(), stack="warm-notes_ci_test"),
            sentinels=SimpleNamespace(unseeded=lambda _: False),
            come_up=self._come_up,
            require_stopped=lambda: None,
            count=Census,
            check_kept=lambda *_: {},
            check_sentinels=lambda **_: self._step("sentinels"),
            seed=lambda: self._step("seeded"),
            close_window=lambda: self._step("window"),
            undeploy=lambda: self._step("undeployed"),
        )
        self.context: Any = SimpleNamespace(
            run_id="r1",
            spec=SimpleNamespace(name="notes", keep=1, file=Path("recipe.toml")),
            settings=SimpleNamespace(zone="ci.test", reseed=False),
            head=SimpleNamespace(version=NEW, commit="d" * 40, release=SimpleNamespace(tag=NEW, app_half="1.1")),
            state=state,
            diary=Diary(state.run("r1")),
            warnings=[],
            interrupted="",
            promoting=False,
            open_machine=lambda: SimpleNamespace(engine=engine),
            lock_app=lambda domain: self._step(f"locked {domain}"),
            deployment=lambda _domain, **_: self.app,
            lease_for=lambda _: None,
            perform_tests=lambda *_: None,
            remove_app=lambda _: self._step("removed"),
            give_back=lambda _: self._step("gave back"),
            disown=lambda _: self._step("disowned"),
        )

    def coverage(self, *_: object, **__: object) -> Any:
        path = SimpleNamespace(service="app", target="/srv", why="a path of the host")
        return SimpleNamespace(complete=self.covered, blocking=(path,), paths=())

    def keep(self) -> None:
        """Make the old release the known-good; then something else writes into the volume."""
        self.note.write_text("kept")
        taken = self.kept.snapshot(volumes=("data",), secrets={}, coverage={}, stopped=lambda: None)
        self.kept.promote(taken, release=OLD, commit="c" * 40, domain=self.app.domain, run_id="r0")
        self.note.write_text("somebody's")
        self.kept.mark_drifted("r0", "somebody wrote")

    def promote(self) -> KnownGoodChange:
        facts: Any = None
        return promote(self.context, facts, stack="notes-r1_ci_test")

    @property
    def known_good(self) -> tuple[str, str]:
        """Its release, and what its volume holds."""
        record = self.kept.record()
        if record is None:
            return "", ""
        (note,) = self.kept.layout.snapshot(record.snapshot_id).root.rglob("note")
        return record.release, note.read_text()

    @property
    def alerts(self) -> list[AlertKind]:
        return [alert.kind for _, alert in open_alerts(self.context.state)]

    def _come_up(self, version: Any, *, doing: str) -> None:
        found = self.note.read_text() if self.note.exists() else "nothing"
        self._step(f"{doing} {version.version} on {found}, drift {self.kept.state().drift}")
        self.note.parent.mkdir(exist_ok=True)
        self.note.write_text("of the head")

    def _step(self, name: str) -> None:
        self.did.append(name)
        self.at.get(name.partition(" ")[0], lambda: None)()


@pytest.fixture
def ground(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Ground:
    made = Ground(state)
    monkeypatch.setattr(promotion, "coverage_of", made.coverage)
    monkeypatch.setattr(promotion, "require_room", lambda *_, **__: None)
    return made


def raising(error: Exception) -> Callable[..., None]:
    def act(*_: object) -> None:
        raise error

    return act


def test_a_known_good_is_advanced_from_its_own_data(ground: Ground) -> None:
    ground.keep()
    change = ground.promote()
    assert (change.before, change.after, change.action) == (OLD, NEW, "promoted")
    assert ground.known_good == (NEW, "of the head")
    assert ground.did == [
        "locked warm-notes.ci.test",
        f"promote {NEW} on kept, drift True",
        "sentinels",
        "window",
        "removed",
        "disowned",
    ]
    assert ground.alerts == []


def test_without_one_it_is_seeded_on_nothing(ground: Ground) -> None:
    ground.note.write_text("left over")
    change = ground.promote()
    assert (change.before, change.after, change.action) == (None, NEW, "seeded")
    assert ground.known_good == (NEW, "of the head")
    assert ground.did[1:3] == [f"promote {NEW} on nothing, drift True", "seeded"]


@pytest.mark.parametrize("step", ["promote", "sentinels", "window", "removed"])
def test_whatever_step_fails_the_old_known_good_stands_and_an_operator_is_told(ground: Ground, step: str) -> None:
    ground.keep()
    ground.at[step] = raising(NotServing("nobody answers"))
    with pytest.raises(NotServing):
        ground.promote()
    assert ground.known_good == (OLD, "kept")
    assert ground.kept.state().drift
    assert ground.did[-3:] == ["undeployed", "gave back", "disowned"]
    assert ground.alerts == [AlertKind.PROMOTION_FAILED]


def test_an_alert_that_cannot_be_written_does_not_hide_what_went_wrong(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.keep()
    ground.at["promote"] = raising(NotServing("nobody answers"))
    monkeypatch.setattr(promotion, "write_alert", raising(OSError(28, "No space left on device")))
    with pytest.raises(NotServing):
        ground.promote()
    assert any("No space left on device" in line for line in ground.context.warnings)


def test_what_cannot_be_cleaned_up_does_not_hide_what_went_wrong(ground: Ground) -> None:
    ground.keep()
    ground.at["promote"] = raising(NotServing("nobody answers"))
    ground.at["undeployed"] = raising(CcciError("a container stays"))
    with pytest.raises(NotServing):
        ground.promote()
    assert any("a container stays" in line for line in ground.context.warnings)
    assert "disowned" not in ground.did


def test_a_run_that_was_interrupted_before_deploys_nothing(ground: Ground) -> None:
    ground.keep()
    ground.context.interrupted = "SIGTERM"
    with pytest.raises(Interrupted):
        ground.promote()
    assert ground.did == []


@pytest.mark.parametrize("step", ["promote", "window", "removed"])
def test_a_request_to_stop_meanwhile_leaves_the_old_known_good_and_alerts_nobody(ground: Ground, step: str) -> None:
    ground.keep()
    ground.at[step] = lambda: setattr(ground.context, "interrupted", "SIGTERM")
    with pytest.raises(Interrupted):
        ground.promote()
    assert ground.known_good == (OLD, "kept")
    assert ground.did[-3:] == ["undeployed", "gave back", "disowned"]
    assert ground.alerts == []


def test_a_record_that_does_not_read_back_is_damage(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.keep()
    real, reads = CanonicalStore.promote, []

    def lying(self: CanonicalStore, *args: Any, **more: Any) -> Any:
        reads.append(real(self, *args, **more))
        return SimpleNamespace(release=NEW)

    monkeypatch.setattr(CanonicalStore, "promote", lying)
    with pytest.raises(StoreDamaged, match="does not read back"):
        ground.promote()
    assert reads


def test_what_a_snapshot_does_not_reach_is_never_promoted(ground: Ground) -> None:
    ground.covered = False
    with pytest.raises(CanonicalRefused, match="where no snapshot reaches"):
        ground.promote()
    assert ground.did == []


def test_a_canonical_in_quarantine_is_not_promoted_but_reseeded_by_a_person(ground: Ground) -> None:
    ground.keep()
    ground.kept.quarantine("somebody must look")
    with pytest.raises(StoreDamaged, match="quarantined"):
        ground.promote()
    assert ground.known_good == (OLD, "kept")
    ground.context.settings.reseed = True
    assert ground.promote().action == "seeded"
    assert ground.known_good == (NEW, "of the head")
    assert ground.kept.state().quarantined is None


def test_without_room_for_it_nothing_is_deployed_and_the_old_known_good_stands(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.keep()

    def full(*_: object, **__: object) -> None:
        raise DiskFull("no room for a run of notes")

    monkeypatch.setattr(promotion, "require_room", full)
    with pytest.raises(DiskFull):
        ground.promote()
    assert not any(line.startswith("promote ") for line in ground.did)
    assert ground.known_good == (OLD, "kept")
