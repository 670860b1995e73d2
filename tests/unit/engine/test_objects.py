from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from pytest_ccci.engine.objects import is_gone, networks


def refusal(status: int, words: str) -> APIError:
    answer: Any = SimpleNamespace(status_code=status, url="/networks", reason="refused")
    return APIError("refused", response=answer, explanation=words)


def engine_that(*answers: object) -> Any:
    """An engine whose list of networks is each of ``answers`` in turn; an error among them is raised."""
    left = list(answers)

    def listed(**_filters: object) -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(client=SimpleNamespace(api=SimpleNamespace(networks=listed)))


@pytest.mark.parametrize(
    ("status", "words", "gone"),
    [(404, "", True), (500, "network abc not found", True), (500, "disk full", False), (409, "in use", False)],
)
def test_what_is_gone_is_told_by_status_or_words(status: int, words: str, *, gone: bool) -> None:
    assert is_gone(refusal(status, words)) is gone


def test_a_network_that_goes_while_they_are_listed_is_no_failure() -> None:
    engine = engine_that(
        refusal(404, "network abc not found"), refusal(404, "network abc not found"), [{"Name": "proxy"}]
    )
    assert networks(engine) == [{"Name": "proxy"}]


def test_no_network_at_all_is_an_answer() -> None:
    assert networks(engine_that([])) == []


def test_any_other_refusal_passes_through() -> None:
    with pytest.raises(APIError, match="disk full"):
        networks(engine_that(refusal(500, "disk full"), []))
