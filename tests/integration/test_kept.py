"""More than one known-good: each upgraded to the head from its own kept data, never installed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from realfixtures import starter
from realruns import Pytest, of_stack, own_name, write_page_recipe

from pytest_ccci.engine.client import Engine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

OLD, NEW = "1.0.0+1.22", "1.1.0+1.22"
SHOWS_ITS_BASE = """
def test_the_data_are_there(app, ccci_run):
    assert app.exec("app", ["cat", "/usr/share/nginx/html/ccci.txt"]).stdout
    print("BASE", ccci_run.base and ccci_run.base.release)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe, keeping three, for all tests here."""
    recipe = write_page_recipe(tmp_path_factory.mktemp("recipes") / own_name())
    toml = recipe / "recipe.toml"
    toml.write_text(toml.read_text("utf-8").replace("canonical = true", "canonical = true\nkeep = 3"), "utf-8")
    (recipe / "test_data.py").write_text(SHOWS_ITS_BASE, "utf-8")
    return recipe


@pytest.fixture(scope="module")
def kept(page: Path, warm_state: StateDir, tmp_path_factory: pytest.TempPathFactory) -> CanonicalStore:
    """A canonical that keeps two known-goods, each promoted when it was the latest release."""
    place = tmp_path_factory.mktemp("kept")
    start, newer = starter(warm_state, place), page / "releases" / f"2-{NEW}"
    newer.rename(place / "later")
    assert start("--ccci-ref", "latest", page).result.known_good.action == "seeded"
    (place / "later").rename(newer)
    assert start("--ccci-ref", "latest", page).result.known_good.action == "promoted"
    return CanonicalStore(warm_state.canonical(page.name), page.name)


def test_each_kept_known_good_is_upgraded_to_the_head_from_its_own_data(
    kept: CanonicalStore, user_pytest: Pytest, page: Path, engine: Engine
) -> None:
    record, before = kept.record(), kept.fingerprint()
    assert record is not None
    assert [good.release for good in record.all_goods] == [NEW, OLD]
    done = user_pytest("--quick", "--ccci-base", "all", "-s", page)
    assert done.rc == 0
    assert [(one.base.release if one.base else None, one.mode) for one in done.results] == [
        (OLD, "quick"),
        (NEW, "quick"),
    ]
    assert [line.split()[-1] for line in done.out.splitlines() if "BASE " in line] == [OLD, NEW]
    for release in (OLD, NEW):
        assert f"restoring the known-good of {release}" in done.out
    for one in done.results:
        install = next(tier for tier in one.tiers if tier.tier == "install")
        assert install.facts["release"] == (one.base.release if one.base else "")
        assert f"--ccci-base {install.facts['release']}" in one.reproduce
        assert one.known_good.action == "unchanged"
    assert kept.fingerprint() == before
    assert kept.verify(release=OLD) == ()
    assert kept.state().drift
    assert of_stack(engine, f"warm-{page.name}") == []


def test_a_head_that_breaks_an_earlier_one_is_red_and_the_newest_known_good_is_restored_and_proved(
    kept: CanonicalStore, user_pytest: Pytest, page: Path
) -> None:
    before = kept.fingerprint()
    tip = page / "releases" / "tip" / "compose.yml"
    good = tip.read_text("utf-8")
    tip.write_text(good.replace("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']"), "utf-8")
    done = user_pytest("--quick", "--ccci-base", OLD, page)
    tip.write_text(good, "utf-8")
    assert done.rc == 1
    assert done.tier("install").facts["release"] == OLD
    assert (done.result.known_good.action, done.result.known_good.after) == ("restored-and-proved", NEW)
    assert NEW in done.tier("settle").facts["proved"]
    assert kept.fingerprint() == before
    assert kept.verify(release=OLD) == ()


def test_a_base_that_is_not_kept_or_that_head_cannot_be_reached_from_is_refused(
    kept: CanonicalStore, user_pytest: Pytest, page: Path
) -> None:
    unknown = user_pytest("--quick", "--ccci-base", "0.9.0+1.22", page)
    assert (unknown.rc, unknown.results) == (1, ())
    assert f"kept: {NEW}, {OLD}" in unknown.out
    same = user_pytest("--quick", "--ccci-base", OLD, "--ccci-ref", OLD, page)
    assert (same.rc, same.results) == (1, ())
    assert "nothing to upgrade" in same.out
    older = user_pytest("--quick", "--ccci-base", NEW, "--ccci-ref", OLD, page)
    assert (older.rc, older.results) == (1, ())
    assert "data does not go back" in older.out
    some = user_pytest("--quick", "--ccci-base", "all", "--ccci-ref", "latest", page)
    assert some.rc == 0
    assert [one.base.release for one in some.results if one.base] == [OLD]
    assert "head is the known-good of" in some.out or "skipped" in some.out
    assert kept.verify() == ()
