from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

TEST = "def test_page(app): pass\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_settles_and_still_tells_the_story(recipes: Recipes, number: signal.Signals) -> None:
    recipes.add("one", f"[upgrade]\nsignal = {int(number)}\n", test_app=TEST)
    result = recipes.pytester.runpytest_subprocess("recipes", "--junit-xml=j.xml")
    assert result.ret == 2
    assert recipes.journal[-1].startswith("closed one")
    result.stdout.fnmatch_lines(["*= recipes =*", "one *", "*settle*pass*"])
    assert 'name="ccci.verdict"' in (recipes.root / "j.xml").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_request_to_stop_does_not_skip_the_settling(recipes: Recipes, number: signal.Signals) -> None:
    script = f"signals_while_closing = [{int(number)}, {int(number)}]\n[upgrade]\nsignal = {int(number)}\n"
    recipes.add("one", script, test_app=TEST)
    result = recipes.pytester.runpytest_subprocess("recipes")
    assert result.ret == 2
    assert recipes.journal[-1].startswith("closed one")
    result.stdout.fnmatch_lines(["ccci *still putting things back*"])


def test_a_request_to_stop_while_settling_stops_after_it(recipes: Recipes) -> None:
    recipes.add("one", f"signals_while_closing = [{int(signal.SIGINT)}]\n")
    recipes.add("two")
    result = recipes.pytester.runpytest_subprocess("recipes")
    assert result.ret == 2
    assert recipes.said("closed") == ["closed one pass"]
    assert len(recipes.said("open")) == 1


def test_stopping_at_the_first_failure_settles(recipes: Recipes) -> None:
    recipes.add("one", '[upgrade]\nverdict = "fail"\nreason = "no"\n', test_app=TEST)
    recipes.add("two")
    result = recipes.pytester.runpytest("recipes", "-x")
    result.assert_outcomes(passed=1, failed=1)
    assert recipes.said("perform") == ["perform one install", "perform one upgrade", "perform one settle"]
    assert recipes.journal[-1] == "closed one fail"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_settle_nobody_selected_still_turns_the_session_red(recipes: Recipes, workers: list[str]) -> None:
    recipes.add("one", '[settle]\nverdict = "fail"\nreason = "left behind: volume x"\n', test_app=TEST)
    result = recipes.pytester.runpytest("recipes", "-k", "page", *workers)
    assert result.ret == 1
    result.assert_outcomes(passed=1, errors=1, deselected=0 if workers else 5)
    result.stdout.fnmatch_lines(["the run of one came to fail: settle: left behind: volume x"])
    assert "lifecycle.py" not in result.stdout.str()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_run_without_a_result_file_is_said_loudly_and_red(recipes: Recipes, workers: list[str]) -> None:
    recipes.add("one", "lose_result = true\n", test_app=TEST)
    result = recipes.pytester.runpytest("recipes", *workers)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["one  ERROR  run run-one-* left no result"])


@pytest.mark.parametrize(("kind", "first"), [("LockBusy", "error"), ("RecipeInvalid", "fail"), ("RefError", "error")])
def test_a_run_that_cannot_start_says_why_once_and_blocks_the_rest(recipes: Recipes, kind: str, first: str) -> None:
    recipes.add("one", f'cannot_open = "{kind}"\n', test_app=TEST)
    result = recipes.pytester.runpytest("recipes", "--junit-xml=j.xml")
    assert result.ret == 1
    assert recipes.said("refused") == ["refused one"]
    text = result.stdout.str()
    result.stdout.fnmatch_lines(["one: cannot be opened", "*try:  open it", "BLOCKED *and 4 more - *", "*5 blocked*"])
    assert text.count("BLOCKED") == 1
    assert "Traceback" not in text
    assert "lifecycle.py" not in text
    assert f'name="ccci.verdict" value="{first}"' in (recipes.root / "j.xml").read_text()


def test_a_run_that_is_refused_is_skipped_with_its_reason(recipes: Recipes) -> None:
    recipes.add("one", 'cannot_open = "CanonicalRefused"\n', test_app=TEST)
    result = recipes.pytester.runpytest("recipes", "-rs")
    result.assert_outcomes(skipped=6)
    result.stdout.fnmatch_lines(["SKIPPED*one: cannot be opened"])


def test_every_authors_test_is_recorded_once_with_its_verdict_and_reason(recipes: Recipes) -> None:
    recipes.add(
        "one",
        test_app="""
import pytest
from pytest_ccci.errors import EngineUnavailable
@pytest.fixture
def broken(): raise RuntimeError("no luck")
@pytest.fixture
def untidy():
    yield
    raise RuntimeError("not tidied")
def test_ok(app): pass
def test_bad(app): assert 1 == 2
def test_setup(broken): pass
def test_untidy(untidy): pass
def test_skipped(): pytest.skip("no browser")
@pytest.mark.xfail(reason="known", strict=False)
def test_known(): assert 0
def test_wordy(): pytest.skip("it depends on a dependency that failed")
def test_engine(app): raise EngineUnavailable("it went away")
""",
    )
    result = recipes.pytester.runpytest("recipes")
    told = [line.removeprefix("custom recipes/one/test_app.py::") for line in recipes.said("custom")]
    assert told == [
        "test_ok pass",
        "test_bad fail assert 1 == 2",
        "test_setup error RuntimeError: no luck",
        "test_untidy error RuntimeError: not tidied",
        "test_skipped skip no browser",
        "test_known skip expected to fail: known",
        "test_wordy skip it depends on a dependency that failed",
        "test_engine error pytest_ccci.errors.EngineUnavailable: it went away",
    ]
    assert result.ret == 1


