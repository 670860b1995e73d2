"""More than one known-good: each upgraded to the head from its own kept data, never installed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from realruns import Pytest, of_stack

from pytest_ccci.engine.client import Engine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

OLD, NEW = "1.0.0+1.22", "1.1.0+1.22"


@pytest.fixture
def kept(user_pytest: Pytest, page_recipe: Path, warm_state: StateDir, tmp_path: Path) -> CanonicalStore:
    """A canonical that keeps two known-goods, each promoted when it was the latest release."""
    toml, newer = page_recipe / "recipe.toml", page_recipe / "releases" / f"2-{NEW}"
    toml.write_text(toml.read_text("utf-8").replace("canonical = true", "canonical = true\nkeep = 3"), "utf-8")
    newer.rename(tmp_path / "later")
    assert user_pytest("--ccci-ref", "latest", page_recipe).result.known_good.action == "seeded"
    (tmp_path / "later").rename(newer)
    assert user_pytest("--ccci-ref", "latest", page_recipe).result.known_good.action == "promoted"
    return CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)


def test_each_kept_known_good_is_upgraded_to_the_head_from_its_own_data(
    kept: CanonicalStore, user_pytest: Pytest, page_recipe: Path, engine: Engine
) -> None:
    record, before = kept.record(), kept.fingerprint()
    assert record is not None
    assert [good.release for good in record.all_goods] == [NEW, OLD]
    (page_recipe / "test_data.py").write_text(
        "def test_the_data_are_those_of_the_base(app, ccci_run):\n"
        '    assert app.exec("app", ["cat", "/usr/share/nginx/html/ccci.txt"]).stdout\n'
        "    print('BASE', ccci_run.base.release)\n",
        "utf-8",
    )
    done = user_pytest("--quick", "--ccci-base", "all", "-s", page_recipe)
    assert done.rc == 0
    assert [(one.base.release if one.base else None, one.mode) for one in done.results] == [
        (OLD, "quick"),
        (NEW, "quick"),
    ]
    assert [line.split()[-1] for line in done.out.splitlines() if "BASE " in line] == [OLD, NEW]
    for one in done.results:
        install = next(tier for tier in one.tiers if tier.tier == "install")
        assert install.facts["release"] == (one.base.release if one.base else "")
        assert f"--ccci-base {install.facts['release']}" in one.reproduce
        assert one.known_good.action == "unchanged"
    assert kept.fingerprint() == before
    assert kept.verify(release=OLD) == ()
    assert kept.state().drift
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    after = user_pytest("--quick", page_recipe)
    assert (after.rc, after.result.base and after.result.base.release) == (0, NEW)


def test_a_head_that_breaks_an_earlier_one_is_red_and_the_newest_known_good_is_restored_and_proved(
    kept: CanonicalStore, user_pytest: Pytest, page_recipe: Path
) -> None:
    before = kept.fingerprint()
    tip = page_recipe / "releases" / "tip" / "compose.yml"
    good = tip.read_text("utf-8")
    tip.write_text(good.replace("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']"), "utf-8")
    done = user_pytest("--quick", "--ccci-base", OLD, page_recipe)
    assert done.rc == 1
    assert done.tier("install").facts["release"] == OLD
    assert (done.result.known_good.action, done.result.known_good.after) == ("restored-and-proved", NEW)
    assert NEW in done.tier("settle").facts["proved"]
    assert kept.fingerprint() == before
    assert kept.verify(release=OLD) == ()


def test_a_base_that_is_not_kept_or_that_head_cannot_be_reached_from_is_refused(
    kept: CanonicalStore, user_pytest: Pytest, page_recipe: Path
) -> None:
    unknown = user_pytest("--quick", "--ccci-base", "0.9.0+1.22", page_recipe)
    assert (unknown.rc, unknown.results) == (1, ())
    assert f"kept: {NEW}, {OLD}" in unknown.out
    same = user_pytest("--quick", "--ccci-base", OLD, "--ccci-ref", OLD, page_recipe)
    assert (same.rc, same.results) == (1, ())
    assert "nothing to upgrade" in same.out
    older = user_pytest("--quick", "--ccci-base", NEW, "--ccci-ref", OLD, page_recipe)
    assert (older.rc, older.results) == (1, ())
    assert "data does not go back" in older.out
    some = user_pytest("--quick", "--ccci-base", "all", "--ccci-ref", "latest", page_recipe)
    assert some.rc == 0
    assert [one.base.release for one in some.results if one.base] == [OLD]
    assert "head is the known-good of" in some.out or "skipped" in some.out
    assert kept.verify() == ()
