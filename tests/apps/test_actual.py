"""Actual Budget, a real application without a database service: SQLite files on a volume.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

import re

import pytest
from realruns import Pytest, assert_went_back, why_the_upgrade_is_red

from pytest_ccci.errors import Verdict
from pytest_ccci.store.canonical import CanonicalStore

pytestmark = pytest.mark.full
"""Its images take minutes to build, which the suite that everybody runs does not have."""

RECIPE = "actual"
TESTS = 9
OLD, NEW = "1.0.0+25.6.0", "2.0.0+26.8.1"


def test_cold_counts_what_is_in_sqlite_files_and_makes_the_known_good(play: Pytest, store: CanonicalStore) -> None:
    done = play("--cold", "--ccci-ref", "latest")
    assert done.rc == 0
    assert done.result.base is not None
    assert done.result.base.release == OLD
    assert [tier.verdict for tier in done.result.tiers] == [Verdict.PASS] * 6
    assert done.tier("install").facts["on the base"].startswith(f"{TESTS} of {TESTS} tests passed on {OLD}")
    counted = done.tier("upgrade").facts["counted"]
    assert re.search(r"\d+ rows in \d+ tables, \d+ files in 1 volume", counted), counted
    record = store.record()
    assert record is not None
    assert record.release == NEW
    assert store.verify() == ()
    assert "did not end when asked to" not in done.out, "does it get its signal to stop?"


def test_a_pull_request_that_forgets_what_devices_sent_is_red_and_it_comes_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    """The server is healthy and people sign in; their budgets are there, as old as they were uploaded."""
    done = play("--quick", "--ccci-ref", "pr/fresh-sync")
    assert "the change is not among the 0 that are there" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_after_it_a_good_pull_request_is_green(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/larger-uploads")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * TESTS
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


def test_a_way_back_by_version_alone_does_not_start(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/back-to-25.6")
    assert "Missing migration file" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_another_data_directory_is_red_although_no_file_is_lost(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/other-data-dir")
    assert "is not among {}" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)
