from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from pytest_ccci.results.model import RunResult

if TYPE_CHECKING:
    from tests.functional.conftest import Recipes

FAKE_RUN = (Path(__file__).parent / "fake_run.txt").read_text(encoding="utf-8")
SECRET = "hunter2-hunter2"
LEAKY = """
import logging
from pytest_ccci.redact import SECRETS
SECRETS.learn("-".join(["hunter2"] * 2))
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


PLANTED = "hunter2+7/words-Xk9zQ4mV"
LEAKS = """
import base64
import logging
import sys
import warnings
from urllib.parse import quote

import pytest

from pytest_ccci.redact import SECRETS

WORD = "Vm4Qz9kX-sdrow/7+2retnuh"[::-1]
SECRETS.learn(WORD)


@pytest.fixture
def broken():
    raise RuntimeError("no fixture for " + WORD)


@pytest.fixture
def torn():
    yield
    raise RuntimeError("no teardown for " + WORD)


def test_fixture(broken): pass
def test_teardown(torn): pass
def test_compare(): assert WORD == "nothing"
def test_part(): assert "nothing" in {"page": ["<p>" + WORD]}
def test_shortened(): assert "a" * 230 + WORD + "b" * 230 == ""
def test_long(): assert "a" * 90 + WORD + "x" == "a" * 90 + WORD[:9] + "y"
def test_many(): assert [WORD] * 40 == []
def test_basic(): assert "Basic " + base64.b64encode(("me:" + WORD).encode()).decode() == ""
def test_url(): raise RuntimeError("GET /?key=" + quote(WORD, safe=""))
def test_skip(): pytest.skip("not with " + WORD)
def test_xfail(): pytest.xfail("not with " + WORD)
def test_warns(): warnings.warn(UserWarning("warned of " + WORD))
def test_warns_oddly():
    class Told:
        def __str__(self): return "told of " + WORD
    warnings.warn(UserWarning(Told()))
def test_locals():
    inner = {"password": WORD, "list": [WORD]}
    raise RuntimeError("see the locals")
def test_output(record_property):
    record_property("token", WORD)
    print("printed", WORD)
    print("complained of", WORD, file=sys.stderr)
    logging.getLogger().error("logged %s", WORD)
    raise AssertionError
def test_chain():
    try:
        raise ValueError(WORD)
    except ValueError as error:
        raise KeyError("a") from error
"""
TIERS = f"""
backwards_secrets = []
[upgrade]
verdict = "pass"
[backup]
verdict = "fail"
reason = "the backup failed: cannot log in as app:{PLANTED}@db"
evidence = {{ "last lines of db" = "FATAL: {PLANTED}" }}
[settle]
verdict = "error"
reason = "left: {PLANTED}"
"""
OFF = """
from pytest_ccci.redact import Redactor
Redactor.scrub = lambda self, text: text
Redactor.scrub_all = lambda self, value, but=(): value
"""
EVERYTHING = (
    "-rA",
    "-v",
    "--showlocals",
    "--junit-xml=j.xml",
    "--log-file=run.log",
    *("-o", "filterwarnings=default"),
    *("-o", "junit_logging=all"),
    *("-o", "junit_family=xunit1"),
)


def told(text: str) -> set[str]:
    """Every piece of the planted secret, and of its encodings, that is in ``text``: found by windows of ten."""
    forms = [PLANTED, quote(PLANTED, safe="")]
    forms += [base64.b64encode(b" " * n + PLANTED.encode()).decode()[4:-4] for n in range(3)]
    return {form[n : n + 10] for form in forms for n in range(len(form) - 9) if form[n : n + 10] in text}


def places(recipes: Recipes, result: pytest.RunResult) -> dict[str, str]:
    """Everything that the session wrote, by where: terminal, and each file that was not there before."""
    given = {"conftest.py", "tox.ini", "pytest.ini"}
    found = {"stdout": result.stdout.str(), "stderr": result.stderr.str()}
    for path in recipes.root.rglob("*"):
        inside = path.relative_to(recipes.root)
        if path.is_file() and inside.parts[0] not in {"recipes", "__pycache__"} and path.name not in given:
            # What pytester itself copies of the output is there, too.
            text = path.read_text("utf-8", "replace")
            # As a reader of it sees it, where each special character is an entity.
            found[str(inside)] = html.unescape(text) if path.suffix == ".md" else text
    return found


WAYS = [
    pytest.param([], id="alone"),
    pytest.param(["-n", "2"], id="two workers"),
    pytest.param(["--tb=short", "-o", "log_cli=true"], id="live log"),
]


@pytest.mark.parametrize("way", [*WAYS, pytest.param(["-s", "-p", "no:randomly"], id="not captured")])
def test_a_planted_secret_is_nowhere_in_what_a_session_writes(
    recipes: Recipes, way: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(recipes.root / "step.md"))
    recipes.add("one", TIERS, test_app=LEAKS)
    result = recipes.pytester.runpytest_subprocess("recipes", *EVERYTHING, *way)
    found = places(recipes, result)
    assert {place: told(text) for place, text in found.items() if told(text)} == {}
    assert {"j.xml", "run.log", "step.md"} <= set(found)
    assert any(place.endswith("results.json") for place in found)
    for word in ("no fixture for [secret]", "the backup failed: cannot log in as app:[secret]@db", "left: [secret]"):
        assert word in found["stdout"], word


@pytest.mark.parametrize("way", WAYS)
def test_with_the_redactor_off_it_is_found_in_each_of_these_places(
    recipes: Recipes, way: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(recipes.root / "step.md"))
    recipes.add("one", TIERS, test_app=LEAKS)
    recipes.pytester.makeconftest(FAKE_RUN + OFF)
    result = recipes.pytester.runpytest_subprocess("recipes", *EVERYTHING, *way)
    leaky = {place for place, text in places(recipes, result).items() if told(text)}
    assert {"stdout", "j.xml", "step.md"} <= leaky
    assert any(place.endswith("results.json") for place in leaky)
    if way != ["-n", "2"]:  # a worker has no log file
        assert "run.log" in leaky


def test_what_an_operator_is_shown_stays_readable_where_a_secret_is_a_usual_word(recipes: Recipes) -> None:
    script = 'backwards_secrets = ["nimda", "ssap", "eno"]\n[settle]\nverdict = "fail"\nreason = "admin cannot pass"\n'
    recipes.add("one", script, test_app="def test_it(app): pass\n")
    result = recipes.pytester.runpytest_subprocess("recipes")
    assert "settle: fail after 1.5 s: admin cannot pass" in result.stdout.str()
    [path] = (recipes.root / "state").rglob("results.json")
    assert RunResult.model_validate_json(path.read_bytes()).recipe == "one"
