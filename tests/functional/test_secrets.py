from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

SECRET = "hunter2-hunter2"
LEAKY = """
import logging
from pytest_ccci.results.redact import SECRETS
SECRETS.register("-".join(["hunter2"] * 2))
import pytest
@pytest.fixture
def token(): return "-".join(["hunter2"] * 2)
def test_compare(token): assert token == "nothing"
def test_locals(token):
    inner = {"password": token, "list": [token]}
    raise RuntimeError("for " + token)
def test_output(token, record_property):
    record_property("token", token)
    print("printed", token)
    logging.getLogger().warning("logged %s", token)
    assert 0
def test_chain(token):
    try:
        raise ValueError(token)
    except ValueError as error:
        raise KeyError("a") from error
"""


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native"])
@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_no_registered_secret_reaches_the_terminal_or_junit(recipes: Recipes, style: str, workers: list[str]) -> None:
    recipes.add("one", test_app=LEAKY)
    options = (
        "--showlocals",
        f"--tb={style}",
        "--junit-xml=j.xml",
        "-o",
        "junit_logging=all",
        "-o",
        "junit_family=xunit1",
    )
    result = recipes.pytester.runpytest_subprocess("recipes", *options, *workers)
    result.assert_outcomes(passed=5, failed=4)
    assert SECRET not in result.stdout.str()
    assert SECRET not in (recipes.root / "j.xml").read_text()
    for path in (recipes.root / "state").rglob("results.json"):
        assert SECRET not in path.read_text()
    assert "[secret]" in (recipes.root / "j.xml").read_text()


def test_what_a_run_says_is_secret_is_hidden_from_then_on(recipes: Recipes) -> None:
    script = 'backwards_secrets = ["2retnuh-2retnuh"]\n[settle]\nverdict = "fail"\nreason = "see hunter2-hunter2"\n'
    recipes.add("one", script, test_app="def test_it(app):\n    assert '2retnuh-2retnuh'[::-1] == app\n")
    result = recipes.pytester.runpytest_subprocess("recipes", "--junit-xml=j.xml")
    result.assert_outcomes(passed=4, failed=2)
    progress = [line for line in result.outlines if line.startswith("ccci one")]
    assert "settle: fail after 1.5 s: see [secret]" in progress[-1]
    assert SECRET not in (recipes.root / "j.xml").read_text()
    assert "assert '[secret]'" in result.stdout.str()
