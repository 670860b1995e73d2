from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

SAME = "def test_page(recipe):\n    assert recipe.name in __file__\n"


def test_an_error_in_recipe_toml_is_one_clear_collection_error(recipes: Recipes) -> None:
    recipes.add("one", "wrong = 1\n", test_app=SAME)
    result = recipes.pytester.runpytest("recipes")
    assert result.ret == 2
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*recipe.toml:1: unknown key 'wrong'; did you mean 'health'?"])
    assert "Traceback" not in result.stdout.str()
    assert ".py:" not in result.stdout.str()
    assert not recipes.journal


def test_two_recipes_have_test_modules_and_conftests_of_the_same_name(recipes: Recipes) -> None:
    fixture = "import pytest\n@pytest.fixture\ndef mine(app): return app.url\n"
    test = "def test_page(mine, recipe): assert recipe.name in mine\n"
    recipes.add("one", test_app=test, conftest=fixture)
    recipes.add("two", test_app=test, conftest=fixture)
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=12)


def test_it_works_in_the_recipes_own_folder(recipes: Recipes) -> None:
    folder = recipes.add("one", test_app=SAME)
    recipes.pytester.chdir()
    result = recipes.pytester.run("sh", "-c", f"cd {folder} && exec {sys.executable} -m pytest")
    result.assert_outcomes(passed=6)


def test_one_tier_can_be_selected_and_only_that_is_asked_for(recipes: Recipes) -> None:
    recipes.add("one", test_app=SAME)
    recipes.pytester.runpytest("recipes/one/recipe.toml::upgrade").assert_outcomes(passed=1)
    assert "part upgrade" in recipes.said("open")[0]
    assert recipes.said("perform") == ["perform one upgrade", "perform one settle"]


def test_recipe_toml_alone_is_all_tiers_but_no_whole_run(recipes: Recipes) -> None:
    recipes.add("one", test_app=SAME)
    recipes.pytester.runpytest("recipes/one/recipe.toml").assert_outcomes(passed=5)
    assert " part " in recipes.said("open")[0]


def test_a_keyword_selects_the_authors_tests_and_the_head_is_brought_up_for_them(recipes: Recipes) -> None:
    recipes.add("one", test_app="def test_login(app): pass\ndef test_other(app): pass\n")
    recipes.pytester.runpytest("recipes", "-k", "login").assert_outcomes(passed=1, deselected=6)
    assert recipes.journal[1] == "ready one"
    assert recipes.said("custom") == ["custom recipes/one/test_app.py::test_login pass"]
    assert recipes.journal[-1] == "closed one pass"


def test_deselecting_or_ignoring_something_makes_the_run_partial(recipes: Recipes) -> None:
    recipes.add("one", test_app=SAME, test_more=SAME)
    recipes.pytester.runpytest("recipes", "--deselect", "recipes/one/test_app.py::test_page")
    recipes.pytester.runpytest("recipes", "--ignore", "recipes/one/test_app.py")
    recipes.pytester.runpytest("recipes/one")
    assert [line.split()[3] for line in recipes.said("open")] == ["part", "part", "whole"]


def test_collect_only_opens_nothing(recipes: Recipes) -> None:
    recipes.add("one", test_app=SAME)
    result = recipes.pytester.runpytest("recipes", "--collect-only", "-q")
    assert result.ret == 0
    assert "recipes/one/recipe.toml::restore" in result.outlines
    assert not recipes.journal


def test_failed_first_and_last_failed_keep_the_order_of_the_tiers(recipes: Recipes) -> None:
    folder = recipes.add("one", '[restore]\nverdict = "fail"\nreason = "no"\n', test_app=SAME)
    recipes.pytester.runpytest("recipes")
    (recipes.root / "journal.txt").unlink()
    (folder / "recipe.toml").write_text("")
    recipes.pytester.runpytest("recipes", "--ff").assert_outcomes(passed=6)
    assert [line.split()[-1] for line in recipes.said("perform")][:4] == ["install", "upgrade", "backup", "restore"]


def test_last_failed_runs_only_the_failed_tier(recipes: Recipes) -> None:
    recipes.add("one", '[restore]\nverdict = "fail"\nreason = "no"\n', test_app=SAME)
    recipes.pytester.runpytest("recipes")
    (recipes.root / "journal.txt").unlink()
    recipes.pytester.runpytest("recipes", "--lf").assert_outcomes(failed=1)
    assert "part restore" in recipes.said("open")[0]


def test_what_lies_deeper_in_a_recipes_folder_is_never_imported(recipes: Recipes) -> None:
    folder = recipes.add("one")
    (folder / "releases").mkdir()
    (folder / "releases" / "test_evil.py").write_text("raise SystemExit('imported')\n")
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=5)


