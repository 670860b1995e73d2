from __future__ import annotations

from typing import Any

import pytest

from pytest_ccci.errors import CcciError, RefError, Refused
from pytest_ccci.recipe.repository import Head
from pytest_ccci.run.known_good import chosen, kept_goods, kept_releases, one_of_all, require_base
from pytest_ccci.run.plan import base_problem
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

COMMITS = ("1" * 40, "2" * 40, "3" * 40, "4" * 40)
"""A line of history: each builds on the one before."""
R1, R2, R3 = "1.0.0+1", "1.1.0+1", "2.0.0+1"


class Line:
    """The repository's answers."""

    def is_ancestor(self, older: Head, newer: str) -> bool:
        return COMMITS.index(older.commit) <= COMMITS.index(newer)


MIRROR: Any = Line()


def at(number: int, *, dirty: bool = False) -> Head:
    return Head("tip", COMMITS[number - 1], version=f"v{number}", dirty=dirty)


@pytest.fixture
def store(state: StateDir) -> CanonicalStore:
    """A canonical that keeps three known-goods: of the first three commits."""
    store = CanonicalStore(state.canonical("docs"), "docs", keep=3)
    for release, commit in zip((R1, R2, R3), COMMITS, strict=False):
        (store.live("data") / "file").write_text(release)
        taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
        store.promote(taken, release=release, commit=commit, domain="warm-docs.ci.test", run_id="r")
    return store


def quick(state: StateDir, base: str) -> Settings:
    return resolve({"mode": "quick", "base": base, "state_dir": str(state.root)}, {}, {})


@pytest.mark.parametrize(
    ("commit", "head", "older", "why"),
    [
        ("3", at(4), False, ""),
        ("3", at(3), False, "head is the known-good of 2.0.0+1 itself: there is nothing to upgrade"),
        ("3", at(3, dirty=True), False, ""),
        ("3", at(2), True, "head is older than the known-good of 2.0.0+1: data does not go back"),
    ],
)
def test_what_head_cannot_be_upgraded_to_from(commit: str, head: Head, *, older: bool, why: str) -> None:
    assert base_problem(R3, commit * 40, head, older=older) == why


def test_a_run_from_each_goes_from_the_oldest_to_the_newest(state: StateDir, store: CanonicalStore) -> None:
    assert kept_releases(quick(state, "all"), "docs") == (R1, R2, R3)
    assert [good.release for good in kept_goods(state, "docs")] == [R3, R2, R1]
    assert kept_releases(quick(state, "all"), "wiki") == ()
    assert not state.canonical("wiki").exists(), "a look makes nothing"
    assert store.record() is not None


def test_the_one_that_is_named_is_chosen_and_without_a_name_the_newest(store: CanonicalStore) -> None:
    record = store.record()
    found = [chosen(record, name) for name in ("", R1, "9.9.9+9")]
    assert [good.release if good else None for good in found] == [R3, R1, None]
    assert chosen(None, "") is None


def refusal(state: StateDir, base: str, head: Head) -> CcciError | None:
    try:
        require_base("docs", quick(state, base), head, MIRROR, kept_goods(state, "docs"))
    except CcciError as error:
        return error
    return None


@pytest.mark.usefixtures("store")
def test_a_kept_one_that_head_builds_on_is_fine(state: StateDir) -> None:
    assert [refusal(state, base, at(4)) for base in (R1, R2, R3)] == [None] * 3


@pytest.mark.usefixtures("store")
def test_one_that_is_not_kept_is_refused_with_those_that_are(state: StateDir) -> None:
    error = refusal(state, "0.9.0+1", at(4))
    assert isinstance(error, RefError)
    assert "no known-good of release 0.9.0+1 is kept" in str(error)
    assert f"{R3}, {R2}, {R1}" in error.seen


@pytest.mark.parametrize("base", ["all", R1])
def test_where_none_is_kept_that_is_the_refusal(state: StateDir, base: str) -> None:
    error = refusal(state, base, at(4))
    assert isinstance(error, RefError)
    assert "kept: none" in error.seen
    assert "keep = 3" in error.advice


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("number", "why"), [(2, "nothing to upgrade"), (1, "data does not go back")])
def test_an_equal_or_older_head_is_refused_where_the_base_was_named(state: StateDir, number: int, why: str) -> None:
    error = refusal(state, R2, at(number))
    assert isinstance(error, RefError)
    assert why in str(error)


@pytest.mark.usefixtures("store")
def test_of_several_only_those_are_skipped_that_do_not_apply_unless_none_does(state: StateDir) -> None:
    goods = kept_goods(state, "docs")

    def each(base: str, head: Head) -> None:
        require_base("docs", one_of_all(quick(state, "all"), base), head, MIRROR, goods)

    each(R1, at(2))
    for base in (R2, R3):
        with pytest.raises(Refused):
            each(base, at(2))
        with pytest.raises(RefError):
            each(base, at(1))
