"""Actual Budget, a real application without a database service: SQLite files on a volume.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from realruns import CHECKOUT, Outcome, Pytest, of_stack, realms_of

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

pytestmark = pytest.mark.full
"""Its images take minutes to build, which the suite that everybody runs does not have."""

ACTUAL = CHECKOUT / "recipes" / "actual"
TESTS = 9
OLD, NEW = "1.0.0+25.6.0", "2.0.0+26.8.1"


@pytest.fixture(scope="module")
def store(warm_state: StateDir) -> CanonicalStore:
    """The canonical of Actual."""
    return CanonicalStore(warm_state.canonical("actual"), "actual")


@pytest.fixture
def actual(user_pytest: Pytest, engine: Engine, machine: Machine) -> Pytest:
    """Runs of the recipe; after each, nothing of it is left on the engine or in Keycloak."""

    def run(*args: str | Path) -> Outcome:
        done = user_pytest(*args, *(() if ACTUAL / "recipe.toml" in args else (ACTUAL,)))
        assert of_stack(engine, "actu-") == []
        assert of_stack(engine, "warm-actual") == []
        assert realms_of(machine, "actual") == []
        return done

    return run


@pytest.fixture
def known_good(store: CanonicalStore, actual: Pytest) -> str:
    """The fingerprint of the known-good, made by a cold run of the latest release where there is none yet."""
    if store.record() is None:
        assert actual("--cold", "--ccci-ref", "latest").rc == 0
    return store.fingerprint()


def _why_the_upgrade_is_red(done: Outcome) -> str:
    assert done.rc == 1
    assert done.result.verdict == Verdict.FAIL
    assert done.tier("install").verdict == Verdict.PASS
    assert done.tier("upgrade").verdict == Verdict.FAIL
    return done.tier("upgrade").reason


def _went_back(done: Outcome, store: CanonicalStore, known_good: str) -> None:
    """The known-good is as it was; deployed again, a person signs in and has their budget."""
    assert done.result.known_good.action == "restored-and-proved"
    assert "sentinels there" in done.tier("settle").facts["proved"]
    assert store.fingerprint() == known_good
    assert not store.state().quarantined


def test_cold_counts_what_is_in_sqlite_files_and_makes_the_known_good(actual: Pytest, store: CanonicalStore) -> None:
    done = actual("--cold", "--ccci-ref", "latest")
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
    actual: Pytest, store: CanonicalStore, known_good: str
) -> None:
    """The server is healthy and people sign in; their budgets are there, as old as they were uploaded."""
    done = actual("--quick", "--ccci-ref", "pr/fresh-sync")
    assert "the change is not among the 0 that are there" in _why_the_upgrade_is_red(done)
    _went_back(done, store, known_good)


def test_after_it_a_good_pull_request_is_green(actual: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = actual("--quick", "--ccci-ref", "pr/larger-uploads")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * TESTS
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


def test_a_way_back_by_version_alone_does_not_start(actual: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = actual("--quick", "--ccci-ref", "pr/back-to-25.6")
    assert "Missing migration file" in _why_the_upgrade_is_red(done)
    _went_back(done, store, known_good)


def test_another_data_directory_is_red_although_no_file_is_lost(
    actual: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = actual("--quick", "--ccci-ref", "pr/other-data-dir")
    assert "is not among {}" in _why_the_upgrade_is_red(done)
    _went_back(done, store, known_good)
