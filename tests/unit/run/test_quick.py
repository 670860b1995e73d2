"""What a quick run says of its known-good when it is done, with a real store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import StoreDamaged, Verdict
from pytest_ccci.results.model import TierResult
from pytest_ccci.run.quick import QuickRun
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
