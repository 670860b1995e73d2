"""JupyterHub, a real application: a new one refuses an older one's database until it is migrated, and never goes back.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

import pytest
from realruns import CHECKOUT, Pytest, assert_went_back, why_the_upgrade_is_red

from pytest_ccci.errors import Verdict
from pytest_ccci.store.canonical import CanonicalStore

pytestmark = pytest.mark.full
"""Its images take minutes to build, which the suite that everybody runs does not have."""

RECIPE = "jupyterhub"
HUB = CHECKOUT / "recipes" / RECIPE
TESTS = 7
OLD, NEW = "1.0.0+4.1.6", "2.0.0+5.4.6"


def test_cold_of_the_release_that_migrates_becomes_the_known_good(play: Pytest, store: CanonicalStore) -> None:
    done = play("--cold", "--ccci-ref", "latest")
    assert done.rc == 0
    assert done.result.base is not None
    assert done.result.base.release == OLD
    assert [tier.verdict for tier in done.result.tiers] == [Verdict.PASS] * 6
    assert done.tier("install").facts["on the base"].startswith(f"{TESTS} of {TESTS} tests passed on {OLD}")
    record = store.record()
    assert record is not None
    assert record.release == NEW
    assert store.verify() == ()


def test_a_pull_request_without_the_migration_does_not_start_and_the_known_good_comes_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/without-upgrade-db")
    assert "Found database schema version" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_after_it_a_good_pull_request_is_green(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/named-servers")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * TESTS
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


def test_a_way_back_by_version_alone_does_not_start(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/back-to-4")
    assert "Can't locate revision" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_two_major_versions_at_once_need_the_migration_too(play: Pytest) -> None:
    good = play("--cold", "--ccci-base", OLD)
    assert good.rc == 0
    assert good.result.base is not None
    assert good.result.base.release == OLD
    bad = play("--cold", "--ccci-base", OLD, "--ccci-ref", "pr/without-upgrade-db", HUB / "recipe.toml")
    assert "Found database schema version" in why_the_upgrade_is_red(bad)
    assert bad.tier("settle").verdict == Verdict.PASS
