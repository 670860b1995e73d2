from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ccci.engine import objects
from pytest_ccci.engine.objects import Inventory
from pytest_ccci.errors import LeftBehind, LockBusy, RefError, StoreDamaged, UsageError
from pytest_ccci.locks import hold
from pytest_ccci.ops import canonicals
from pytest_ccci.ops.canonicals import restore, verify
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

Keep = Callable[[str], CanonicalStore]


class Engine:
    """What is deployed, as the operations see it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *things: str, stubborn: bool = False) -> None:
        self.things = frozenset(things)
        self.stubborn = stubborn
        monkeypatch.setattr(canonicals, "find_engine", lambda *_: self)
        monkeypatch.setattr(canonicals, "app_inventory", lambda *_: Inventory(self.things))
        monkeypatch.setattr(objects, "app_inventory", lambda *_: Inventory(self.things))
        monkeypatch.setattr(canonicals, "undeploy", self.undeploy)

    def undeploy(self, *_: object, **__: object) -> None:
        if not self.stubborn:
            self.things = frozenset()


def test_restore_brings_back_what_was_written_before(
    state: StateDir, settings: Settings, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keep("docs")
    document = store.live("data") / "document.txt"
    store.mark_drifted("r2", "a run")
    document.write_text("damaged")
    Engine(monkeypatch, "service warm-docs_ci_test_app")
    done = restore(settings, state, "docs")
    assert (store.live("data") / "document.txt").read_text() == "written before"
    assert done.undeployed == ("service warm-docs_ci_test_app",)
    assert done.report.verified
    assert not store.state().drift


def test_restore_lifts_a_quarantine_and_says_what_it_was(
    state: StateDir, settings: Settings, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keep("docs")
    store.quarantine("the proof failed")
    Engine(monkeypatch)
    assert restore(settings, state, "docs").was_quarantined == "the proof failed"
    assert store.state().quarantined is None


@pytest.fixture
def two(state: StateDir) -> CanonicalStore:
    """A canonical that keeps two known-goods, the newest of 2.0.0+1."""
    store = CanonicalStore(state.canonical("docs"), "docs", keep=2)
    for release in ("1.0.0+1", "2.0.0+1"):
        (store.live("data") / "document.txt").write_text(f"written at {release}")
        taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
        store.promote(taken, release=release, commit="c" * 40, domain="warm-docs.ci.test", run_id="r1")
    return store


def test_an_earlier_known_good_can_be_put_back_and_is_no_drift_undone(
    state: StateDir, settings: Settings, two: CanonicalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Engine(monkeypatch)
    before = two.fingerprint()
    two.quarantine("the proof failed")
    done = restore(settings, state, "docs", release="1.0.0+1")
    assert (done.earlier, done.report.release, done.was_quarantined) == (True, "1.0.0+1", "")
    assert (two.live("data") / "document.txt").read_text() == "written at 1.0.0+1"
    assert two.state().drift
    assert two.state().quarantined, "it says nothing of the newest"
    assert two.fingerprint() == before
    again = restore(settings, state, "docs", release="2.0.0+1")
    assert (again.earlier, again.was_quarantined) == (False, "the proof failed")
    assert (two.live("data") / "document.txt").read_text() == "written at 2.0.0+1"
    assert not two.state().drift


def test_a_release_that_is_not_kept_is_refused_before_anything_stops(
    state: StateDir, settings: Settings, two: CanonicalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(monkeypatch, "service warm-docs_ci_test_app")
    with pytest.raises(RefError, match=r"no known-good of release 0\.9\.0"):
        restore(settings, state, "docs", release="0.9.0+1")
    assert engine.things
    assert not two.state().drift


def test_restore_writes_nothing_while_a_container_can(
    state: StateDir, settings: Settings, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keep("docs")
    (store.live("data") / "document.txt").write_text("changed")
    Engine(monkeypatch, "container warm-docs_ci_test_app.1", stubborn=True)
    with pytest.raises(LeftBehind, match="still deployed"):
        restore(settings, state, "docs")
    assert (store.live("data") / "document.txt").read_text() == "changed"


def test_a_damaged_known_good_is_not_restored_and_stays_quarantined(
    state: StateDir, settings: Settings, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keep("docs")
    record = store.record()
    assert record is not None
    snapshot = store.layout.snapshot(record.snapshot_id)
    (snapshot.volumes / "data" / "document.txt").write_text("rotten bytes!!")
    Engine(monkeypatch)
    with pytest.raises(StoreDamaged):
        restore(settings, state, "docs")
    assert (store.live("data") / "document.txt").read_text() == "written before"
    assert store.state().quarantined


def test_neither_touches_a_canonical_that_a_run_uses(
    state: StateDir, settings: Settings, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("docs")
    Engine(monkeypatch)
    now = settings._replace(lock_wait=0.0)
    with hold(state.lock("warm-docs.ci.test"), wait=0, owner={"run": "r1"}):
        with pytest.raises(LockBusy, match="in use"):
            restore(now, state, "docs")
        with pytest.raises(LockBusy, match="in use"):
            verify(now, state, "docs", read_data=True)


def test_verify_tells_whole_from_damaged_and_changes_nothing(state: StateDir, settings: Settings, keep: Keep) -> None:
    store = keep("docs")
    before = store.fingerprint()
    assert verify(settings, state, "docs", read_data=True).problem == ""
    assert store.fingerprint() == before
    record = store.record()
    assert record is not None
    (store.layout.snapshot(record.snapshot_id).volumes / "data" / "document.txt").write_text("written beforf")
    found = verify(settings, state, "docs", read_data=True)
    assert "does not match its manifest" in found.problem
    assert found.release == "1.0.0+1"


def test_a_name_that_is_no_canonical_is_answered_with_those_there_are(
    state: StateDir, settings: Settings, keep: Keep
) -> None:
    keep("docs")
    with pytest.raises(UsageError, match="'dogs'") as caught:
        verify(settings, state, "dogs", read_data=False)
    assert "docs" in caught.value.seen
