"""A suite without recipes, while the plugin is installed: it must not notice, and hardly pay for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

# All that may be imported before somebody uses the plugin. Each of these costs every pytest in the environment
# something: what only a recipe needs is imported when there is one (`plugin.activation`).
AT_START = {
    "pytest_ccci",
    "pytest_ccci.errors",
    "pytest_ccci.plugin",
    "pytest_ccci.plugin.entry",
    "pytest_ccci.plugin.global_fixtures",
    "pytest_ccci.plugin.hookspecs",
    "pytest_ccci.plugin.options",
    "pytest_ccci.settings",
}
SPY = """
import sys
from pathlib import Path

def pytest_unconfigure(config):
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    names = sorted(name for name in sys.modules if name.partition(".")[0] == "pytest_ccci")
    Path(__file__).with_name(f"imported-{worker}.txt").write_text("\\n".join(names))
"""
TESTS = """
import pytest

@pytest.fixture
def mine(): return 1

@pytest.mark.parametrize("n", range(3))
def test_it(n, mine, tmp_path): assert n >= 0

@pytest.mark.xfail
def test_known(): assert 0
"""


def imported(recipes: Recipes, *options: str, tests: str = TESTS, process: str = "main") -> set[str]:
    """The modules of ours that a pytest process has imported at its end."""
    recipes.pytester.makeconftest(SPY)
    recipes.pytester.makepyfile(test_it=tests)
    recipes.pytester.runpytest_subprocess(*options)
    return set((recipes.root / f"imported-{process}.txt").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("options", [("--collect-only",), (), ("--fixtures",), ("--junit-xml=j.xml", "-x")])
def test_without_a_recipe_hardly_anything_is_imported(recipes: Recipes, options: tuple[str, ...]) -> None:
    assert imported(recipes, *options) == AT_START


def test_a_worker_without_a_recipe_imports_no_more(recipes: Recipes) -> None:
    assert imported(recipes, "-n1", process="gw0") == AT_START


@pytest.mark.parametrize("options", [("--collect-only",), ("--collect-only", "one/test_page.py")])
def test_the_rest_comes_with_the_first_recipe(recipes: Recipes, options: tuple[str, ...]) -> None:
    folder = recipes.root / "one"
    folder.mkdir()
    (folder / "recipe.toml").write_text("", encoding="utf-8")
    (folder / "test_page.py").write_text("def test_page(): pass\n", encoding="utf-8")
    assert imported(recipes, *options) >= AT_START | {"pytest_ccci.plugin.collection", "pytest_ccci.plugin.summary"}


def test_a_fixture_that_is_nowhere_is_told_as_pytest_tells_it(recipes: Recipes) -> None:
    recipes.pytester.makepyfile(test_it="def test_it(nowhere): pass\ndef test_other(): pass\n")
    result = recipes.pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'nowhere' not found*"])


def test_the_fixtures_for_everybody_are_listed_with_what_they_are(recipes: Recipes) -> None:
    result = recipes.pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines(
        [
            "keycloak_realm [[]session scope[]]*",
            "*A Keycloak realm for this session: issuer, client, users.",
            "canonical *",
            "*The kept known-good of the recipe that the marker ccci_recipe names.",
            "snapshot *",
        ],
    )
