"""Only a run that showed all that its folder holds promotes, whatever option or plugin made it less."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

TESTS = """
import pytest
def test_page(app): assert app.up
class TestMore:
    @pytest.mark.parametrize("n", [1, 2])
    def test_each(self, app, n): assert app.up
"""
ONE = "def test_other(app): assert app.up\n"


def promoted(recipes: Recipes) -> bool:
    return "promoted" in recipes.journal


def refused(recipes: Recipes) -> str:
    assert not promoted(recipes)
    return "\n".join(recipes.said("refused"))


def test_a_run_that_showed_everything_promotes(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TESTS, test_more=ONE)
    result = real_runs.pytester.runpytest("recipes", "-n", "0")
    assert result.ret == 0
    assert promoted(real_runs)
    assert real_runs.results[0]["verdict"] == "pass"


def test_tests_of_every_kind_count_as_run(real_runs: Recipes) -> None:
    real_runs.add(
        "one",
        test_kinds="""
import functools, unittest, pytest
def check(function):
    @functools.wraps(function)
    def around(app): return function(app)
    return around
@check
def test_decorated(app): assert app.up
class TestXunit:
    def setup_method(self): self.n = 1
    def test_method(self, app): assert self.n
class TestCase(unittest.TestCase):
    def test_unit(self): self.assertTrue(True)
    def test_sub(self):
        with self.subTest(n=1): pass
@pytest.mark.skip(reason="needs a browser")
def test_skipped(app): assert 0
@pytest.mark.skipif(True, reason="not on this machine")
def test_skipif(app): assert 0
@pytest.mark.xfail(reason="upstream bug 12", strict=False)
def test_known(app): assert 0
""",
    )
    result = real_runs.pytester.runpytest("recipes")
    assert result.ret == 0
    assert promoted(real_runs), real_runs.said("refused")


SOME = [
    (["--setup-only"], "it was set up, but not run"),
    (["-k", "not test_other"], "test_other was not run"),
    (["-m", "not ccci"], ""),
    (["--deselect", "recipes/one/test_app.py::test_page"], "test_page was not run"),
    (["--ignore", "recipes/one/test_more.py"], "test_more.py was not collected"),
    (["--deselect", "recipes/one/recipe.toml::settle"], "settle was not selected"),
    (["-o", "python_functions=check_*"], "-o python_functions=check_*"),
    (["-o", "python_files=check_*.py"], "test_app.py"),
    (["-o", "python_classes=Check"], "-o python_classes=Check"),
]


@pytest.mark.parametrize(("options", "why"), SOME, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_an_option_that_makes_it_less_promotes_nothing(real_runs: Recipes, options: list[str], why: str) -> None:
    real_runs.add("one", test_app=TESTS, test_more=ONE)
    real_runs.pytester.runpytest_subprocess("recipes", *options)
    assert why in refused(real_runs)


@pytest.mark.parametrize(
    "asked",
    [
        ["recipes/one/recipe.toml"],
        ["recipes/one/recipe.toml", "recipes/one/test_app.py"],
        ["recipes/one/recipe.toml", "recipes/one/test_app.py::TestMore", "recipes/one/test_more.py"],
        ["recipes/one/recipe.toml", "recipes/one/test_app.py::test_page", "recipes/one/test_more.py"],
        [
            "recipes/one/recipe.toml",
            "recipes/one/test_app.py::TestMore::test_each[1]",
            "recipes/one/test_app.py::test_page",
            "recipes/one/test_more.py",
        ],
        ["recipes/one/recipe.toml::settle", "recipes/one/test_app.py", "recipes/one/test_more.py"],
    ],
)
def test_node_ids_that_name_a_part_promote_nothing(real_runs: Recipes, asked: list[str]) -> None:
    real_runs.add("one", test_app=TESTS, test_more=ONE)
    result = real_runs.pytester.runpytest(*asked)
    assert result.ret == 0
    assert "not whole" in refused(real_runs)


def test_arguments_that_name_all_there_is_in_pieces_promote(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TESTS, test_more=ONE)
    real_runs.pytester.runpytest("recipes/one/recipe.toml", "recipes/one/test_app.py", "recipes/one/test_more.py")
    assert promoted(real_runs)


def test_the_tests_that_failed_last_time_alone_promote_nothing(real_runs: Recipes) -> None:
    folder = real_runs.add("one", test_app=TESTS + "def test_bad(app): assert 0\n", test_more=ONE)
    assert real_runs.pytester.runpytest("recipes").ret == 1
    (folder / "test_app.py").write_text(TESTS + "def test_bad(app): pass\n", encoding="utf-8")
    assert real_runs.pytester.runpytest("recipes", "--lf", "recipes/one/recipe.toml").ret == 0
    assert not promoted(real_runs)
    assert real_runs.pytester.runpytest("recipes", "--ff").ret == 0
    assert promoted(real_runs)


@pytest.mark.parametrize("options", [["--sw"], ["--nf"], ["--ff"], ["-p", "no:cacheprovider"], ["-n", "2"]])
def test_an_option_that_takes_nothing_away_promotes(real_runs: Recipes, options: list[str]) -> None:
    real_runs.add("one", test_app=TESTS)
    assert real_runs.pytester.runpytest_subprocess("recipes", *options).ret == 0
    assert promoted(real_runs), real_runs.journal


PLUGINS = {
    "drops items without a word": """
