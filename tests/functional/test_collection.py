from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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
