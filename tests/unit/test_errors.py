from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Iterator

import pytest

from pytest_ccci import errors
from pytest_ccci.errors import CcciError, ProgramFailed, UsageError, Verdict


def tree(kind: type[CcciError] = CcciError) -> Iterator[type[CcciError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


KINDS = tuple(tree())
LEAVES = tuple(kind for kind in KINDS if not kind.__subclasses__())


def drawn() -> dict[str, tuple[str, int]]:
    """The tree as the docstring draws it: per name, the verdict beside it and its depth."""
    found = {}
    for line in (errors.__doc__ or "").splitlines():
        row = re.match(r"^    ([│ ]*[├└]── )?(\w+)(?: +(fail|error|skip|unverified)\b)?", line)
        if row and row[2] in {kind.__name__ for kind in KINDS}:
            found[row[2]] = (row[3] or "", len(row[1] or "") // 4)
    return found


def test_the_docstring_draws_every_error_at_its_place_and_no_other() -> None:
    depth = {kind.__name__: len(kind.__mro__) - len(CcciError.__mro__) for kind in KINDS}
    assert {name: place for name, (_, place) in drawn().items()} == depth


def test_the_docstring_names_the_verdict_of_each_branch() -> None:
    branches = {name: verdict for name, (verdict, _) in drawn().items() if verdict}
    assert branches == {
        "RecipeFault": "fail",
        "InfrastructureFault": "error",
        "NotShown": "unverified",
        "Refused": "skip",
    }
    for name, verdict in branches.items():
        assert getattr(errors, name).verdict == verdict


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_has_the_verdict_of_its_branch(kind: type[CcciError]) -> None:
    branches = (errors.UsageError, errors.RecipeFault, errors.InfrastructureFault, errors.NotShown, errors.Refused)
    (branch,) = (each for each in branches if issubclass(kind, each))
    assert kind.verdict is branch.verdict
    assert isinstance(kind.verdict, Verdict)
    assert kind.verdict is not Verdict.PASS


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_public_and_says_what_it_stands_for(kind: type[CcciError]) -> None:
    assert kind.__name__ in errors.__all__
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_with_its_fields(kind: type[CcciError]) -> None:
    if issubclass(kind, ProgramFailed):
        error: CcciError = kind("git ended", rc=128, tail="fatal", where="hedgedoc", advice="look")
    else:
        error = kind("it went wrong", where="hedgedoc", seen="a 502", advice="try again")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
    assert again.args == error.args


def test_a_program_that_failed_keeps_status_and_tail_over_pickling() -> None:
    again = pickle.loads(pickle.dumps(ProgramFailed("git ended", rc=128, tail="fatal: no")))  # noqa: S301  our own bytes
    assert (again.rc, again.tail) == (128, "fatal: no")


def test_the_text_says_where_what_was_seen_and_what_to_try() -> None:
    error = UsageError("no such ref", where="hedgedoc", seen="a branch of that name", advice="give the full commit")
    assert str(error) == "hedgedoc: no such ref\n  seen: a branch of that name\n  try:  give the full commit"


def test_a_reason_begins_with_the_cause_and_says_where_below() -> None:
    error = UsageError("no such ref", where="hedgedoc", seen="a branch of that name", advice="give the full commit")
    assert error.reason() == (
        "no such ref\n  at:   hedgedoc\n  seen: a branch of that name\n  try:  give the full commit"
    )
    assert UsageError("no such ref").reason() == "no such ref"


def test_the_text_is_one_line_where_nothing_else_is_known() -> None:
    assert str(UsageError("no such ref")) == "no such ref"


def test_only_one_verdict_is_green() -> None:
    assert [str(verdict) for verdict in Verdict] == ["pass", "fail", "error", "skip", "unverified"]