def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "page" not in item.name]
""",
    "drops items last of all": """
import pytest
@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    session.items[:] = [item for item in session.items if "page" not in item.name]
""",
    "drops items when they are made": """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    report.result = [node for node in report.result if "page" not in node.name]
    return report
""",
    "marks as skipped": """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        if "page" in item.name: item.add_marker(pytest.mark.skip(reason="slow"))
""",
    "marks a tier as skipped": """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == "backup": item.add_marker(pytest.mark.skip(reason="slow"))
""",
    "skips in setup": """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if "page" in item.name: pytest.skip("not today")
""",
    "calls nothing": """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem): return True
""",
    "replaces runtest": """
def pytest_collection_modifyitems(items):
    for item in items:
        if "page" in item.name: item.runtest = lambda: None
""",
    "answers for the protocol": """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if "page" in item.name: return True
""",
    "answers for the collection of a module": """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector):
    if collector.name == "test_app.py":
        return pytest.CollectReport(collector.nodeid, "passed", longrepr=None, result=[])
""",
    "runs settle first": """
import pytest
@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    session.items.sort(key=lambda item: item.name != "settle")
""",
    "runs each item in a process of its own": """
import os, pytest
from _pytest.runner import runtestprotocol
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    pid = os.fork()
    if not pid:
        runtestprotocol(item, log=False)
        os._exit(0)
    os.waitpid(pid, 0)
    return True
""",
}


@pytest.mark.parametrize("plugin", PLUGINS.values(), ids=PLUGINS.keys())
def test_a_plugin_that_takes_something_away_promotes_nothing(real_runs: Recipes, plugin: str) -> None:
    real_runs.add("one", test_app=TESTS)
    real_runs.pytester.makepyfile(takes_away=plugin)
    real_runs.pytester.runpytest_subprocess("recipes", "-p", "takes_away")
    assert not promoted(real_runs), real_runs.journal


@pytest.mark.parametrize(
    "module",
    [
        "import pytest\npytest.importorskip('no_such_module')\ndef test_a(): pass\n",
        "import pytest\npytest.skip('not here', allow_module_level=True)\n",
        "import pytest\n@pytest.mark.parametrize('n', [])\ndef test_a(n): pass\n",
        "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n",
        "import pytest\n@pytest.mark.xfail\ndef test_a(): assert 0\n",
        "import pytest\ndef test_a(): pytest.skip('in the middle')\n",
        "import pytest\n@pytest.fixture\ndef browser(): pytest.skip('no browser')\ndef test_a(browser): pass\n",
    ],
)
def test_what_is_skipped_without_its_authors_marker_and_reason_promotes_nothing(
    real_runs: Recipes, module: str
) -> None:
    real_runs.add("one", test_app=TESTS, test_more=module)
    result = real_runs.pytester.runpytest("recipes")
    assert result.ret == 0
    assert "test_more" in refused(real_runs) or "test_a" in refused(real_runs)


def test_a_module_that_cannot_be_imported_promotes_nothing(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TESTS, test_more="import no_such_module\n")
    real_runs.pytester.runpytest("recipes", "--continue-on-collection-errors")
    assert "test_more.py could not be collected" in refused(real_runs)


def test_checks_that_were_switched_off_promote_nothing(real_runs: Recipes) -> None:
    real_runs.add("one", test_app="def test_a(app): assert 0\n", conftest="")
    argv = ("-O", "-W", "ignore", "-m", "pytest", "recipes", "--assert=plain", "-W", "ignore")
    real_runs.pytester.run(sys.executable, *argv)
    assert "assertions were off" in refused(real_runs)
    real_runs.pytester.runpytest_subprocess("recipes", "--noconftest", "-p", "conftest")
    assert not promoted(real_runs)


TWICE = """
from _pytest.runner import runtestprotocol
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if "page" in item.name:
        runtestprotocol(item, nextitem=None, log=False)
    return None
