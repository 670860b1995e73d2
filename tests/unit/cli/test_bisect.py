from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_ccci.cli.bisect import Search, base_for
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import RefError, StoreDamaged
from pytest_ccci.ops.bisect import Judgement, Step
from pytest_ccci.recipe.repository import Head
from pytest_ccci.store.record import KnownGood

HISTORY = tuple(letter * 40 for letter in "0123456789")


@dataclass
class Line:
    """A repository of one line."""

    name: str = "docs"

    def is_ancestor(self, older: str, newer: Head) -> bool:
        return older in HISTORY and HISTORY.index(older) <= HISTORY.index(newer.commit)

    def subject(self, commit: str) -> str:
        return f"change {HISTORY.index(commit)}"


MIRROR: Any = Line()


def head(number: int) -> Head:
    return Head(f"v{number}", HISTORY[number], version=f"v{number}")


def good_of(number: int) -> KnownGood:
    return KnownGood(
        release=f"{number}.0.0+1",
        commit=HISTORY[number],
        domain="warm-docs.ci.test",
        run_id="r",
        since="now",
        snapshot_id=f"s{number}",
        volumes=(),
        manifest_digest="a" * 64,
        complete_digest="b" * 64,
        files=1,
        size=1,
    )


Look = Callable[..., tuple[int, str, list[int]]]


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Look:
    """A search from 0 to 9 in which each commit says what ``verdict`` does; status, what was said, what was tried."""

    def search(verdict: Callable[[int], Judgement], *, base: int = 0, good: int = 0) -> tuple[int, str, list[int]]:
        tried: list[int] = []

        def one(commit: str) -> Step:
            number = HISTORY.index(commit)
            tried.append(number)
            judgement = verdict(number)
            why = {"good": "", "bad": "upgrade: broken", "skip": "error, no verdict on the commit"}[judgement]
            return Step(commit, judgement, why, 1.0, "quick", f"r{number}", f"pytest --quick --ccci-ref {commit}")

        line = HISTORY[good + 1 :]
        rc = Search(MIRROR, good_of(base), head(good), head(9), line, one, Terminal()).run()
        told = capsys.readouterr()
        return rc, told.out + told.err, tried

    return search


@pytest.mark.parametrize("first", range(1, 10))
def test_the_first_bad_commit_is_named_with_its_reason_and_how_to_see_it(look: Look, first: int) -> None:
    rc, text, tried = look(lambda number: "bad" if number >= first else "good")
    assert rc == 0
    assert f"the first bad commit is {HISTORY[first]}  change {first}" in text
    assert "because     upgrade: broken" in text
    assert f"again with  pytest --quick --ccci-ref {HISTORY[first]}" in text
    assert len(tried) <= 5
    assert len(set(tried)) == len(tried)
    assert 0 not in tried, "the known-good itself is not tried"


def test_a_run_that_is_no_verdict_is_skipped_and_said(look: Look) -> None:
    rc, text, tried = look(lambda number: "skip" if number == 4 else "bad" if number >= 8 else "good")
    assert rc == 0
    assert f"the first bad commit is {HISTORY[8]}" in text
    assert 4 in tried
    assert f"{HISTORY[4][:10]} is skip: error, no verdict on the commit" in text


def test_where_skips_leave_more_than_one_all_are_named_and_it_is_no_success(look: Look) -> None:
    rc, text, _ = look(lambda number: "skip" if number in {4, 5} else "bad" if number >= 6 else "good")
    assert rc == 1
    assert "the first bad commit is one of 3:" in text
    assert f"{HISTORY[4][:10]} change 4  skipped: its run was no verdict" in text
    assert f"{HISTORY[6][:10]} change 6" in text


def test_a_good_end_that_is_not_the_known_good_is_tried_first(look: Look) -> None:
    rc, _, tried = look(lambda number: "bad" if number >= 6 else "good", base=1, good=3)
    assert (rc, tried[:2]) == (0, [3, 9])


@pytest.mark.parametrize("says", ["bad", "skip"])
def test_a_good_end_that_is_not_good_ends_the_search(look: Look, says: Judgement) -> None:
    rc, text, tried = look(lambda number: says if number == 3 else "bad", base=1, good=3)
    assert (rc, tried) == (1, [3])
    assert f"is to be good, and is {says}" in text


def test_a_bad_end_that_is_not_bad_ends_the_search(look: Look) -> None:
    rc, text, tried = look(lambda _: "good")
    assert (rc, tried) == (1, [9])
    assert "is to be bad, and is good" in text


def test_the_newest_kept_known_good_that_the_good_one_builds_on_is_the_base() -> None:
    goods = (good_of(7), good_of(4), good_of(2))
    assert base_for(goods, head(5), MIRROR) == goods[1]
    assert base_for(goods, head(7), MIRROR) == goods[0]
    with pytest.raises(RefError, match="data does not go back") as caught:
        base_for(goods, head(1), MIRROR)
    assert "7.0.0+1, 4.0.0+1, 2.0.0+1" in caught.value.seen
    with pytest.raises(StoreDamaged, match="no known-good to start from"):
        base_for((), head(1), MIRROR)
