from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ccci.errors import Verdict
from pytest_ccci.ops.bisect import Judgement, answer, judgement_of, next_commit, steps_left
from pytest_ccci.results.model import RunResult, TierResult

LINE = tuple("abcdefgh")
"""Seven commits after the good one, and the bad one, which is h."""


def run(verdict: Verdict, tier: Verdict = Verdict.PASS, reason: str = "") -> RunResult:
    tiers = (TierResult(tier="install", verdict=Verdict.PASS), TierResult(tier="upgrade", verdict=tier, reason=reason))
    return RunResult(
        run_id="r", recipe="docs", requested_mode="quick", mode="quick", verdict=verdict, started="", tiers=tiers
    )


@pytest.mark.parametrize(
    ("result", "judgement", "why"),
    [
        (run(Verdict.PASS), "good", ""),
        (run(Verdict.FAIL, Verdict.FAIL, "the login is gone\nmore"), "bad", "upgrade: the login is gone"),
        (run(Verdict.ERROR, Verdict.ERROR, "disk full"), "skip", "error, no verdict on the commit: upgrade: disk full"),
        (run(Verdict.UNVERIFIED, Verdict.UNVERIFIED, "x"), "skip", "unverified, no verdict on the commit: upgrade: x"),
        (run(Verdict.SKIP), "skip", "skip, no verdict on the commit"),
    ],
)
def test_only_pass_and_fail_are_verdicts_on_a_commit(result: RunResult, judgement: str, why: str) -> None:
    assert judgement_of(result) == (judgement, why)


@pytest.mark.parametrize(
    ("said", "following", "candidates"),
    [
        ({}, "d", "abcdefgh"),
        ({"d": "bad"}, "b", "abcd"),
        ({"d": "good"}, "f", "efgh"),
        ({"d": "bad", "b": "good"}, "c", "cd"),
        ({"d": "bad", "b": "good", "c": "good"}, None, "d"),
        ({"d": "bad", "b": "good", "c": "bad"}, None, "c"),
        ({"d": "bad", "b": "bad", "a": "bad"}, None, "a"),
        ({"d": "skip"}, "c", "abcdefgh"),
        ({"d": "skip", "c": "skip"}, "e", "abcdefgh"),
        ({"d": "skip", "c": "good", "e": "bad"}, None, "de"),
        ({"h": "bad"}, "d", "abcdefgh"),
        (dict.fromkeys("abcdefg", "skip"), None, "abcdefgh"),
    ],
)
def test_what_is_tried_next_and_what_is_known(
    said: dict[str, Judgement], following: str | None, candidates: str
) -> None:
    assert next_commit(LINE, said) == following
    known = answer(LINE, said)
    assert "".join(known.candidates) == candidates
    assert known.found == (candidates if len(candidates) == 1 else "")
    assert known.skipped == tuple(one for one in candidates if said.get(one) == "skip")


def test_a_line_of_one_needs_no_step() -> None:
    assert next_commit(("a",), {}) is None
    assert answer(("a",), {}).found == "a"
    assert steps_left(("a",), {}) == 0


@given(length=st.integers(1, 200), data=st.data())
def test_the_first_bad_commit_is_found_in_as_many_steps_as_halving_takes(length: int, data: st.DataObject) -> None:
    line = tuple(str(number) for number in range(length))
    first = data.draw(st.integers(0, length - 1))
    said: dict[str, Judgement] = {}
    promised = steps_left(line, said)
    while (following := next_commit(line, said)) is not None:
        assert following not in said
        said[following] = "bad" if int(following) >= first else "good"
    assert answer(line, said).found == str(first)
    assert len(said) <= promised <= math.ceil(math.log2(length + 1))


@given(length=st.integers(1, 60), data=st.data())
def test_with_skips_the_first_bad_one_is_always_among_the_candidates_and_they_are_as_few_as_can_be(
    length: int, data: st.DataObject
) -> None:
    line = tuple(str(number) for number in range(length))
    first = data.draw(st.integers(0, length - 1))
    untestable = data.draw(st.sets(st.integers(0, max(length - 2, 0)))) - {length - 1}
    said: dict[str, Judgement] = {}
    while (following := next_commit(line, said)) is not None:
        number = int(following)
        said[following] = "skip" if number in untestable else "bad" if number >= first else "good"
    known = answer(line, said)
    assert str(first) in known.candidates
    assert set(known.candidates[:-1]) <= {str(number) for number in untestable}