"""


def test_a_plugin_that_runs_a_test_twice_takes_nothing_away(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TESTS)
    real_runs.pytester.makepyfile(runs_twice=TWICE)
    assert real_runs.pytester.runpytest_subprocess("recipes", "-p", "runs_twice").ret == 0
    assert promoted(real_runs), real_runs.journal
    assert len(real_runs.said("open")) == 1
    assert [row["attempts"] for row in real_runs.results[0]["custom"]] == [2, 1, 1]


def sub_folders(recipes: Recipes) -> None:
    folder = recipes.add("one", test_app=TESTS)
    (folder / "more" / "still").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "more" / "test_app.py").write_text(ONE, encoding="utf-8")
    (folder / "more" / "still" / "test_app.py").write_text(ONE, encoding="utf-8")


def test_tests_in_sub_folders_are_part_of_what_the_folder_holds(real_runs: Recipes) -> None:
    sub_folders(real_runs)
    assert real_runs.pytester.runpytest("recipes").ret == 0
    assert promoted(real_runs)
    assert len(real_runs.results[0]["custom"]) == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["recipes", "--ignore", "recipes/one/more/still"], "more/still/test_app.py was not collected"),
        (["recipes", "--deselect", "recipes/one/more/test_app.py::test_other"], "test_app.py::test_other was not run"),
        (["recipes", "-o", "norecursedirs=more"], "more"),
        (["recipes/one/recipe.toml", "recipes/one/test_app.py"], "more/still/test_app.py was not collected"),
        (
            ["recipes/one/recipe.toml", "recipes/one/test_app.py", "recipes/one/more/test_app.py"],
            "more/still/test_app.py was not collected",
        ),
    ],
)
def test_without_one_of_the_sub_folders_nothing_is_promoted(real_runs: Recipes, options: list[str], why: str) -> None:
    sub_folders(real_runs)
    real_runs.pytester.runpytest_subprocess(*options)
    assert why in refused(real_runs)


def test_sub_folders_that_are_named_in_pieces_promote(real_runs: Recipes) -> None:
    sub_folders(real_runs)
    real_runs.pytester.runpytest("recipes/one/recipe.toml", "recipes/one/test_app.py", "recipes/one/more")
    assert promoted(real_runs)


def test_nothing_is_opened_where_nothing_is_run(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=TESTS)
    for option in ("--collect-only", "--setup-plan"):
        real_runs.pytester.runpytest("recipes", option)
    assert not real_runs.journal


def test_a_recipe_without_tests_of_its_own_is_whole_by_its_tiers(real_runs: Recipes) -> None:
    real_runs.add("one")
    assert real_runs.pytester.runpytest("recipes").ret == 0
    assert promoted(real_runs)


def test_a_tier_of_which_nobody_looked_at_the_result_promotes_nothing(real_runs: Recipes) -> None:
    real_runs.add("one")
    real_runs.pytester.runpytest("recipes", "--setup-only")
    assert "was not asked for" in refused(real_runs)


def test_nothing_is_deployed_after_settle(real_runs: Recipes) -> None:
    real_runs.add("one", test_app=ONE)
    real_runs.pytester.makepyfile(takes_away=PLUGINS["runs settle first"])
    result = real_runs.pytester.runpytest_subprocess("recipes", "-p", "takes_away")
    assert result.ret == 1
    assert not real_runs.said("act")
    assert real_runs.results[0]["verdict"] == "unverified"
