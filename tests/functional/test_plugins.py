"""In company: other plugins and their options, against the fake run."""

from __future__ import annotations

import importlib.util
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

PLUGINS = {
    "allure_pytest": "allure_pytest",
    "asyncio": "pytest_asyncio",
    "flaky": "flaky",
    "flask": "pytest_flask",
    "html": "pytest_html",
    "instafail": "pytest_instafail",
    "pytest_cov": "pytest_cov",
    "pytest_forked": "pytest_forked",
    "pytest_order": "pytest_order",
    "random_order": "random_order",
    "randomly": "pytest_randomly",
    "repeat": "pytest_repeat",
    "rerunfailures": "pytest_rerunfailures",
    "rich": "pytest_rich",
    "sugar": "pytest_sugar",
    "timeout": "pytest_timeout",
    "xdist": "xdist",
}
# By module: the standard library has an `html` too.
LOADED_AS = {"html": ("pytest_metadata.plugin", "pytest_html.fixtures", "pytest_html.plugin")}
TEST = "import pytest\ndef test_page(app): pass\ndef test_other(app): pass\n"

MATRIX = [
    ("allure_pytest", "--alluredir=allure"),
    ("asyncio",),
    ("flaky", "--force-flaky", "--max-runs=3"),
    ("flask",),
    ("html", "--html=report.html"),
    ("instafail", "--instafail"),
    ("pytest_cov", "--cov=recipes"),
    ("pytest_forked", "--forked"),
    ("pytest_order",),
    ("random_order", "--random-order"),
    ("random_order", "--random-order-bucket=global"),
    ("randomly",),
    ("repeat", "--count=2"),
    ("repeat", "--count=2", "--repeat-scope=session"),
    ("rerunfailures", "--reruns=2"),
    ("rich",),
    ("sugar",),
    ("timeout", "--timeout=60", "--timeout-method=signal"),
    ("timeout", "--timeout=60", "--timeout-method=thread"),
    *[("xdist", "-n2", f"--dist={dist}") for dist in ("load", "loadfile", "loadgroup", "loadscope", "worksteal")],
]


def company(*names: str) -> list[str]:
    """The options that load these plugins; skips the test where one is not installed."""
    options = []
    for name in names:
        if importlib.util.find_spec(PLUGINS[name]) is None:
            pytest.skip(f"{PLUGINS[name]} is not installed (the extra plugins)")
        options += [option for one in LOADED_AS.get(name, (name,)) for option in ("-p", one)]
    return options


def run(recipes: Recipes, names: tuple[str, ...], *arguments: str) -> pytest.RunResult:
    warnings = ["-W", "ignore::DeprecationWarning", "-W", "ignore::pytest.PytestDeprecationWarning"]
    return recipes.pytester.runpytest_subprocess(*company(*names), *warnings, "recipes", *arguments, timeout=240)


def said_once(recipes: Recipes, *names: str) -> None:
    """Each recipe was opened once, whole, and settled once."""
    assert sorted(line.split()[1] for line in recipes.said("open")) == sorted(names)
    settled = [line.split()[1] for line in recipes.said("perform") if line.endswith(" settle")]
    assert sorted(settled) == sorted(names)


@pytest.mark.parametrize("row", MATRIX, ids=" ".join)
def test_one_deploy_one_settle_and_the_verdict_beside(recipes: Recipes, row: tuple[str, ...]) -> None:
    recipes.add("one", test_app=TEST)
    recipes.add("two", '[restore]\nverdict = "fail"\nreason = "a row is gone"\n', test_app=TEST)
    result = run(recipes, row[:1], *row[1:], "--junit-xml=junit.xml")
    assert result.ret == 1
    said_once(recipes, "one", "two")
    performed = [line.split()[2] for line in recipes.said("perform") if line.split()[1] == "one"]
    assert performed == ["install", "upgrade", "backup", "restore", "settle"]
    lines = result.outlines
    assert any(line.startswith("one  PASS") for line in lines), result.stdout.str()
    assert any(line.startswith("two  FAIL") for line in lines), result.stdout.str()
    suite = ET.parse(recipes.root / "junit.xml").getroot()  # noqa: S314  written by this very test
    of_tests = {(p.get("name"), p.get("value")) for p in suite.iterfind(".//testcase/properties/property")}
    assert {("ccci.recipe", "one"), ("ccci.recipe", "two"), ("ccci.verdict", "fail")} <= of_tests
    of_suite = {p.get("name"): p.get("value") for p in suite.iterfind("testsuite/properties/property")}
    assert (of_suite["ccci.verdict[one]"], of_suite["ccci.verdict[two]"]) == ("pass", "fail")


REPEATING = [("rerunfailures", "--reruns=2"), ("flaky", "--force-flaky", "--max-runs=3")]
ONCE = """
import pathlib
TRIED = pathlib.Path(__file__).with_name("tried")
def test_second_time_lucky(app):
    before = TRIED.read_text() if TRIED.exists() else ""
    TRIED.write_text(before + "x")
    assert before, "the first time it fails"
"""


