from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

KEPT = 'kept = ["1.0.0+1", "1.1.0+1"]\n'
TESTS = """
import pytest

@pytest.fixture(scope="session")
def person(app, ccci_run):
    return f"somebody at the run from {ccci_run.base.release}"

@pytest.fixture(scope="module")
def at_hand(app):
    return app

def test_page(person, ccci_run, at_hand):
    assert person.endswith(f" {ccci_run.base.release}")
    assert ccci_run.run_id.endswith(ccci_run.base.release)

def test_nothing_of_ours(): pass
"""
ALL = ("--quick", "--ccci-base", "all")


def test_each_kept_known_good_has_a_run_of_its_own_with_items_results_and_one_settle(recipes: Recipes) -> None:
    recipes.add("one", KEPT, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "-v", "--junit-xml=j.xml")
    assert result.ret == 0
    result.assert_outcomes(passed=14)
    order = [line.split()[0] for line in result.outlines if "PASSED" in line and line.startswith("recipes")]
    tiers, tests = ["install", "upgrade", "backup", "restore"], ["test_page", "test_nothing_of_ours"]
    assert [node.rpartition("::")[2] for node in order] == [
        f"{name}[{base}]" for base in ("1.0.0+1", "1.1.0+1") for name in (*tiers, *tests, "settle")
    ]
    assert [line.split()[-1] for line in recipes.said("open")] == ["1.0.0+1", "1.1.0+1"]
    words = [line.split()[0] for line in recipes.journal if line.split()[0] in {"open", "closed"}]
    assert words == ["open", "closed", "open", "closed"]
    assert len(list((recipes.root / "state").iterdir())) == 2
    xml = (recipes.root / "j.xml").read_text()
    assert 'name="ccci.base[one from 1.0.0+1]" value="1.0.0+1"' in xml
    assert xml.count('name="ccci.base" value="1.0.0+1"') == 7
    assert xml.count('name="ccci.base" value="1.1.0+1"') == 7


def test_red_from_any_of_them_is_red_and_the_others_run_all_the_same(recipes: Recipes) -> None:
    script = f'{KEPT}[from."1.0.0+1".upgrade]\nverdict = "fail"\nreason = "the old data break it"\n'
    recipes.add("one", script, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL)
    assert result.ret == 1
    result.assert_outcomes(passed=13, failed=1)
    assert recipes.said("closed") == ["closed one fail", "closed one pass"]
    result.stdout.fnmatch_lines(["one *FAIL*quick*", "one *PASS*quick*"])


def test_a_run_that_cannot_be_opened_blocks_only_its_own_items(recipes: Recipes) -> None:
    script = f'{KEPT}[from."1.0.0+1"]\ncannot_open = "StoreDamaged"\n'
    recipes.add("one", script, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "--junit-xml=j.xml")
    assert result.ret == 1
    result.assert_outcomes(passed=7, errors=1)
    assert recipes.said("refused") == ["refused one"], "it is tried once, not at each item"
    assert recipes.said("closed") == ["closed one pass"]
    assert 'name="ccci.base" value="1.1.0+1"' in (recipes.root / "j.xml").read_text()


def test_one_that_does_not_apply_is_skipped_with_its_reason(recipes: Recipes) -> None:
    recipes.add("one", f'{KEPT}[from."1.1.0+1"]\ncannot_open = "Refused"\n', test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "-rs")
    assert result.ret == 0
    result.assert_outcomes(passed=7, skipped=7)
    result.stdout.fnmatch_lines(["*cannot be opened*"])


@pytest.mark.parametrize("words", [["-k", "page"], ["-k", "nothing_of_ours"]])
def test_the_run_is_turned_to_also_where_no_tier_is_selected(recipes: Recipes, words: list[str]) -> None:
    recipes.add("one", KEPT, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, *words)
    assert result.ret == 0
    result.assert_outcomes(passed=2, deselected=12)
    assert [line.split()[-1] for line in recipes.said("open")] == ["1.0.0+1", "1.1.0+1"]
    assert recipes.said("closed") == ["closed one pass"] * 2
    following = [line.split()[0] for line in recipes.journal if line.split()[0] in {"open", "ready", "custom"}]
    assert [word for word, after in pairwise(following) if after == "custom"] == ["ready"] * 2


def test_a_tier_is_selected_by_its_plain_name_for_each(recipes: Recipes) -> None:
    recipes.add("one", KEPT, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes/one/recipe.toml::upgrade", *ALL)
    result.assert_outcomes(passed=2)


def test_stopping_at_the_first_failure_settles_what_is_open_and_opens_nothing_more(recipes: Recipes) -> None:
    recipes.add("one", f'{KEPT}[from."1.0.0+1".upgrade]\nverdict = "fail"\nreason = "no"\n', test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "-x")
    assert result.ret == 1
    assert len(recipes.said("open")) == 1
    assert recipes.journal[-1] == "closed one fail"


def test_two_workers_keep_all_runs_of_a_recipe_on_one_of_them(recipes: Recipes) -> None:
    recipes.add("one", KEPT, test_app=TESTS)
    recipes.add("two", KEPT, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "-n", "2")
    assert result.ret == 0
    result.assert_outcomes(passed=28)
    workers = [line.split()[1:3] for line in recipes.said("open")]
    assert len({tuple(pair) for pair in workers}) == 2


def test_a_base_that_is_named_is_one_run_with_the_usual_ids(recipes: Recipes) -> None:
    recipes.add("one", KEPT, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", "--quick", "--ccci-base", "1.0.0+1", "-v")
    assert result.ret == 0
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["recipes/one/recipe.toml::upgrade PASSED*"])
    assert [line.split()[-1] for line in recipes.said("open")] == ["1.0.0+1"]


def test_a_cold_run_can_be_told_its_base_too(recipes: Recipes) -> None:
    recipes.add("one", test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", "--ccci-base", "0.9.0+1", "-v", "--junit-xml=j.xml")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["ccci: mode=cold*base=0.9.0+1*", "recipes/one/recipe.toml::upgrade PASSED*"])
    assert [line.split()[-1] for line in recipes.said("open")] == ["0.9.0+1"]
    assert 'name="ccci.base" value="0.9.0+1"' in (recipes.root / "j.xml").read_text()


def test_where_nothing_is_kept_the_one_run_says_so(recipes: Recipes) -> None:
    recipes.add("one", 'cannot_open = "RefError"\n', test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL)
    assert result.ret == 1
    assert recipes.said("refused") == ["refused one"]


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["--ccci-base", "all"], "*--ccci-base=all: a cold run has one base*"),
        (["--quick", "--ccci-reseed=true"], "*--ccci-reseed: a quick run never makes a known-good*"),
    ],
)
def test_what_the_mode_does_not_know_is_refused_at_once(recipes: Recipes, words: list[str], seen: str) -> None:
    recipes.add("one", test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *words)
    assert result.ret == 4
    result.stderr.fnmatch_lines([seen])
    assert recipes.journal == []


def test_a_settle_nobody_selected_is_told_at_the_last_item_of_its_own_run(recipes: Recipes) -> None:
    script = f'{KEPT}[from."1.0.0+1".settle]\nverdict = "fail"\nreason = "left behind: volume x"\n'
    recipes.add("one", script, test_app=TESTS)
    result = recipes.pytester.runpytest("recipes", *ALL, "-k", "test_page")
    assert result.ret == 1
    result.assert_outcomes(passed=2, errors=1, deselected=12)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_page?1.0.0+1?*"])
