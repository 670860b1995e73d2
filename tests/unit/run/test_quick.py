"""What a quick run says of its known-good when it is done, with a real store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import StoreDamaged, Verdict
from pytest_ccci.run.quick import QuickFlow
from pytest_ccci.statedir import open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.warm.alerts import AlertKind, open_alerts

RELEASE = "1.0.0+1.0"


@pytest.fixture
def flow(tmp_path: Path) -> QuickFlow:
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
        leave=lambda _: None,
        disown=lambda _: None,
    )
    flow = QuickFlow(context, SimpleNamespace(), store)  # type: ignore[arg-type]  # not read at its end
    flow.steps = SimpleNamespace(stage=SimpleNamespace(window_problem=lambda: None))  # type: ignore[assignment]  # the same
    flow.before = store.fingerprint()
    return flow


def test_a_known_good_that_is_as_it_was_is_said_to_be(flow: QuickFlow) -> None:
    facts, change = flow.settle(green=True, why_red="", whole=True)
    assert facts["known-good"].startswith("byte-identical")
    assert (change.action, change.after) == ("unchanged", RELEASE)
    assert open_alerts(flow.context.state) == ()


def test_a_known_good_that_changed_is_damage_of_the_store_quarantined_and_alerted(flow: QuickFlow) -> None:
    record = flow.store.record()
    assert record is not None
    snapshot = flow.store.layout.snapshot(record.snapshot_id).root
    next(path for path in snapshot.rglob("note")).write_text("changed")
    with pytest.raises(StoreDamaged, match="the known-good changed during a quick run") as caught:
        flow.settle(green=True, why_red="", whole=True)
    assert caught.value.verdict is Verdict.ERROR
    assert "ccci verify notes" in caught.value.advice
    assert "changed during a quick run" in (flow.store.state().quarantined or "")
    assert [alert.kind for _, alert in open_alerts(flow.context.state)] == [AlertKind.QUARANTINED]
    assert flow.context.warnings