@pytest.mark.parametrize("row", REPEATING)
@pytest.mark.parametrize("selection", [(), ("-k", "lucky")], ids=["whole", "alone"])
def test_the_last_attempt_counts_and_the_attempts_are_told(
    recipes: Recipes, row: tuple[str, ...], selection: tuple[str, ...]
) -> None:
    recipes.add("one", test_app=ONCE)
    result = run(recipes, row[:1], *row[1:], *selection)
    assert result.ret == 0, result.stdout.str()
    said_once(recipes, "one")
    assert recipes.said("custom") == ["custom recipes/one/test_app.py::test_second_time_lucky pass"]
    (results,) = recipes.root.glob("state/*/results.json")
    assert json.loads(results.read_text())["custom"][0]["attempts"] == 2
    result.stdout.fnmatch_lines(["*test_second_time_lucky: pass at attempt 2"])


@pytest.mark.parametrize("row", REPEATING)
@pytest.mark.parametrize("after", ["", "def test_next(app): assert app.up\n"], ids=["last", "in between"])
def test_a_run_with_a_test_that_passed_only_at_a_later_attempt_promotes_nothing(
    real_runs: Recipes, row: tuple[str, ...], after: str
) -> None:
    real_runs.add("one", test_app=ONCE + after)
    result = run(real_runs, row[:1], *row[1:])
    assert result.ret == 0, result.stdout.str()
    assert real_runs.results[0]["verdict"] == "pass"
    told = {
        row["nodeid"].rpartition("::")[2]: (row["verdict"], row["attempts"]) for row in real_runs.results[0]["custom"]
    }
    assert told["test_second_time_lucky"] == ("pass", 2)
    assert set(told.values()) <= {("pass", 1), ("pass", 2)}
    (refused,) = real_runs.said("refused")
    assert refused.endswith("test_second_time_lucky came to fail at attempt 1")


WHOLE = [
    *REPEATING,
    ("repeat", "--count=2"),
    ("pytest_forked", "--forked"),
    ("randomly",),
    ("pytest_order",),
    ("timeout", "--timeout=60", "--timeout-method=thread"),
]


@pytest.mark.parametrize("row", WHOLE, ids=" ".join)
def test_a_run_in_company_that_showed_everything_promotes(real_runs: Recipes, row: tuple[str, ...]) -> None:
    real_runs.add("one", test_app="def test_page(app): assert app.up\ndef test_other(app): assert app.up\n")
    result = run(real_runs, row[:1], *row[1:])
    assert result.ret == 0, result.stdout.str()
    assert "promoted" in real_runs.journal, real_runs.journal


def test_a_test_of_asyncio_counts_as_run(real_runs: Recipes) -> None:
    real_runs.add("one", test_app="import pytest\n@pytest.mark.asyncio\nasync def test_page(app): assert app.up\n")
    result = run(real_runs, ("asyncio",))
    assert result.ret == 0, result.stdout.str()
    assert "promoted" in real_runs.journal, real_runs.journal


@pytest.mark.parametrize("row", REPEATING)
def test_each_of_several_runs_is_opened_once_although_its_last_test_is_repeated(
    recipes: Recipes, row: tuple[str, ...]
) -> None:
    recipes.add("one", 'kept = ["1.0.0+1.0", "1.1.0+1.1"]\n', test_app=ONCE)
    result = run(recipes, row[:1], *row[1:], "--quick", "--ccci-base=all", "-k", "lucky")
    assert result.ret == 0, result.stdout.str()
    assert [line.split()[-1] for line in recipes.said("open")] == ["1.0.0+1.0", "1.1.0+1.1"]
    assert [line.split()[0] for line in recipes.journal if line.startswith(("custom", "closed"))] == [
        "custom",
        "closed",
    ] * 2


@pytest.mark.parametrize("row", REPEATING)
def test_a_later_attempt_that_is_cut_off_is_interrupted(real_runs: Recipes, row: tuple[str, ...]) -> None:
    real_runs.add(
        "one", test_app=ONCE.replace("assert before", "if before: raise KeyboardInterrupt\n    assert before")
    )
    result = run(real_runs, row[:1], *row[1:])
    assert result.ret == 2, result.stdout.str()
    (test,) = real_runs.results[0]["custom"]
    assert (test["verdict"], test["attempts"]) == ("error", 2)
    assert test["reason"].startswith("interrupted in its call")
    assert real_runs.results[0]["verdict"] == "error"
    assert "promoted" not in real_runs.journal
    assert "undeployed one" in real_runs.journal


