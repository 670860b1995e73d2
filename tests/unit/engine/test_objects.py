from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from pytest_ccci.engine.objects import bind_volumes, check_bound, is_gone, networks
from pytest_ccci.errors import InfrastructureFault


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


class Volumes:
    """An engine's volumes, by name with their options."""

    def __init__(self, **options: dict[str, str] | None) -> None:
        self.options = options

    def get(self, name: str) -> Any:
        if name not in self.options:
            raise NotFound("no such volume")
        return SimpleNamespace(attrs={"Options": self.options[name]})

    def create(self, name: str, *, driver_opts: dict[str, str], **_: object) -> None:
        self.options[name] = driver_opts


def engine_with(volumes: Volumes) -> Any:
    return SimpleNamespace(client=SimpleNamespace(volumes=volumes))


def test_a_volume_that_is_gone_is_made_again_and_another_of_its_name_is_refused(tmp_path: Path) -> None:
    volumes = Volumes(foreign=None, moved={"type": "none", "o": "bind", "device": "/elsewhere"})
    bind_volumes(engine_with(volumes), {"data": tmp_path / "data"}, labels={})
    assert volumes.options["data"] == {"type": "none", "o": "bind", "device": str(tmp_path / "data")}
    bind_volumes(engine_with(volumes), {"data": tmp_path / "data"}, labels={})
    for name in ("foreign", "moved"):
        with pytest.raises(InfrastructureFault, match="exists and is not ours"):
            bind_volumes(engine_with(volumes), {name: tmp_path / name}, labels={})


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, "it is gone"),
        ({"data": None}, "options none"),
        ({"data": {"device": "/elsewhere"}}, "/elsewhere"),
    ],
)
def test_a_volume_that_somebody_removed_before_the_first_task_is_no_fault_of_the_app(
    options: dict[str, dict[str, str] | None], seen: str
) -> None:
    with pytest.raises(InfrastructureFault, match="somebody removed it meanwhile") as caught:
        check_bound(engine_with(Volumes(**options)), {"data": Path("/store/data")})
    assert seen in caught.value.seen


def test_a_volume_that_is_bound_as_it_was_is_attached() -> None:
    check_bound(engine_with(Volumes(data={"device": "/store/data"})), {"data": Path("/store/data")})
