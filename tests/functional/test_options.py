from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_ccci.settings import OPTIONS

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes


@pytest.mark.parametrize(
    "given", [["--quick", "--cold"], ["--quick", "--ccci-mode=cold"], ["--cold", "--ccci-mode=quick"]]
)
def test_contradicting_modes_are_a_usage_error(recipes: Recipes, given: list[str]) -> None:
    result = recipes.pytester.runpytest(*given)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: a run is either cold or quick, not both: *"])


@pytest.mark.parametrize("given", [["--quick"], ["--ccci-mode=quick"], ["--quick", "--ccci-mode=quick"]])
def test_each_spelling_of_a_mode_is_in_the_header_with_its_source(recipes: Recipes, given: list[str]) -> None:
    recipes.pytester.runpytest(*given).stdout.fnmatch_lines(
        ["ccci: mode=quick (command line), ref=tip, fast_health=true"]
    )


def test_command_line_beats_environment_beats_ini(recipes: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes.pytester.makeini("[pytest]\nccci_mode = quick\nccci_ref = from-ini\nccci_zone = ini.test\n")
    monkeypatch.setenv("CCCI_REF", "from-env")
    monkeypatch.setenv("CCCI_MODE", "quick")
    result = recipes.pytester.runpytest("--cold")
    result.stdout.fnmatch_lines(
        ["ccci: mode=cold (command line), ref=from-env (CCCI_REF), zone=ini.test (ini), fast_health=true"]
    )


def test_a_value_that_cannot_be_read_is_a_usage_error_that_names_it(recipes: Recipes) -> None:
    result = recipes.pytester.runpytest("--ccci-slots=many")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --ccci-slots: 'many' cannot be read"])


def test_a_short_form_that_a_conftest_owns_is_left_to_it_with_a_warning(recipes: Recipes) -> None:
    recipes.pytester.makeini("[pytest]\n")
    recipes.pytester.makeconftest("def pytest_addoption(parser): parser.addoption('--quick', action='store_true')\n")
    recipes.pytester.makepyfile("def test_it(pytestconfig): assert pytestconfig.getoption('--quick')\n")
    result = recipes.pytester.runpytest("--quick")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["ccci: mode=cold, ref=tip*", "*--quick belongs to another plugin*--ccci-mode=quick*"])


def test_a_short_form_that_a_later_plugin_owns_is_left_to_it(recipes: Recipes) -> None:
    recipes.pytester.makeini("[pytest]\n")
    recipes.pytester.makepyfile(
        zzz="def pytest_addoption(parser):\n    parser.getgroup('zzz').addoption('--cold', action='store_true')\n"
    )
    recipes.pytester.syspathinsert()
    result = recipes.pytester.runpytest_subprocess("-p", "zzz", "--cold", "--ccci-mode=quick")
    assert result.ret == 5
    result.stdout.fnmatch_lines(["ccci: mode=quick (command line), ref=tip, fast_health=true"])


def test_every_option_is_in_the_help(recipes: Recipes) -> None:
    text = recipes.pytester.runpytest("--help").stdout.str()
    assert all(option.flag in text and option.ini in text and option.env in text for option in OPTIONS)
    assert "--quick" in text
    assert "--cold" in text


def test_workers_have_the_same_settings(recipes: Recipes) -> None:
    recipes.add("one", test_app="def test_mode(ccci_run): assert ccci_run.mode == 'quick'\n")
    recipes.pytester.runpytest("-n", "1", "--quick", "recipes").assert_outcomes(passed=6)