@pytest.mark.parametrize(
    "reason", ["it depends on the weather", "dependency x failed", "blocked by a firewall", "depends on test_a"]
)
def test_a_skip_is_a_skip_whatever_its_reason_says(recipes: Recipes, reason: str) -> None:
    recipes.add("one", test_app=f"import pytest\ndef test_b(): pytest.skip({reason!r})\n")
    result = recipes.pytester.runpytest("recipes")
    assert result.ret == 0
    assert recipes.said("custom") == [f"custom recipes/one/test_app.py::test_b skip {reason}"]


def test_a_test_whose_dependency_was_not_shown_is_blocked_and_red(recipes: Recipes) -> None:
    module = """
import pytest
@pytest.mark.dependency
def test_a(): pytest.skip("no browser")
@pytest.mark.dependency(depends=["test_a"])
def test_b(): pass
"""
    recipes.add("one", test_app=module)
    result = recipes.pytester.runpytest("recipes")
    assert recipes.said("custom") == [
        "custom recipes/one/test_app.py::test_a skip no browser",
        "custom recipes/one/test_app.py::test_b unverified blocked: test_b depends on test_a",
    ]
    assert result.ret == 1


def test_what_a_failed_upgrade_blocks_is_told_in_one_line_and_its_reason_once(recipes: Recipes) -> None:
    blocked = '[{}]\nverdict = "unverified"\nreason = "blocked: upgrade failed"\n'
    cause = "service backend: update paused, exit status 1: cannot merge 1 people"
    script = f'blocked = "upgrade failed"\n[upgrade]\nverdict = "fail"\nreason = "{cause}"\n'
    script += "".join(blocked.format(tier) for tier in ("backup", "restore"))
    recipes.add("one", script, test_app="".join(f"def test_{n}(): pass\n" for n in range(13)))
    text = recipes.pytester.runpytest("recipes").stdout.str()
    block = text.partition("= recipes =")[2].partition("short test summary")[0]
    assert block.count(cause) == 1
    assert [line.strip() for line in block.splitlines() if "blocked" in line] == [
        "backup    unverified      1.5  blocked: upgrade failed (restore, custom too)",
        "BLOCKED recipes/one/recipe.toml::backup and 14 more - blocked: upgrade failed",
    ]


def test_authors_tests_are_blocked_when_the_head_cannot_be_had(recipes: Recipes) -> None:
    recipes.add("one", 'blocked = "upgrade failed"\n', test_app=TEST + "def test_two(): raise SystemExit\n")
    result = recipes.pytester.runpytest("recipes", "-k", "page or two")
    assert result.ret == 1
    assert recipes.said("custom") == [
        "custom recipes/one/test_app.py::test_page unverified blocked: upgrade failed",
        "custom recipes/one/test_app.py::test_two unverified blocked: upgrade failed",
    ]
    result.stdout.fnmatch_lines(["BLOCKED*test_page* - blocked: upgrade failed", "*2 blocked*"])


def test_tests_that_the_author_waives_are_skipped_with_the_reason_and_not_blocked(recipes: Recipes) -> None:
    recipes.add("one", 'waived = "blocked for ever"\n', test_app=TEST)
    result = recipes.pytester.runpytest("recipes")
    assert result.ret == 0
    assert recipes.said("custom") == ["custom recipes/one/test_app.py::test_page skip not applicable: blocked for ever"]


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_a_tests_timeout_does_not_cut_a_tier_short(recipes: Recipes, method: str) -> None:
    recipes.add("one", "[upgrade]\nsleep = 1.0\n")
    options = ("--timeout=0.5", f"--timeout-method={method}")
    recipes.pytester.runpytest_subprocess("recipes", *options).assert_outcomes(passed=5)


def test_a_setup_plan_opens_nothing(recipes: Recipes) -> None:
    recipes.add("one", test_app=TEST)
    recipes.pytester.runpytest("recipes", "--setup-plan")
    assert not recipes.journal


@pytest.mark.parametrize("green", [True, False], ids=["green", "red"])
def test_archives_of_a_run_go_when_it_is_green_and_are_told_when_it_is_not(real_runs: Recipes, *, green: bool) -> None:
    real_runs.add(
        "one",
        test_app=f"""
def test_a(app, ccci_run):
    folder = ccci_run.results_path.parent / "backup"
    folder.mkdir()
    (folder / "0000.tar").write_bytes(b"x" * 4096)
    assert {green}
""",
    )
    real_runs.pytester.runpytest("recipes")
    (result,) = real_runs.results
    left = list(real_runs.root.glob("state/*/backup/0000.tar"))
    assert [str(path.parent) in result["kept_work"] for path in left] == ([] if green else [True])
    assert bool(result["kept_work"]) is not green
