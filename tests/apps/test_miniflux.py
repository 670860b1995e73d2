"""Miniflux, a real feed reader: its schema goes from 104 to 135, and a way back by version alone only looks healthy.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from realruns import CHECKOUT, Outcome, Pytest, of_stack, realms_of

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

MINIFLUX = CHECKOUT / "recipes" / "miniflux"
OLD, NEW = "1.0.0+2.2", "2.0.0+2.3"


@pytest.fixture(scope="module")
def store(warm_state: StateDir) -> CanonicalStore:
    """The canonical of Miniflux."""
    return CanonicalStore(warm_state.canonical("miniflux"), "miniflux")


@pytest.fixture
def miniflux(user_pytest: Pytest, engine: Engine, machine: Machine) -> Pytest:
    """Runs of the recipe; after each, nothing of it is left on the engine or in Keycloak."""

    def run(*args: str | Path) -> Outcome:
        done = user_pytest(*args, *(() if MINIFLUX / "recipe.toml" in args else (MINIFLUX,)))
        assert of_stack(engine, "mini-") == []
        assert of_stack(engine, "warm-miniflux") == []
        assert realms_of(machine, "miniflux") == []
        return done

    return run


@pytest.fixture
def known_good(store: CanonicalStore, miniflux: Pytest) -> str:
    """The fingerprint of the known-good, made by a cold run of the latest release where there is none yet."""
    if store.record() is None:
        assert miniflux("--cold", "--ccci-ref", "latest").rc == 0
    return store.fingerprint()


def _red_in_the_upgrade(done: Outcome) -> str:
    """Why the upgrade is red, where nothing before it is."""
    assert done.rc == 1
    assert done.result.verdict == Verdict.FAIL
    assert done.tier("install").verdict == Verdict.PASS
    assert done.tier("upgrade").verdict == Verdict.FAIL
    return done.tier("upgrade").reason


def _went_back(done: Outcome, store: CanonicalStore, known_good: str) -> None:
    """The known-good is as it was, and deployed again a person signs in and has their feed."""
    assert done.result.known_good.action == "restored-and-proved"
    assert "sentinels there" in done.tier("settle").facts["proved"]
    assert store.fingerprint() == known_good
    assert not store.state().quarantined


def test_cold_migrates_a_persons_feeds_and_makes_the_known_good(miniflux: Pytest, store: CanonicalStore) -> None:
    done = miniflux("--cold", "--ccci-ref", "latest")
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
    miniflux: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = miniflux("--quick", "--ccci-ref", "pr/back-to-2.2")
    assert "the login page is a 500, while the health check is a 200" in _red_in_the_upgrade(done)
    _went_back(done, store, known_good)


def test_a_pull_request_that_deletes_articles_is_red_and_they_go_back(
    miniflux: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = miniflux("--quick", "--ccci-ref", "pr/prunes-articles")
    assert "articles" in _red_in_the_upgrade(done)
    _went_back(done, store, known_good)


def test_after_them_a_good_pull_request_is_green(miniflux: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = miniflux("--quick", "--ccci-ref", "pr/media-proxy")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * 6
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


@pytest.mark.full
def test_a_pull_request_that_forgets_the_migration_does_not_start(miniflux: Pytest) -> None:
    done = miniflux("--cold", "--ccci-ref", "pr/forgets-migration", MINIFLUX / "recipe.toml")
    assert "exit status 1" in _red_in_the_upgrade(done)
    assert "the database schema is not up to date: current=v104 expected=v135" in done.out
    assert done.tier("settle").verdict == Verdict.PASS


@pytest.mark.full
def test_a_pull_request_whose_database_is_a_new_volume_is_red_and_the_feeds_go_back(
    miniflux: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = miniflux("--quick", "--ccci-ref", "pr/new-volume")
    assert "cannot be read after the upgrade" in _red_in_the_upgrade(done)
    _went_back(done, store, known_good)
