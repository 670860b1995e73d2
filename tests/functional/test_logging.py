"""Progress is logged, whatever is done to Python's logging meanwhile: each line is shown once, and without secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.functional.conftest import FAKE

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

WAITS = "waiting for backend (starting, 2/5 healthy)"
TIERS = ("install", "upgrade", "backup", "restore", "settle")
SECRET = "hunter2-Xk9zQ4mV"
LOOK = """
import logging
def test_nothing_is_installed():
    ours = logging.getLogger("pytest_ccci")
    assert (ours.handlers, ours.level, ours.propagate, ours.parent) == ([], 0, True, logging.getLogger())
"""


def lines(result: pytest.RunResult, recipe: str) -> list[str]:
    """What was told of a recipe, without its seconds.

    Under xdist the lines come in another thread: pytest may write its dot between our look at the line and our own.
    """
    of_it = re.compile(rf"\.*ccci {recipe}  \+[0-9.]+s  ")
    return [of_it.sub("", line) for line in result.outlines if of_it.match(line)]


EXPECTED = [line for tier in TIERS for line in (f"{tier}: {WAITS}", f"{tier}: pass after 1.5 s")]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-v",),
        ("-s",),
        ("-n", "2"),
        ("--log-cli-level=DEBUG",),
        ("-o", "log_cli=true", "-o", "log_cli_level=INFO"),
        ("-o", "log_level=DEBUG", "-rA"),
        ("--log-level=INFO", "--log-file=run.log", "--show-capture=all"),
        ("-p", "no:logging"),
        ("--log-disable=pytest_ccci",),
    ],
    ids=" ".join,
)
def test_each_line_is_printed_once_whatever_pytest_is_told_about_logging(
    recipes: Recipes, options: tuple[str, ...]
) -> None:
    recipes.add("one")
    result = recipes.pytester.runpytest_subprocess("recipes", *options)
    result.assert_outcomes(passed=5)
    assert lines(result, "one") == EXPECTED
    assert result.stdout.str().count(WAITS) == len(TIERS)
    assert WAITS not in result.stderr.str()


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("logging.basicConfig(level=logging.DEBUG, force=True)", True),
        ("logging.getLogger().setLevel(logging.CRITICAL)", True),
        ("logging.getLogger('pytest_ccci').setLevel(logging.CRITICAL)", True),
        ("logging.disable(logging.CRITICAL)", False),
    ],
)
def test_what_others_do_to_logging_breaks_no_run_and_doubles_no_line(recipes: Recipes, what: str, shown: bool) -> None:
    recipes.pytester.makeconftest(f"{FAKE}\n{what}\n")
    recipes.add("one")
    result = recipes.pytester.runpytest_subprocess("recipes")
    result.assert_outcomes(passed=5)
    assert lines(result, "one") == (EXPECTED if shown else [])


RAISING = """
import logging

class Gone(logging.Handler):
    def handle(self, record):
        raise BrokenPipeError

def pytest_configure():
    logging.getLogger().addHandler(Gone())
"""


def test_a_handler_that_raises_at_the_root_stops_no_run(recipes: Recipes) -> None:
    recipes.pytester.makeconftest(FAKE + RAISING)
    recipes.add("one")
    result = recipes.pytester.runpytest_subprocess("recipes")
    result.assert_outcomes(passed=5)
    assert lines(result, "one") == EXPECTED


THREADS = """
            import threading
            LOG.info(f"{tier}: {spec_name} waits")
            thread = threading.Thread(target=LOG.info, args=(f"{tier}: {self.recipe} in a thread",))
            thread.start(); thread.join()"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "workers"])
def test_the_lines_of_a_runs_threads_are_its_own_and_two_runs_are_apart(recipes: Recipes, workers: list[str]) -> None:
    told = 'LOG.info(f"{tier}: waiting for backend (starting, 2/5 healthy)")'
    assert told in FAKE
    recipes.pytester.makeconftest(FAKE.replace(told, THREADS.strip().replace("spec_name", "self.recipe")))
    for name in ("one", "two"):
        recipes.add(name)
    result = recipes.pytester.runpytest_subprocess("recipes", *workers)
    result.assert_outcomes(passed=10)
    for name in ("one", "two"):
        told_of = lines(result, name)
        assert [line for line in told_of if "in a thread" in line] == [f"{tier}: {name} in a thread" for tier in TIERS]
        assert len(told_of) == 3 * len(TIERS)


LEAKY = """
import logging

from pytest_ccci.redact import SECRETS

WORD = "Vm4Qz9kX-2retnuh"[::-1]
SECRETS.learn(WORD)


def test_what_the_run_says_is_not_captured(caplog):
    caplog.set_level(0)
    logging.getLogger("pytest_ccci.warm.realms").warning("leased for %s", WORD)
    logging.getLogger("pytest_ccci.warm.realms").info("leased for " + WORD)
    assert caplog.records == []
    raise AssertionError("so that everything captured is shown")
"""
TELLS = 'LOG.warning(f"{tier}: waits for " + "Vm4Qz9kX-2retnuh"[::-1])'
PLACES = ("--junit-xml=j.xml", "-o", "junit_logging=all", "--log-level=DEBUG", "--log-file=run.log", "-rA")


@pytest.mark.parametrize("way", [[], ["-n", "1"], ["--log-cli-level=DEBUG"], ["-s"]], ids=" ".join)
def test_a_secret_in_a_line_of_progress_is_nowhere(recipes: Recipes, way: list[str]) -> None:
    told = 'LOG.info(f"{tier}: waiting for backend (starting, 2/5 healthy)")'
    recipes.pytester.makeconftest(FAKE.replace(told, TELLS))
    recipes.add("one", '[backup]\nverdict = "fail"\nreason = "no"\n[settle]\nverdict = "error"\n', test_app=LEAKY)
    result = recipes.pytester.runpytest_subprocess("recipes", *PLACES, *way)
    result.assert_outcomes(passed=3, failed=2, errors=1)
    assert lines(result, "one").count("leased for [secret]") == 2
    assert "backup: waits for [secret]" in lines(result, "one")
    written = [result.stdout.str(), result.stderr.str()]
    written += [(recipes.root / name).read_text() for name in ("j.xml", "run.log")]
    assert [text.count(SECRET) for text in written] == [0, 0, 0, 0]
    assert "waits for" not in written[2]


def test_outside_of_a_run_nothing_is_installed(recipes: Recipes) -> None:
    recipes.add("one")
    recipes.pytester.makepyfile(test_before=LOOK, test_behind=LOOK)
    result = recipes.pytester.runpytest_subprocess("test_before.py", "recipes", "test_behind.py")
    result.assert_outcomes(passed=7)


def test_a_run_that_cannot_start_leaves_nothing_installed(recipes: Recipes) -> None:
    recipes.add("one", 'cannot_open = "EngineUnavailable"\n')
    recipes.pytester.makepyfile(test_behind=LOOK)
    result = recipes.pytester.runpytest_subprocess("recipes", "test_behind.py")
    result.assert_outcomes(passed=1, errors=1)


def test_the_realm_of_other_tests_is_told_when_it_is_leased_and_given_back(recipes: Recipes) -> None:
    recipes.pytester.makepyfile(test_realm=f"{LOOK}\ndef test_realm(keycloak_realm): test_nothing_is_installed()\n")
    result = recipes.pytester.runpytest_subprocess("test_realm.py")
    result.assert_outcomes(passed=2)
    assert lines(result, "realm") == ["leasing", "giving back"]
