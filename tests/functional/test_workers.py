from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_ccci import waiting

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

TEST = "def test_page(app): pass\n"


@pytest.mark.parametrize("dist", [[], ["--dist=loadscope"], ["--dist=loadgroup"], ["--dist=worksteal"]])
def test_each_recipe_is_opened_once_on_one_worker(recipes: Recipes, dist: list[str]) -> None:
    for name in ("one", "two", "three"):
        recipes.add(name, test_app=TEST, test_more=TEST)
    recipes.pytester.makepyfile(test_plain="def test_a(): pass\ndef test_b(): pass\n")
    result = recipes.pytester.runpytest("-n", "2", *dist)
    result.assert_outcomes(passed=3 * 7 + 2)
    opened = [line.split()[1:3] for line in recipes.said("open")]
    assert sorted(name for name, _ in opened) == ["one", "three", "two"]
    assert len({pid for _, pid in opened}) == 2
    assert [line.split()[3] for line in recipes.said("open")] == ["whole"] * 3


def test_progress_and_summary_come_from_the_workers(recipes: Recipes) -> None:
    recipes.add("one")
    recipes.add("two", '[upgrade]\nverdict = "unverified"\nreason = "blocked: install failed"\n')
    result = recipes.pytester.runpytest("-n", "2", "recipes")
    assert result.ret == 1
    lines = result.outlines
    assert any(line.startswith("ccci one  +") and "waiting for backend" in line for line in lines)
    assert any(line.startswith("one  PASS") for line in lines)
    assert any(line.startswith("two  UNVERIFIED") for line in lines)
    assert "BLOCKED recipes/two/recipe.toml::upgrade - blocked: install failed" in lines


def test_a_killed_worker_leaves_a_run_without_result_and_a_red_session(recipes: Recipes) -> None:
    recipes.add("one", "[upgrade]\ndie = true\n")
    recipes.add("two")
    result = recipes.pytester.runpytest_subprocess("-n", "2", "recipes", "--max-worker-restart=0")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["one  ERROR  run run-one-* left no result", "*its process died before it settled*"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_controller_lets_the_workers_settle(recipes: Recipes, number: signal.Signals) -> None:
    recipes.add("one", "[upgrade]\nsleep = 30\n[settle]\nsleep = 12\n")
    argv = [sys.executable, "-m", "pytest", "-n", "1", "recipes"]
    with subprocess.Popen(
        argv, cwd=recipes.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as child:
        deadline = waiting.Deadline(60)
        waiting.until(lambda: "perform one upgrade" in recipes.journal, deadline=deadline, what="the upgrade to begin")
        child.send_signal(number)
        waiting.until(lambda: "perform one settle" in recipes.journal, deadline=deadline, what="the settle to begin")
        child.send_signal(number)
        out, _ = child.communicate(timeout=90)
    assert recipes.journal[-1].startswith("closed one"), out
    assert child.returncode == 2, out
    assert "one  " in out.partition("= recipes =")[2], out


def test_stopping_at_the_first_failure_lets_the_other_workers_settle(recipes: Recipes) -> None:
    recipes.add("one", '[install]\nsleep = 1\n[upgrade]\nverdict = "fail"\nreason = "no"\n')
    recipes.add("two", "[install]\nsleep = 6\n[settle]\nsleep = 2\n")
    result = recipes.pytester.runpytest_subprocess("-n", "2", "recipes", "-x")
    assert result.ret != 0
    assert {line.split()[1] for line in recipes.said("closed")} == {"one", "two"}


def test_without_recipes_xdists_own_scheduler_spreads_one_files_tests(recipes: Recipes) -> None:
    recipes.pytester.makepyfile(
        test_plain="""
        import pytest, pathlib
        @pytest.mark.parametrize("n", range(8))
        def test(n, worker_id): pathlib.Path(f"on-{worker_id}").touch()
        """
    )
    recipes.pytester.runpytest("-n", "2").assert_outcomes(passed=8)
    assert {path.name for path in recipes.root.glob("on-*")} == {"on-gw0", "on-gw1"}


OWN_SCHEDULER = """
from xdist.scheduler import LoadScheduling

class Own(LoadScheduling):
    def schedule(self):
        print("the project's own scheduler")
        super().schedule()

def pytest_xdist_make_scheduler(config, log):
    return Own(config, log)
"""


@pytest.mark.parametrize("with_recipe", [False, True], ids=["no recipe", "a recipe"])
def test_a_scheduler_of_the_projects_own_is_used_where_there_is_no_recipe(recipes: Recipes, with_recipe: bool) -> None:
    recipes.pytester.makepyfile(own_scheduler=OWN_SCHEDULER, test_plain="def test_a(): pass\ndef test_b(): pass\n")
    if with_recipe:
        recipes.add("one")
    result = recipes.pytester.runpytest_subprocess("-n", "2", "-s", "-p", "own_scheduler")
    assert result.ret == 0
    assert ("the project's own scheduler" in result.stdout.str()) is not with_recipe


@pytest.mark.parametrize("options", [["-p", "no:xdist"], ["-p", "xdist"], ["-n", "0"]])
def test_it_works_without_workers(recipes: Recipes, options: list[str]) -> None:
    recipes.add("one", test_app=TEST)
    recipes.pytester.runpytest_subprocess("recipes", *options).assert_outcomes(passed=6)


def test_recipes_outside_of_rootdir_stay_whole(recipes: Recipes) -> None:
    root = recipes.root / "root"
    root.mkdir()
    (root / "tox.ini").write_text((recipes.root / "tox.ini").read_text())
    for name in ("one", "two"):
        recipes.add(name, test_app=TEST, test_more=TEST)
    result = recipes.pytester.runpytest_subprocess(
        "-n",
        "2",
        f"--rootdir={root}",
        "-c",
        f"{root}/tox.ini",
        f"--confcutdir={recipes.root}",
        "recipes/one",
        "recipes/two",
    )
    result.assert_outcomes(passed=2 * 7)
    assert sorted(line.split()[1] for line in recipes.said("open")) == ["one", "two"]


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_test_that_kills_its_worker_is_one_run_and_the_rest_is_blocked(recipes: Recipes, death: str) -> None:
    recipes.add("one", test_app=f"import os\ndef test_dies(app): {death}\ndef test_after(app): pass\n")
    recipes.add("two", test_app=TEST)
    result = recipes.pytester.runpytest_subprocess("-n", "2", "recipes")
    assert result.ret == 1
    assert [line.split()[1] for line in recipes.said("open")].count("one") == 1
    assert {"perform two settle", "perform one restore"} <= set(recipes.journal)
    result.stdout.fnmatch_lines(
        ["BLOCKED recipes/one/test_app.py::test_after and 1 more - blocked: the worker died at*"]
    )
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running 'recipes/one/test_app.py::test_dies'"])


def test_a_test_beside_recipes_that_kills_its_worker_is_not_done_again(recipes: Recipes) -> None:
    recipes.add("one")
    recipes.pytester.makepyfile(
        test_plain="import os\ndef test_dies(): open('died', 'a').write('x'); os._exit(3)\ndef test_after(): pass\n"
    )
    recipes.pytester.runpytest_subprocess("-n", "2").assert_outcomes(passed=6, failed=1)
    assert (recipes.root / "died").read_text() == "x"
