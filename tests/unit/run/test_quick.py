"""What a quick run says of its known-good when it is done, with a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import (
    DiskFull,
    EngineUnavailable,
    ImageMissing,
    ImageUnavailable,
    NotServing,
    StoreDamaged,
    Verdict,
)
from pytest_ccci.results.model import TierResult
from pytest_ccci.run import quick
from pytest_ccci.run.quick import QuickRun
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.run.tiers import Record
from pytest_ccci.statedir import open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.warm.alerts import AlertKind, open_alerts

RELEASE = "1.0.0+1.0"


@pytest.fixture
def run(tmp_path: Path) -> QuickRun:
    """A quick run that is done and green, and whose known-good is kept in a real store."""
    state = open_state(tmp_path / "state")
    store = CanonicalStore(state.canonical("notes"), "notes", backend=CopyBackend())
    volume = store.live("data")
    (volume / "note").write_text("kept")
    snapshot = store.snapshot(volumes=("data",), secrets={}, coverage={"volumes": ["data"]}, stopped=lambda: None)
    facts = {"domain": "warm-notes.ci.test", "run_id": "r0", "images": {"app": "notes:1"}}
    store.promote(snapshot, release=RELEASE, commit="c" * 40, **facts)  # type: ignore[arg-type]  # as promote takes them
    context: Any = SimpleNamespace(
        run_id="r1",
        spec=SimpleNamespace(name="notes"),
        settings=SimpleNamespace(base=""),
        state=state,
        head=SimpleNamespace(version="2.0.0+1.0"),
        warnings=[],
        remove_app=lambda _: None,
        disown=lambda _: None,
        check_nothing_left=lambda *_, **__: None,
        interrupted="",
        open_machine=lambda: SimpleNamespace(engine=None, prepare=None),
    )
    run = QuickRun(context, Record({"install": TierResult(tier="install", verdict=Verdict.PASS)}), store)
    run.app = SimpleNamespace(window_problem=lambda: None, left=lambda: (), last=None)  # type: ignore[assignment]  # the same
    run.before = store.fingerprint()
    return run


def test_a_known_good_that_is_as_it_was_is_said_to_be(run: QuickRun) -> None:
    facts, change = run.settle(), run.known_good
    assert facts["known-good"].startswith("byte-identical")
    assert (change.action, change.after) == ("unchanged", RELEASE)
    assert open_alerts(run.context.state) == ()


def test_a_known_good_that_changed_is_damage_of_the_store_quarantined_and_alerted(run: QuickRun) -> None:
    record = run.kept.record()
    assert record is not None
    snapshot = run.kept.layout.snapshot(record.snapshot_id).root
    next(path for path in snapshot.rglob("note")).write_text("changed")
    with pytest.raises(StoreDamaged, match="the known-good changed during a quick run") as caught:
        run.settle()
    assert caught.value.verdict is Verdict.ERROR
    assert "ccci verify notes" in caught.value.advice
    assert "changed during a quick run" in (run.kept.state().quarantined or "")
    assert [alert.kind for _, alert in open_alerts(run.context.state)] == [AlertKind.QUARANTINED]
    assert run.context.warnings


def raising(error: Exception) -> Callable[..., None]:
    def act(*_args: object, **_options: object) -> None:
        raise error

    return act


def kinds(run: QuickRun) -> list[AlertKind]:
    return [alert.kind for _, alert in open_alerts(run.context.state)]


@pytest.fixture
def red(run: QuickRun, monkeypatch: pytest.MonkeyPatch) -> QuickRun:
    """The same run, but its head wrote into the volume and failed. The context's ``did`` is what was done, in order."""
    run.record.tiers["upgrade"] = TierResult(tier="upgrade", verdict=Verdict.FAIL, reason="it does not serve")
    (run.kept.live("data") / "note").write_text("of the head")
    run.kept.mark_drifted("r1", "quick run r1")
    did: list[str] = []
    context: Any = run.context
    vars(context).update(
        did=did,
        diary=Diary(context.state.run("r1")),
        mirror=SimpleNamespace(resolve=lambda commit: SimpleNamespace(commit=commit)),
        leases=[],
        give_back=lambda _: None,
        check_nothing_left=lambda _, *, left: did.append(f"left {left}"),
        disown=lambda _: did.append("disowned"),
    )

    def come_up(version: Any, *, doing: str) -> None:
        note = (run.kept.live("data") / "note").read_text()
        did.append(f"{doing} {version.commit[:1]} on what was {note}, drift {run.kept.state().drift}")

    run.app = SimpleNamespace(  # type: ignore[assignment]  # as much as is asked for
        undeploy=lambda: did.append("undeployed"),
        require_stopped=lambda: None,
        secrets={},
        lease=None,
        memory={},
        come_up=come_up,
        check_sentinels=lambda *, after: did.append(f"sentinels {after}"),
        left=lambda: ("volume x",),
        last=None,
    )
    monkeypatch.setattr(quick, "outage", lambda *_, **__: None)
    monkeypatch.setattr(quick, "missing_images", lambda *_: ())
    return run


