"""WordPress: its database is upgraded by a request that a look at the front page never makes.

One story: the tests share the canonical, which the first of them makes, and stay on one worker.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from realruns import CHECKOUT, Pytest, assert_went_back, own_name, why_the_upgrade_is_red

from pytest_ccci.errors import Verdict
from pytest_ccci.store.canonical import CanonicalStore

RECIPE = "wordpress"
WORDPRESS = CHECKOUT / "recipes" / RECIPE
OLD, NEW = "1.0.0+6.1", "2.0.0+6.8"
NAIVE_TOML = """\
[source]
bundled = "releases"
[env]
BLOCK_EXTERNAL = "1"
[[sentinel]]
kind = "sql"
service = "db"
[[sentinel]]
kind = "file"
service = "app"
path = "/usr/share/wordpress/wp-content/uploads/sentinel.txt"
"""
NAIVE_TEST = """\
def test_the_site_is_served(app):
    assert app.http.get(f"{app.url}/").status_code == 200
    assert "Hello world!" in app.http.get(f"{app.url}/?p=1").text
    assert app.http.get(f"{app.url}/wp-login.php").status_code == 200
"""


def test_cold_upgrades_the_database_and_makes_the_known_good(play: Pytest, store: CanonicalStore) -> None:
    done = play("--cold", "--ccci-ref", "latest")
    assert done.rc == 0
    assert done.result.base is not None
    assert done.result.base.release == OLD
    assert [tier.verdict for tier in done.result.tiers] == [Verdict.PASS] * 6
    assert done.tier("install").facts["on the base"].startswith(f"6 of 6 tests passed on {OLD}")
    record = store.record()
    assert record is not None
    assert record.release == NEW
    assert store.verify() == ()


def test_a_pull_request_that_leaves_the_upgrade_to_a_person_is_red_and_the_data_go_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/7.1-without-upgrade")
    assert "the dashboard asks for an upgrade of the database" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)


def test_the_same_version_with_the_upgrade_is_green(play: Pytest, store: CanonicalStore, known_good: str) -> None:
    done = play("--quick", "--ccci-ref", "pr/7.1")
    assert done.rc == 0
    assert done.result.mode == "quick"
    assert [test.verdict for test in done.result.custom] == [Verdict.PASS] * 6
    assert done.result.known_good.action == "unchanged"
    assert store.fingerprint() == known_good


@pytest.mark.full
def test_who_looks_at_pages_only_never_sees_that_the_upgrade_is_missing(user_pytest: Pytest, tmp_path: Path) -> None:
    """The bad head is green in a folder whose author wrote no more than that the pages and the rows are there."""
    naive = tmp_path / "recipes" / own_name()
    shutil.copytree(WORDPRESS / "releases", naive / "releases")
    shutil.copytree(WORDPRESS / "images", naive / "images")
    (naive / "recipe.toml").write_text(NAIVE_TOML, "utf-8")
    (naive / "test_site.py").write_text(NAIVE_TEST, "utf-8")
    assert user_pytest("--ccci-ref", "pr/7.1-without-upgrade", naive).rc == 0


@pytest.mark.full
def test_a_pull_request_that_mounts_the_uploads_elsewhere_is_red_and_they_go_back(
    play: Pytest, store: CanonicalStore, known_good: str
) -> None:
    done = play("--quick", "--ccci-ref", "pr/uploads-elsewhere")
    assert "uploads" in why_the_upgrade_is_red(done)
    assert_went_back(done, store, known_good)
