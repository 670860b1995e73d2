from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pytest_ccci import cli
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.canonicals import verify_all
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend

Keep = Callable[[str], CanonicalStore]


def test_what_was_read_longest_ago_comes_first_and_what_was_not_reached_is_said(
    state: StateDir, settings: Settings, keep: Keep
) -> None:
    names = ("docs", "page", "wiki")
    for name in names:
        keep(name)
    looked: list[str] = []
    for second in range(3):
        found = verify_all(settings, state, names, read_data=False, budget=0)
        assert [one.recipe for one in found] == list(names)
        looked += [one.recipe for one in found if one.reached]
        (done,) = (one for one in found if one.reached)
        assert (done.read_data, done.whole_since != "", done.problem) == (True, True, "")
        note = state.canonical(done.recipe) / "verified.json"
        facts = json.loads(note.read_text())
        for row in facts.values():
            row["last"] = f"2026-01-01T00:00:0{second}+00:00"
        note.write_text(json.dumps(facts))
    assert sorted(looked) == list(names)


def test_every_known_good_that_is_kept_is_verified(state: StateDir, settings: Settings) -> None:
    store = CanonicalStore(state.canonical("docs"), "docs", backend=CopyBackend(), keep=2)
    for release in ("1.0.0+1", "2.0.0+1"):
        (store.live("data") / "document.txt").write_text(release)
        taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
        store.promote(taken, release=release, commit="c" * 40, domain="warm-docs.ci.test", run_id="r1")
    earlier = store.state().earlier[0]
    (store.layout.snapshot(earlier.snapshot_id).volumes / "data" / "document.txt").write_text("1.0.0+2")
    found = verify_all(settings, state, ("docs",), read_data=True, budget=None)
    assert {one.release: bool(one.problem) for one in found} == {"1.0.0+1": True, "2.0.0+1": False}


def test_a_canonical_without_a_record_is_told(state: StateDir, settings: Settings, keep: Keep) -> None:
    (keep("docs").layout.record).write_text("{}")
    (one,) = verify_all(settings, state, ("docs",), read_data=False, budget=60)
    assert "cannot be used" in one.problem


def test_a_recipe_that_is_not_kept_is_a_usage_error(state: StateDir, settings: Settings) -> None:
    with pytest.raises(UsageError):
        verify_all(settings, state, ("docs",), read_data=False, budget=None)


def test_the_command_says_how_much_was_read(state: StateDir, keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    keep("docs")
    keep("page")
    words = ["verify", "--budget", "0s", f"--ccci-state-dir={state.root}"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "is whole: every content read" in said
    assert "was not looked at, the time was up (never read as a whole)" in said
    assert cli.main([*words, "--budget", "5m"]) == 0
    assert capsys.readouterr().out.count("every content read") == 2
    with pytest.raises(SystemExit):
        cli.main([*words, "--budget", "soon"])