def test_after_a_red_head_the_known_good_is_restored_and_proved_and_nothing_is_left(red: QuickRun) -> None:
    context: Any = red.context
    facts, change = red.settle(), red.known_good
    assert context.did == [
        "undeployed",
        "prove c on what was kept, drift True",
        "sentinels after the restore of the known-good",
        "undeployed",
        "left ('volume x',)",
        "disowned",
    ]
    assert change.action == "restored-and-proved"
    assert facts["known-good"].startswith("byte-identical")
    assert red.kept.state().quarantined is None
    assert kinds(red) == []


def test_a_restored_known_good_that_does_not_come_up_is_quarantined_and_alerted(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = red.context
    monkeypatch.setattr(red.app, "come_up", raising(NotServing("nobody answers")))
    with pytest.raises(NotServing):
        red.settle()
    assert "its restore could not be proved: nobody answers" in (red.kept.state().quarantined or "")
    assert kinds(red) == [AlertKind.QUARANTINED]
    assert "disowned" not in context.did


@pytest.mark.parametrize("down", ["the engine", "what is before the app"])
def test_a_known_good_that_cannot_be_proved_now_is_restored_by_the_next_run_and_not_quarantined(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch, down: str
) -> None:
    gone = EngineUnavailable("it went away")
    error = gone if down == "the engine" else NotServing("nobody answers")
    monkeypatch.setattr(red.app, "come_up", raising(error))
    if error is not gone:
        monkeypatch.setattr(quick, "outage", lambda *_, **__: gone)
    with pytest.raises(type(error)):
        red.settle()
    state = red.kept.state()
    assert (state.quarantined, state.drift, kinds(red)) == (None, True, [])


def test_a_snapshot_that_is_damaged_is_never_restored_and_quarantined(red: QuickRun) -> None:
    record = red.kept.record()
    assert record is not None
    next(red.kept.layout.snapshot(record.snapshot_id).root.rglob("note")).write_text("changed")
    with pytest.raises(StoreDamaged):
        red.settle()
    assert red.kept.state().quarantined
    assert kinds(red) == [AlertKind.QUARANTINED]
    assert (red.kept.live("data") / "note").read_text() == "of the head"


def test_a_quarantine_whose_alert_cannot_be_written_is_a_quarantine(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(red.app, "come_up", raising(NotServing("nobody answers")))
    monkeypatch.setattr(quick, "write_alert", raising(OSError(28, "No space left on device")))
    with pytest.raises(NotServing):
        red.settle()
    assert red.kept.state().quarantined
    assert any("No space left on device" in line for line in red.context.warnings)


def test_an_earlier_known_good_that_changed_during_the_run_is_damage_of_the_store_too(run: QuickRun) -> None:
    earlier = run.kept.record()
    assert earlier is not None
    snapshot = run.kept.snapshot(volumes=("data",), secrets={}, coverage={}, stopped=lambda: None)
    run.kept.promote(
        snapshot, release="1.1.0+1.1", commit="d" * 40, domain="warm-notes.ci.test", run_id="r0", images={}, keep=2
    )
    run.before = run.kept.fingerprint()
    run.context.settings.base = RELEASE  # type: ignore[misc]  # a namespace
    assert run.settle()["base"] == f"the kept known-good of {RELEASE} matches its manifest"

    next(run.kept.layout.snapshot(earlier.snapshot_id).root.rglob("note")).write_text("changed")
    with pytest.raises(StoreDamaged, match=r"the kept known-good of 1\.0\.0\+1\.0 changed during a quick run"):
        run.settle()
    assert run.kept.state().quarantined
    assert kinds(run) == [AlertKind.QUARANTINED]


def test_without_room_for_it_the_canonical_is_left_as_it_is(red: QuickRun, monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = red.context
    vars(context).update(settings=SimpleNamespace(base="", zone="ci.test"), deployment=lambda _domain, **_: red.app)
    monkeypatch.setattr(quick, "require_room", raising(DiskFull("no room")))
    with pytest.raises(DiskFull):
        red.begin()
    assert (red.kept.live("data") / "note").read_text() == "of the head"
    assert context.did == []


def test_what_exists_is_noted_and_the_volumes_are_marked_before_anything_is_deployed(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = red.context
    monkeypatch.setattr(quick, "require_room", lambda *_, **__: None)
    app = red.app
    vars(context).update(
        settings=SimpleNamespace(base="", zone="ci.test"),
        deployment=lambda _domain, **_: app,
        lease_for=lambda _: None,
        note_before=lambda: context.did.append(f"noted, drift {red.kept.state().drift}"),
    )
    red.begin()
    assert context.did == ["noted, drift False"]
    assert red.kept.state().drift
    assert (red.kept.live("data") / "note").read_text() == "kept"


@pytest.mark.parametrize(
    ("origin", "image_id", "warned"), [("pulled", "notes:1", 0), ("pulled", "another", 1), ("built", "another", 0)]
)
def test_images_of_the_known_good_that_somebody_removed_are_fetched_in_a_step_of_its_own(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch, origin: str, image_id: str, warned: int
) -> None:
    context: Any = red.context
    fetched: list[tuple[str, ...]] = []

    def prepare(refs: tuple[str, ...], *, before: dict[str, str]) -> tuple[Any, ...]:
        assert before["app"] == "notes:1"
        fetched.append(refs)
        return (SimpleNamespace(ref="app", origin=origin, image_id=image_id),)

    monkeypatch.setattr(quick, "missing_images", lambda _engine, refs: tuple(refs))
    monkeypatch.setattr(quick, "kept_census", lambda *_: None)
    vars(context).update(open_machine=lambda: SimpleNamespace(engine=None, prepare=prepare))
    vars(red.app).update(come_up=lambda *_, **__: {"release": RELEASE})
    assert red.install() == {"release": RELEASE, "images again": "app"}
    assert fetched == [("app",)]
    assert [step.name for step in context.diary.steps] == ["images again, removed by somebody else"]
    assert len(context.warnings) == warned


def test_an_image_of_the_known_good_that_cannot_be_had_again_is_no_fault_of_the_head(
    red: QuickRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = red.context
    monkeypatch.setattr(quick, "missing_images", lambda _engine, refs: tuple(refs))
    machine = SimpleNamespace(engine=None, prepare=raising(ImageMissing("the image app does not exist")))
    vars(context).update(open_machine=lambda: machine)
    with pytest.raises(ImageUnavailable) as caught:
        red.install()
    assert caught.value.verdict is Verdict.ERROR