def test_other_tests_beside_recipes_keep_their_places(recipes: Recipes) -> None:
    recipes.add("one", test_app=SAME)
    recipes.pytester.makepyfile(test_plain="def test_plain(): pass\n")
    recipes.pytester.runpytest().assert_outcomes(passed=7)


def test_without_any_recipe_the_plugin_imports_nothing_heavy(recipes: Recipes) -> None:
    recipes.pytester.makepyfile("""
        import sys
        def test_light():
            heavy = {"docker", "keycloak", "jinja2", "pydantic", "requests", "cryptography", "rich", "filelock", "yaml"}
            ours = {name for name in sys.modules if name.startswith("pytest_ccci.")}
            assert not heavy & set(sys.modules)
            assert not {name for name in ours if name.split(".")[1] in {"run", "warm", "store", "engine", "recipe"}}
    """)
    recipes.pytester.runpytest_subprocess("-p", "no:httpserver").assert_outcomes(passed=1)
    recipes.pytester.runpytest_subprocess("-p", "no:pytest_httpserver", "-p", "no:xdist").assert_outcomes(passed=1)


HELPER = "NAME = {name!r}\n"
USES_HELPER = """
from helpers import NAME

def test_the_helper_is_the_recipes_own(recipe):
    import helpers
    assert NAME == helpers.NAME == recipe.name
"""
CONFTEST_USES_HELPER = """
import pytest
from helpers import NAME

@pytest.fixture
def helped(): return NAME
"""


@pytest.mark.parametrize("arguments", [["recipes"], ["recipes/two", "recipes/one"], ["recipes", "-n", "2"]])
def test_helpers_beside_the_tests_are_each_recipes_own(recipes: Recipes, arguments: list[str]) -> None:
    for name in ("one", "two"):
        recipes.add(
            name,
            conftest=CONFTEST_USES_HELPER,
            helpers=HELPER.format(name=name),
            test_app=USES_HELPER + "\ndef test_from_conftest(helped, recipe): assert helped == recipe.name\n",
        )
    recipes.pytester.makepyfile(
        helpers="NAME = 'around'", test_around="from helpers import NAME\ndef test(): assert NAME == 'around'\n"
    )
    result = recipes.pytester.runpytest_subprocess(*arguments, "test_around.py")
    result.assert_outcomes(passed=2 * 7 + 1)


@pytest.mark.parametrize("option", ["--doctest-modules", "--doctest-glob=*.md"])
def test_doctests_import_the_recipes_own_helpers(recipes: Recipes, option: str) -> None:
    for name in ("one", "two"):
        doctest = f">>> from helpers import NAME\n>>> NAME\n{name!r}\n"
        folder = recipes.add(name, helpers=HELPER.format(name=name), test_app=f'"""\n{doctest}"""\n')
        (folder / "README.md").write_text(doctest)
    recipes.pytester.runpytest_subprocess("recipes", option).assert_outcomes(passed=2 * 6)


def test_tests_in_sub_folders_run_and_are_part_of_the_whole(recipes: Recipes) -> None:
    folder = recipes.add("one", helpers=HELPER.format(name="one"), test_app=SAME)
    (folder / "more" / "still").mkdir(parents=True)
    (folder / "more" / "test_app.py").write_text(USES_HELPER + "\ndef test_it(app): assert 'one' in app.url\n")
    (folder / "more" / "still" / "test_app.py").write_text(SAME)
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=9)
    assert " whole " in recipes.said("open")[0]
    assert recipes.journal.index("perform one settle") > recipes.journal.index(recipes.said("custom")[-1])
    recipes.pytester.runpytest("recipes", "--ignore", "recipes/one/more/still").assert_outcomes(passed=8)
    assert " part " in recipes.said("open")[1]


def test_a_recipe_within_a_recipe_is_told(recipes: Recipes) -> None:
    folder = recipes.add("one")
    (folder / "inner").mkdir()
    (folder / "inner" / "recipe.toml").touch()
    result = recipes.pytester.runpytest("recipes")
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*inner/recipe.toml lies in another recipe's folder*"])


def test_collecting_alone_says_what_a_run_would_do(recipes: Recipes) -> None:
    recipes.add("one", test_app="def test_page(app): pass\n")
    recipes.add("two", "unknown_ref = true\n", test_app="def test_page(app): pass\n")
    result = recipes.pytester.runpytest("recipes", "--collect-only")
    assert result.ret == 0
    told = ["one  cold", "  from      1.0.0+1", "no plan of two: *it is no branch", "*<TierItem install>*"]
    result.stdout.fnmatch_lines(told)
    assert "from      1.0.0+1" not in recipes.pytester.runpytest("recipes", "--collect-only", "-q").stdout.str()