@pytest.mark.parametrize("row", REPEATING)
def test_a_tier_is_never_performed_again(recipes: Recipes, row: tuple[str, ...]) -> None:
    recipes.add("one", '[settle]\nverdict = "error"\nreason = "no"\n[upgrade]\nverdict = "fail"\nreason = "no"\n')
    result = run(recipes, row[:1], *row[1:])
    assert result.ret == 1
    said_once(recipes, "one")
    result.assert_outcomes(passed=3, failed=1, errors=1)


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_timeout_counts_the_test_and_not_the_deploy(recipes: Recipes, method: str) -> None:
    slow = "import time\ndef test_quick(app): pass\ndef test_hangs(app): time.sleep(60)\n"
    recipes.add("one", "[upgrade]\nsleep = 4\n[settle]\nsleep = 4\n", test_app=slow)
    result = run(recipes, ("timeout",), "-k", "quick", "--timeout=2", f"--timeout-method={method}")
    assert result.ret == 0, result.stdout.str()
    assert recipes.journal[-1] == "closed one pass"
    result = run(recipes, ("timeout",), "-k", "hangs", "--timeout=2", f"--timeout-method={method}")
    assert result.ret == 1
    assert "Timeout" in result.stdout.str() + result.stderr.str()


def test_allure_shows_a_failed_tier_as_failed(recipes: Recipes) -> None:
    recipes.add("one", '[restore]\nverdict = "fail"\nreason = "a row is gone"\n')
    run(recipes, ("allure_pytest",), "--alluredir=allure")
    told = [json.loads(path.read_text()) for path in (recipes.root / "allure").glob("*-result.json")]
    assert {one["name"]: one["status"] for one in told} == {
        "install": "passed",
        "upgrade": "passed",
        "backup": "passed",
        "restore": "failed",
        "settle": "passed",
    }
    (restore,) = [one for one in told if one["name"] == "restore"]
    assert "a row is gone" in restore["statusDetails"]["message"]


def test_pytest_html_shows_the_runs_summary_and_properties(recipes: Recipes) -> None:
    recipes.add("one")
    run(recipes, ("html",), "--html=report.html")
    page = (recipes.root / "report.html").read_text()
    assert "one  PASS" in page
    assert "<td>ccci.run_id</td>" in page


def test_pytest_rich_keeps_our_block(recipes: Recipes) -> None:
    recipes.add("one")
    options = company("rich")
    child = recipes.pytester.spawn(" ".join([sys.executable, "-m", "pytest", *options, "recipes", "--rich"]), 120)
    child.expect("one  PASS")
    child.expect_exact("settle")
    child.wait()
    assert child.exitstatus == 0


def test_pytest_flasks_app_is_theirs_outside_and_ours_in_a_recipe(recipes: Recipes) -> None:
    recipes.add("one", test_app="def test_page(app): assert app.url == 'https://one.ci.test'\n")
    recipes.pytester.makepyfile(
        test_theirs="""
        import flask, pytest
        @pytest.fixture
        def app(): return flask.Flask("theirs")
        def test_client(client): assert flask.current_app.name == "theirs"
        """
    )
    run(recipes, ("flask",), "test_theirs.py").assert_outcomes(passed=7)


def test_our_fixtures_are_shown_with_what_they_are(recipes: Recipes) -> None:
    recipes.add("one", test_app=TEST)
    result = recipes.pytester.runpytest("recipes/one", "--fixtures")
    lines = result.outlines
    docs = {line.split()[0]: lines[number + 1] for number, line in enumerate(lines) if "plugin/fixtures.py:" in line}
    assert docs["app"].strip() == "The recipe's app as it is deployed: url, http, exec, websocket."
    assert {"keycloak_realm", "canonical", "snapshot", "recipe", "ccci_run"} <= set(docs)
    assert not [name for name, text in docs.items() if "no docstring" in text]


def test_an_older_pytest_leaves_other_suites_whole_and_says_what_a_recipe_needs(recipes: Recipes) -> None:
    """As an older pytest sees it: without the newer names, and with its own version."""
    recipes.add("one", test_app=TEST)
    (recipes.root / "conftest.py").unlink()
    (recipes.root / "older.py").write_text(
        "import sys, pytest\n"
        "pytest.version_tuple, pytest.__version__ = (8, 3, 5), '8.3.5'\n"
        "for name in ('Directory', 'register_fixture'): delattr(pytest, name)\n"
        "sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    recipes.pytester.makepyfile(test_plain="def test(): pass\n")
    older = [sys.executable, str(Path(recipes.root, "older.py")), "-p", "no:pytest_httpserver", "-p", "no:xdist"]
    recipes.pytester.run(*older, "test_plain.py").assert_outcomes(passed=1)
    result = recipes.pytester.run(*older, "recipes", "--ccci-mode=quick")
    result.assert_outcomes(errors=1)
    assert "recipe one: pytest-ccci needs pytest 9.1 or newer, and this is 8.3.5" in result.outlines
