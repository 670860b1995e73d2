"""Fixtures that outlive their modules are finalised while the app is still there, before settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

CONFTEST = """
import pytest
from pathlib import Path
JOURNAL = Path(__file__).parents[2] / "journal.txt"
def note(text):
    with JOURNAL.open("a") as sink: sink.write(text + "\\n")
@pytest.fixture(scope="{scope}")
def account(app):
    yield app
    note("account closed " + ("up" if app.up else "down"))
@pytest.fixture(scope="{scope}")
def client(account):
    yield account
    note("client closed " + ("up" if account.up else "down"))
"""
TESTS = "def test_a(client): assert client.up\ndef test_b(account): assert account.up\n"
ORDER = ["client closed up", "account closed up", "settle one green", "undeployed one", "promoted"]


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "worker"])
@pytest.mark.parametrize("scope", ["session", "package"])
def test_the_authors_fixtures_are_finalised_before_settle(real_runs: Recipes, scope: str, workers: list[str]) -> None:
    real_runs.add("one", conftest=CONFTEST.format(scope=scope), test_app=TESTS, test_more=TESTS)
    assert real_runs.pytester.runpytest_subprocess("recipes", *workers).ret == 0
    assert real_runs.journal[-5:] == ORDER


def test_they_are_finalised_where_settle_was_not_selected(real_runs: Recipes) -> None:
    real_runs.add("one", conftest=CONFTEST.format(scope="session"), test_app=TESTS)
    assert real_runs.pytester.runpytest("recipes", "-k", "test_a").ret == 0
    assert real_runs.journal[-5:-1] == ORDER[:-1]


def test_they_are_finalised_after_an_interruption(real_runs: Recipes) -> None:
    real_runs.add(
        "one",
        conftest=CONFTEST.format(scope="session"),
        test_app=TESTS + "def test_c(client): raise KeyboardInterrupt\n",
    )
    assert real_runs.pytester.runpytest_subprocess("recipes").ret == 2
    closed = [line for line in real_runs.journal if "closed" in line]
    assert closed == ORDER[:2]
    assert real_runs.journal.index("account closed up") < real_runs.journal.index("undeployed one")


def test_a_fixture_from_above_that_hangs_on_the_app_is_finalised_with_it(real_runs: Recipes) -> None:
    text = (real_runs.root / "conftest.py").read_text(encoding="utf-8")
    above = '@pytest.fixture(scope="session")\ndef logged_in(app):\n    yield\n    note("logged out", app.up)\n'
    real_runs.pytester.makeconftest(f"{text}\nimport pytest\n{above}")
    real_runs.add("one", test_app="def test_a(logged_in): pass\n")
    assert real_runs.pytester.runpytest_subprocess("recipes").ret == 0
    assert real_runs.journal.index("logged out True") < real_runs.journal.index("undeployed one")


def test_a_fixture_from_above_that_does_not_hang_on_the_app_lives_on(real_runs: Recipes) -> None:
    text = (real_runs.root / "conftest.py").read_text(encoding="utf-8")
    above = (
        '\nimport pytest\n@pytest.fixture(scope="session")\ndef database():\n    yield\n    note("database closed")\n'
    )
    real_runs.pytester.makeconftest(text + above)
    real_runs.add("one", test_app="def test_a(app, database): pass\n")
    real_runs.add("two", test_app="def test_a(app, database): pass\n")
    assert real_runs.pytester.runpytest_subprocess("recipes").ret == 0
    assert real_runs.journal.count("database closed") == 1
    assert real_runs.journal[-1] == "database closed"


@pytest.mark.parametrize("options", [[], ["-k", "test_a"]], ids=["whole", "part"])
def test_one_that_cannot_be_finalised_turns_the_run_red_and_it_settles(real_runs: Recipes, options: list[str]) -> None:
    broken = CONFTEST.format(scope="session").replace(
        '    note("client', '    raise RuntimeError("not logged out")\n    note("client'
    )
    real_runs.add("one", conftest=broken, test_app=TESTS)
    result = real_runs.pytester.runpytest("recipes", *options)
    assert result.ret == 1
    assert "account closed up" in real_runs.journal
    assert "undeployed one" in real_runs.journal
    assert "promoted" not in real_runs.journal
    assert real_runs.results[0]["verdict"] == "error"
    assert "not logged out" in str(real_runs.results[0]["custom"])
