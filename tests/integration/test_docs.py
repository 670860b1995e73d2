"""The main job on the stand-in for La Suite Docs: cold → known-good → quick → restore, and every bad pull request.

One story: the tests share the canonical, which the first of them makes, and stay on one worker. No other test runs this
recipe: six services with a health check a second each are enough for two processors.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from realruns import CHECKOUT, Outcome, Pytest, of_stack, realms_of

from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import Verdict
from pytest_ccci.run.host import Machine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

DOCS = CHECKOUT / "recipes" / "lasuite-docs"

BAD_HEADS = {
    "pr/broken-migration": "upgrade",
    "pr/crash-loop": "upgrade",
    "pr/bad-image": "upgrade",
    "pr/silent-rollback": "upgrade",
    "pr/data-loss": "upgrade",
    "pr/login-lost": "upgrade",
}
"""Which tier finds what is wrong with each head: the sentinels are read as part of the upgrade."""
COLD_HEADS = ("pr/broken-migration", "pr/login-lost")
"""Those that need this app's Keycloak and workers; a cold run of what is wrong with the others is a row of the zoo."""
SMALL = ("pr/crash-loop", "pr/data-loss")
"""Heads whose kind is played on smaller apps: test_small_recipe.py has a death, tests/apps/test_miniflux.py a loss."""


@pytest.fixture(scope="module")
def store(warm_state: StateDir) -> CanonicalStore:
    """The canonical of lasuite-docs."""
    return CanonicalStore(warm_state.canonical("lasuite-docs"), "lasuite-docs")


@pytest.fixture
def known_good(store: CanonicalStore, docs: Pytest) -> str:
    """The fingerprint of the known-good, made by a cold run of the latest release where there is none yet."""
    if store.record() is None:
        assert docs("--cold", "--ccci-ref", "latest").rc == 0
    return store.fingerprint()


def _first_red(done: Outcome) -> tuple[str, Verdict]:
    red = next(tier for tier in done.result.tiers if tier.verdict not in {Verdict.PASS, Verdict.SKIP})
    return red.tier, red.verdict


@pytest.fixture
def docs(user_pytest: Pytest, engine: Engine, machine: Machine, warm_state: StateDir) -> Pytest:
    """Runs of the recipe; after each, nothing of it is left on the engine, in Keycloak or leased."""

    def run(*args: str | Path) -> Outcome:
        done = user_pytest(*args, *(() if DOCS / "recipe.toml" in args else (DOCS,)))
        assert of_stack(engine, "lasu-") == []
        assert of_stack(engine, "warm-lasuite") == []
        assert realms_of(machine, "lasuite-docs") == []
        assert list(warm_state.leases.iterdir()) == []
        return done

    return run


def test_cold_of_the_latest_release_becomes_the_known_good(docs: Pytest, store: CanonicalStore) -> None:
    done = docs("--cold", "--ccci-ref", "latest")
    assert done.rc == 0
    record = store.record()
    assert record is not None
    assert record.release == "2.0.0+0.1.0"
    assert record.snapshot_id == done.result.known_good.snapshot_after
    assert store.verify() == ()
    assert done.result.base is not None
    assert done.result.base.release == "1.1.0+0.0.20"
    assert [tier.verdict for tier in done.result.tiers] == [Verdict.PASS] * 6


def test_quick_on_the_tip_leaves_record_and_snapshot_byte_identical(
    docs: Pytest, store: CanonicalStore, known_good: str, tmp_path: Path
) -> None:
    junit = tmp_path / "junit.xml"
    done = docs("--quick", f"--junit-xml={junit}")
    assert done.rc == 0
    assert store.fingerprint() == known_good
    assert done.result.known_good.action == "unchanged"
    suite = ET.parse(junit).getroot().find("testsuite")  # noqa: S314  our own file
    assert suite is not None
    shown = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    assert shown["ccci.mode"] == "quick"
    assert shown["ccci.verdict"] == "pass"
    assert shown["ccci.head_commit"] == (done.result.head.commit if done.result.head else "")


@pytest.mark.parametrize(
    "head", [pytest.param(head, marks=pytest.mark.full) if head in SMALL else head for head in BAD_HEADS]
)
def test_quick_blames_a_bad_head_and_proves_the_restore(
    head: str, docs: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = docs("--quick", "--ccci-ref", head)
    assert done.rc == 1
    assert _first_red(done) == (BAD_HEADS[head], Verdict.FAIL)
    assert done.result.verdict == Verdict.FAIL
    assert done.result.known_good.action == "restored-and-proved"
    assert "sentinels there" in done.tier("settle").facts["proved"]
    assert store.fingerprint() == known_good
    assert not store.state().quarantined


@pytest.mark.parametrize("head", COLD_HEADS)
def test_cold_blames_a_bad_head_and_leaves_nothing(
    head: str, docs: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = docs("--cold", "--ccci-ref", head, DOCS / "recipe.toml")  # its tests are red or green without being asked
    assert done.rc == 1
    assert _first_red(done) == (BAD_HEADS[head], Verdict.FAIL)
    assert done.tier("settle").verdict == Verdict.PASS
    assert store.fingerprint() == known_good


def test_after_all_of_them_the_next_good_run_is_green(docs: Pytest, store: CanonicalStore, known_good: str) -> None:
    quick = docs("--quick", "--ccci-ref", "pr/add-field")
    assert quick.rc == 0
    assert store.fingerprint() == known_good
    cold = docs("--cold", "--ccci-ref", "pr/add-field")
    assert cold.rc == 0
    assert cold.result.known_good.action in {"none", "unchanged"}


def test_one_of_the_authors_tests_can_be_named(docs: Pytest, known_good: str) -> None:
    done = docs("--quick", "-k", "login")
    assert done.rc == 0
    assert done.result.custom
    assert known_good
