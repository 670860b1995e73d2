"""A fresh seed although there is a known-good: also where that one cannot be used any more."""

from __future__ import annotations

from pathlib import Path

from realruns import Pytest, ccci, of_stack

from pytest_ccci.engine.client import Engine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore


def test_a_reseed_makes_another_known_good_of_the_same_release(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, engine: Engine
) -> None:
    user_pytest("--ccci-ref", "latest", page_recipe)
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.record()
    assert before is not None
    unchanged = user_pytest("--ccci-ref", "latest", page_recipe)
    assert (unchanged.result.known_good.action, store.record()) == ("unchanged", before)
    done = ccci("reseed", page_recipe)
    assert done.rc == 0
    after = store.record()
    assert after is not None
    assert f"seeded afresh: 1.1.0+1.22, snapshot {after.snapshot_id}" in done.stdout
    assert (after.release, after.commit) == (before.release, before.commit)
    assert after.snapshot_id != before.snapshot_id
    assert store.verify() == ()
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    assert user_pytest("--quick", page_recipe).rc == 0


def test_a_reseed_is_the_way_out_of_a_quarantine_and_of_a_damaged_record(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir
) -> None:
    user_pytest("--ccci-ref", "latest", page_recipe)
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    store.layout.record.write_bytes(store.layout.record.read_bytes().replace(b"1.22", b"1.23"))
    store.recover()
    assert "the record of the known-good cannot be used" in (store.state().quarantined or "")
    refused = user_pytest("--ccci-ref", "latest", page_recipe)
    assert refused.rc == 1
    assert "ccci reseed" in refused.tier("settle").reason
    assert ccci("reseed", page_recipe).rc == 0
    assert store.recover() == ()
    state = store.state()
    assert state.quarantined is None
    assert state.record is not None
    assert store.verify() == ()
    quick = user_pytest("--quick", page_recipe)
    assert (quick.rc, quick.result.mode) == (0, "quick")


def test_a_reseed_of_what_is_not_enrolled_or_not_the_latest_is_refused_before_anything_is_done(
    user_pytest: Pytest, page_recipe: Path, warm_state: StateDir
) -> None:
    tip = user_pytest("--ccci-reseed=true", page_recipe)
    assert tip.rc == 1
    assert tip.results == ()
    assert "head is not the latest release (1.1.0+1.22)" in tip.out
    toml = page_recipe / "recipe.toml"
    toml.write_text(toml.read_text("utf-8").replace("canonical = true", "canonical = false"), "utf-8")
    done = ccci("reseed", page_recipe)
    assert done.rc == 2
    assert "not enrolled" in done.stderr
    assert not warm_state.canonical(page_recipe.name).exists()
