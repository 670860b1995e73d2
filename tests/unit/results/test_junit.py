from __future__ import annotations

from pytest_ccci.errors import Verdict
from pytest_ccci.results.junit import PROPERTIES, properties, suite_properties
from pytest_ccci.results.model import RunResult


def run(recipe: str) -> RunResult:
    return RunResult(
        run_id="r", recipe=recipe, requested_mode="quick", mode="cold", verdict=Verdict.PASS, started="now"
    )


def test_all_properties_are_strings_even_when_unknown() -> None:
    made = properties(recipe="one", verdict=Verdict.ERROR, requested_mode="quick")
    assert list(made) == [f"ccci.{name}" for name in PROPERTIES]
    assert all(type(value) is str for value in made.values())
    assert made["ccci.mode"] == "quick"


def test_one_run_has_plain_names_and_several_are_keyed_by_recipe() -> None:
    assert dict(suite_properties([run("one")]))["ccci.verdict"] == "pass"
    both = dict(suite_properties([run("one"), properties(recipe="two", verdict="error", requested_mode="cold")]))
    assert both["ccci.verdict[one]"] == "pass"
    assert both["ccci.verdict[two]"] == "error"
    assert len(both) == 16
