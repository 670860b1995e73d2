"""JupyterHub, a real application: a new one refuses an older one's database until it is migrated, and never goes back.

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

pytestmark = pytest.mark.full
"""Its images take minutes to build, which the suite that everybody runs does not have."""

HUB = CHECKOUT / "recipes" / "jupyterhub"
TESTS = 7
OLD, NEW = "1.0.0+4.1.6", "2.0.0+5.4.6"


@pytest.fixture(scope="module")
def store(warm_state: StateDir) -> CanonicalStore:
    """The canonical of JupyterHub."""
    return CanonicalStore(warm_state.canonical("jupyterhub"), "jupyterhub")


@pytest.fixture
def hub(user_pytest: Pytest, engine: Engine, machine: Machine) -> Pytest:
    """Runs of the recipe; after each, nothing of it is left on the engine or in Keycloak."""

    def run(*args: str | Path) -> Outcome:
        done = user_pytest(*args, *(() if HUB / "recipe.toml" in args else (HUB,)))
        assert of_stack(engine, "jupy-") == []
        assert of_stack(engine, "warm-jupyterhub") == []
        assert realms_of(machine, "jupyterhub") == []
        return done

    return run


@pytest.fixture
def known_good(store: CanonicalStore, hub: Pytest) -> str:
    """The fingerprint of the known-good, made by a cold run of the latest release where there is none yet."""
    if store.record() is None:
        assert hub("--cold", "--ccci-ref", "latest").rc == 0
    return store.fingerprint()


def _why_the_upgrade_is_red(done: Outcome) -> str:
    assert done.rc == 1
    assert done.result.verdict == Verdict.FAIL
    assert done.tier("install").verdict == Verdict.PASS
    assert done.tier("upgrade").verdict == Verdict.FAIL
    return done.tier("upgrade").reason


def _went_back(done: Outcome, store: CanonicalStore, known_good: str) -> None:
    """The known-good is as it was; deployed again, a person's token works and they can sign in."""
    assert done.result.known_good.action == "restored-and-proved"
    assert "sentinels there" in done.tier("settle").facts["proved"]
    assert store.fingerprint() == known_good
    assert not store.state().quarantined


def test_cold_of_the_release_that_migrates_becomes_the_known_good(hub: Pytest, store: CanonicalStore) -> None:
    done = hub("--cold", "--ccci-ref", "latest")
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
    hub: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = hub("--quick", "--ccci-ref", "pr/without-upgrade-db")
    assert "Found database schema version" in _why_the_upgrade_is_red(done)
    _went_back(done, store, known_good)


def test_after_it_a_good_pull_request_is_green(hub: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = hub("--quick", "--ccci-ref", "pr/named-servers")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * TESTS
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


def test_a_way_back_by_version_alone_does_not_start(hub: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = hub("--quick", "--ccci-ref", "pr/back-to-4")
    assert "Can't locate revision" in _why_the_upgrade_is_red(done)
    _went_back(done, store, known_good)


def test_two_major_versions_at_once_need_the_migration_too(hub: Pytest) -> None:
    good = hub("--cold", "--ccci-base", OLD)
    assert good.rc == 0
    assert good.result.base is not None
    assert good.result.base.release == OLD
    bad = hub("--cold", "--ccci-base", OLD, "--ccci-ref", "pr/without-upgrade-db", HUB / "recipe.toml")
    assert "Found database schema version" in _why_the_upgrade_is_red(bad)
    assert bad.tier("settle").verdict == Verdict.PASS
