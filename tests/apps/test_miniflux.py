"""Miniflux, a real feed reader: its schema goes from 104 to 135, and a way back by version alone only looks healthy.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

import pytest
from realruns import CHECKOUT, Pytest, assert_went_back, why_the_upgrade_is_red

from pytest_ccci.errors import Verdict
from pytest_ccci.store.canonical import CanonicalStore

RECIPE = "miniflux"
MINIFLUX = CHECKOUT / "recipes" / RECIPE
OLD, NEW = "1.0.0+2.2", "2.0.0+2.3"


def test_cold_migrates_a_persons_feeds_and_makes_the_known_good(play: Pytest, store: CanonicalStore) -> None:
    done = play("--cold", "--ccci-ref", "latest")
    assert done.rc == 0
    assert done.result.base is not None
    assert done.result.base.release == OLD
    assert [tier.verdict for tier in done.result.tiers] == [Verdict.PASS] * 6
    assert done.tier("install").facts["on the base"].startswith(f"6 of 6 tests passed on {OLD}")
    assert "table miniflux.public.user_sessions of db" in done.out, "2.3 keeps sessions elsewhere: is it migrated?"
    record = store.record()
    assert record is not None
    assert record.release == NEW
    assert store.verify() == ()


def test_a_way_back_by_version_alone_is_healthy_and_nobody_can_sign_in(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/back-to-2.2")
    assert "the login page is a 500, while the health check is a 200" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_a_pull_request_that_deletes_articles_is_red_and_they_go_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/prunes-articles")
    assert "articles" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_after_them_a_good_pull_request_is_green(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/media-proxy")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * 6
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


@pytest.mark.full
def test_a_pull_request_that_forgets_the_migration_does_not_start(play: Pytest) -> None:
    done = play("--cold", "--ccci-ref", "pr/forgets-migration", MINIFLUX / "recipe.toml")
    assert "exit status 1" in why_the_upgrade_is_red(done)
    assert "the database schema is not up to date: current=v104 expected=v135" in done.out
    assert done.tier("settle").verdict == Verdict.PASS


@pytest.mark.full
def test_a_pull_request_whose_database_is_a_new_volume_is_red_and_the_feeds_go_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/new-volume")
    assert "cannot be read after the upgrade" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)
