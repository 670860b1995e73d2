from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes


def test_a_recipe_folder_has_all_fixtures_without_boilerplate(recipes: Recipes) -> None:
    recipes.add(
        "one",
        test_app="""
def test_all(app, keycloak_realm, canonical, snapshot, recipe, ccci_run):
    assert app.url == "https://one.ci.test"
    assert keycloak_realm == "a realm on demand"
    assert (canonical, snapshot) == ("canonical", "snap")
    assert recipe.name == "one"
    assert ccci_run.recipe == "one" and ccci_run.head.commit == "b" * 40
    assert not hasattr(ccci_run, "perform")
""",
    )
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=6)


def test_fixtures_of_any_scope_may_ask_for_the_app_and_get_their_own_recipes(recipes: Recipes) -> None:
    conftest = """
import pytest
@pytest.fixture(scope="session")
def logged_in(app, keycloak_realm):
    return app.url
@pytest.fixture(scope="module", autouse=True)
def prepared(logged_in):
    yield logged_in
"""
    for name in ("one", "two"):
        recipes.add(name, conftest=conftest, test_app=f"def test_it(logged_in): assert '{name}' in logged_in\n")
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=12)
    assert recipes.said("lease") == ["lease one", "lease two"]


def test_no_test_has_the_cookies_of_another_and_what_tests_share_they_ask_for(recipes: Recipes) -> None:
    conftest = """
import pytest
@pytest.fixture(scope="module")
def alice(app):
    own = list(app.http)
    own.append("alice")
    app.http.append("by a fixture of the module")
    return own
"""
    tests = """
def test_one_logs_in(app, alice):
    assert app.http == [] and alice == ["alice"]
    app.http.append("logged in")
    assert app.http == ["logged in"]
def test_a_stranger_sees_nothing(app):
    assert app.http == []
class TestMore:
    def test_alice_is_still_there(self, app, alice):
        assert app.http == [] and alice == ["alice"]
"""
    recipes.add("one", conftest=conftest, test_app=tests)
    recipes.pytester.runpytest("recipes").assert_outcomes(passed=8)


@pytest.mark.parametrize("name", ["app", "recipe", "ccci_run"])
def test_a_recipes_fixture_outside_a_recipe_is_a_clear_error(recipes: Recipes, name: str) -> None:
    recipes.pytester.makepyfile(f"def test_it({name}): pass\n")
    result = recipes.pytester.runpytest()
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"fixture '{name}' is only there in a recipe's folder (one with a recipe.toml)*"])


def test_a_realm_is_leased_for_any_test_suite_once_and_given_back(recipes: Recipes) -> None:
    recipes.pytester.makepyfile("""
def test_a(keycloak_realm): assert keycloak_realm == "a lease"
def test_b(keycloak_realm): pass
""")
    recipes.pytester.runpytest().assert_outcomes(passed=2)
    assert recipes.journal == ["leased", "returned"]


def test_a_test_outside_names_the_recipe_whose_canonical_it_wants(recipes: Recipes) -> None:
    recipes.add("one")
    recipes.pytester.makepyfile("""
import pytest
@pytest.mark.ccci_recipe("recipes/one")
def test_named(canonical, snapshot): assert (canonical, snapshot) == ("canonical of one", "snapshot of one")
def test_unnamed(canonical): pass
@pytest.mark.ccci_recipe("recipes/two")
def test_wrong(snapshot): pass
""")
    result = recipes.pytester.runpytest("test_a_test_outside_names_the_recipe_whose_canonical_it_wants.py")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*fixture 'canonical' is of a recipe*", "*@pytest.mark.ccci_recipe(*"])
    assert "Traceback" not in result.stdout.str()
    assert "fixtures.py" not in result.stdout.str()


def test_a_fixture_of_the_same_name_elsewhere_stays_theirs(recipes: Recipes) -> None:
    recipes.pytester.makepyfile(
        zzz="""
        import pytest
        @pytest.fixture
        def snapshot(): return 'theirs'
        @pytest.fixture
        def app(): return 'their app'
        """,
        test_it="def test_it(snapshot, app): assert (snapshot, app) == ('theirs', 'their app')\n",
    )
    recipes.pytester.syspathinsert()
    recipes.add("one", test_app="def test_it(snapshot, app): assert snapshot == 'snap' and app.url\n")
    recipes.pytester.runpytest_subprocess("-p", "zzz").assert_outcomes(passed=7)
