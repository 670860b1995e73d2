from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

TEST = "def test_page(app):\n    assert app.url == 'https://one.ci.test'\n"


def test_a_green_recipe_runs_every_tier_once_in_order_with_the_authors_tests_before_settle(recipes: Recipes) -> None:
    recipes.add("one", test_app=TEST)
    result = recipes.pytester.runpytest("-v", "recipes")
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    tiers = ("install", "upgrade", "backup", "restore", "settle")
    assert recipes.said("perform") == [f"perform one {tier}" for tier in tiers]
    assert len(recipes.said("open")) == 1
    assert "whole backup,install,restore,settle,upgrade" in recipes.said("open")[0]
    assert recipes.journal[-1] == "closed one pass"
    order = [line.split("::")[1].split()[0] for line in result.outlines if "::" in line and "PASSED" in line]
    assert order == ["install", "upgrade", "backup", "restore", "test_page", "settle"]


@pytest.mark.parametrize(
    ("verdict", "outcome", "tag", "code"),
    [
        ("fail", {"passed": 4, "failed": 1}, "failure", 1),
        ("error", {"passed": 4, "errors": 1}, "error", 1),
        ("skip", {"passed": 4, "skipped": 1}, "skipped", 0),
        ("unverified", {"passed": 4}, "error", 1),
    ],
)
def test_each_verdict_has_its_own_outcome_and_junit_element(
    recipes: Recipes, verdict: str, outcome: dict[str, int], tag: str, code: int
) -> None:
    recipes.add("one", f'[upgrade]\nverdict = "{verdict}"\nreason = "the backend said no"\n')
    result = recipes.pytester.runpytest("recipes", "--junit-xml=j.xml")
    result.assert_outcomes(**outcome)
    assert result.ret == code
    case = _cases(recipes)["upgrade"]
    assert [child.tag for child in case if child.tag not in {"properties", "system-out"}] == [tag]
    assert "the backend said no" in ET.tostring(case, encoding="unicode")
    assert _properties(case)["ccci.verdict"] == verdict
    assert "Traceback" not in result.stdout.str()
    assert "pytest_ccci/plugin" not in result.stdout.str()


def test_a_blocked_tier_is_red_by_itself_and_has_its_own_letter(recipes: Recipes) -> None:
    recipes.add("one", '[backup]\nverdict = "unverified"\nreason = "blocked: upgrade failed"\n')
    result = recipes.pytester.runpytest("recipes/one/recipe.toml::backup")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["BLOCKED recipes/one/recipe.toml::backup - blocked: upgrade failed", "*1 blocked*"])


def test_a_failed_tier_shows_its_evidence_in_the_report_and_in_junit(recipes: Recipes) -> None:
    recipes.add("one", '[upgrade]\nverdict = "fail"\nreason = "no"\nevidence = {"log of backend" = "last words"}\n')
    result = recipes.pytester.runpytest("recipes", "--junit-xml=j.xml")
    result.stdout.fnmatch_lines(["*log of backend*", "last words"])
    result.stdout.fnmatch_lines(["FAILED recipes/one/recipe.toml::upgrade - no"])
    assert "last words" in ET.tostring(_cases(recipes)["upgrade"], encoding="unicode")


def test_a_skipped_tier_names_its_reason_and_no_line_of_ours(recipes: Recipes) -> None:
    recipes.add("one", '[backup]\nverdict = "skip"\nreason = "stateless: nothing to back up"\n')
    result = recipes.pytester.runpytest("recipes", "-rs")
    result.stdout.fnmatch_lines(["SKIPPED*recipe.toml*stateless: nothing to back up"])
    assert "items.py" not in result.stdout.str()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_every_case_and_the_suite_carry_all_eight_properties(recipes: Recipes, workers: list[str]) -> None:
    recipes.add("one", 'mode = "cold"\nmode_reason = "no known-good"\n', test_app=TEST)
    recipes.pytester.runpytest("recipes", "--quick", "--junit-xml=j.xml", *workers)
    cases = _cases(recipes)
    assert len(cases) == 6
    for case in cases.values():
        found = _properties(case)
        assert found["ccci.run_id"].startswith("run-one-")
        del found["ccci.run_id"]
        assert found == {
            "ccci.mode": "cold",
            "ccci.requested_mode": "quick",
            "ccci.recipe": "one",
            "ccci.base": "1.0.0+1.0",
            "ccci.head": "1.1.0+1.1",
            "ccci.head_commit": "b" * 40,
            "ccci.verdict": "pass",
        }
    suite = _properties(_suite(recipes))
    assert suite["ccci.verdict"] == "pass"
    assert suite["ccci.mode"] == "cold"
    assert len(suite) == 8


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_several_recipes_in_one_session_have_suite_properties_of_their_own(
    recipes: Recipes, workers: list[str]
) -> None:
    recipes.add("one")
    recipes.add("two", '[upgrade]\nverdict = "fail"\nreason = "no"\n')
    recipes.pytester.runpytest("recipes", "--junit-xml=j.xml", *workers)
    suite = _properties(_suite(recipes))
    assert suite["ccci.verdict[one]"] == "pass"
    assert suite["ccci.verdict[two]"] == "fail"
    assert len(suite) == 16


def test_the_summary_tells_the_run_from_its_file(recipes: Recipes) -> None:
    recipes.add("one", 'mode = "cold"\nmode_reason = "no known-good yet"\n', test_app=TEST)
    result = recipes.pytester.runpytest("recipes", "--quick")
    result.stdout.fnmatch_lines(
        [
            "*= recipes =*",
            "one  PASS  cold*",
            "*from*1.0.0+1.0*",
            "*mode*cold, though quick was asked for: no known-good yet",
            "*custom*pass*",
            "*again with*pytest --cold recipes/one",
        ]
    )


@pytest.mark.parametrize(("quiet", "told"), [([], True), (["-q"], True), (["-q", "-q"], False)])
def test_progress_is_told_line_by_line_unless_very_quiet(recipes: Recipes, quiet: list[str], told: bool) -> None:
    recipes.add("one")
    lines = recipes.pytester.runpytest("recipes", *quiet).outlines
    hits = [line for line in lines if line.startswith("ccci one  +") and "waiting for backend" in line]
    assert bool(hits) is told
    assert len(hits) in {0, 5}


def _suite(recipes: Recipes) -> Any:
    return next(iter(ET.parse(recipes.root / "j.xml").getroot()))  # noqa: S314  written by ourselves


def _cases(recipes: Recipes) -> dict[str, Any]:
    return {case.attrib["name"]: case for case in _suite(recipes).iter("testcase")}


def _properties(element: Any) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in element.find("properties")}
