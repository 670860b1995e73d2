from __future__ import annotations

import dataclasses
import json
from itertools import islice

import pytest

from pytest_ccci.errors import Verdict
from pytest_ccci.proofs.rollback import Evidence, Round, Seen, deck, digests, judge_round, readable
from pytest_ccci.results.model import KnownGoodAction, KnownGoodChange, RunResult

BEFORE = Seen({"python a document: 1": "d1", "sql db docs: row": "r1"}, "record", "print", 0)


def result(
    *, verdict: Verdict = Verdict.FAIL, action: KnownGoodAction = "restored-and-proved", mode: str = "quick"
) -> RunResult:
    change = KnownGoodChange(action=action)
    return RunResult(
        run_id="r", recipe="docs", requested_mode="quick", mode=mode, verdict=verdict, started="", known_good=change
    )


def not_held(found: RunResult, after: Seen = BEFORE, lost: str = "") -> list[str]:
    return [one.text for one in judge_round(found, before=BEFORE, after=after, lost=lost) if not one.held]


def test_a_round_in_which_all_was_put_back_holds() -> None:
    assert not_held(result()) == []


@pytest.mark.parametrize(
    ("found", "after", "lost", "text"),
    [
        (result(mode="cold"), BEFORE, "", "the run is quick"),
        (result(verdict=Verdict.PASS), BEFORE, "", "the bad head is red"),
        (result(verdict=Verdict.ERROR), BEFORE, "", "the bad head is red"),
        (result(action="unchanged"), BEFORE, "", "the known-good was restored and proved"),
        (result(action="quarantined"), BEFORE, "", "the known-good was restored and proved"),
        (result(), BEFORE, "the document is gone", "the person finds every document through the app"),
        (
            result(),
            dataclasses.replace(BEFORE, documents={**BEFORE.documents, "sql db docs: row": "r2"}),
            "",
            "every document is what it was, hashed outside the app",
        ),
        (
            result(),
            dataclasses.replace(BEFORE, documents={"sql db docs: row": "r1"}),
            "",
            "every document is what it was, hashed outside the app",
        ),
        (result(), dataclasses.replace(BEFORE, record="other"), "", "the record is byte-identical"),
        (result(), dataclasses.replace(BEFORE, fingerprint="other"), "", "the snapshot is byte-identical"),
        (result(), dataclasses.replace(BEFORE, differences=1), "", "the snapshot is byte-identical"),
    ],
)
def test_each_thing_that_must_be_so_can_fail_by_itself(found: RunResult, after: Seen, lost: str, text: str) -> None:
    assert not_held(found, after, lost) == [text]


def test_no_documents_are_no_proof() -> None:
    nothing = dataclasses.replace(BEFORE, documents={})
    (fact,) = [one for one in judge_round(result(), before=nothing, after=nothing, lost="") if not one.held]
    assert fact.text == "every document is what it was, hashed outside the app"


def test_what_changed_is_named() -> None:
    after = dataclasses.replace(BEFORE, documents={"sql db docs: row": "r1"})
    facts = judge_round(result(), before=BEFORE, after=after, lost="")
    assert "changed: python a document: 1" in [one.seen for one in facts]


def test_the_order_is_random_made_again_from_its_seed_and_leaves_nobody_out() -> None:
    heads = ("a", "b", "c", "d", "e", "f")
    order = list(islice(deck(heads, 7), 20))
    assert order == list(islice(deck(heads, 7), 20))
    assert order != list(islice(deck(heads, 8), 20))
    for start in (0, 6, 12):
        assert set(order[start : start + 6]) == set(heads)
    assert list(deck((), 7)) == []


def test_a_digest_says_whether_a_document_changed() -> None:
    assert digests({"b": b"x", "a": b"y"}) == digests({"a": b"y", "b": b"x"})
    assert digests({"a": b"x"}) != digests({"a": b"y"})


def played(*, good: bool = True) -> Round:
    facts = judge_round(
        result(), before=BEFORE, after=BEFORE if good else dataclasses.replace(BEFORE, record="other"), lost=""
    )
    return Round(
        1, "pr/bad", "c" * 40, "r1", "fail", "upgrade", "x", "restored", "came up", 45.0, BEFORE, BEFORE, facts
    )


def evidence(**changes: object) -> Evidence:
    found = Evidence(
        recipe="docs",
        started="2026-01-01T00:00:00+00:00",
        seed=7,
        release="2.0.0+1",
        commit="c" * 40,
        backend="reflink",
        planted={"python a document: 1": {"sha256": "d1", "size": 9}},
        original=("print", "print"),
        heads=("pr/bad",),
        good_heads=(),
        rounds=(played(),),
        wanted=1,
        seconds=60.0,
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    "changes",
    [
        {"rounds": ()},
        {"wanted": 2},
        {"rounds": (played(good=False),)},
        {"original": ("print", "other")},
        {"planted": {}},
    ],
    ids=["none played", "too few", "one did not hold", "the original changed", "nothing was planted"],
)
def test_a_proof_with_anything_missing_is_none(changes: dict[str, object]) -> None:
    assert evidence().held
    found = evidence(**changes)
    assert not found.held
    assert json.loads(json.dumps(found.as_json()))["held"] is False
    assert "NOT HELD" in readable(found)


def test_the_evidence_is_read_by_people_and_by_programs() -> None:
    text, raw = readable(evidence()), json.loads(json.dumps(evidence().as_json()))
    assert "1 of 1 rounds held, in 60 s: HELD" in text
    assert "d1       9 bytes  python a document: 1" in text
    assert raw["rounds"][0]["before"]["documents"] == dict(BEFORE.documents)
    assert raw["rounds"][0]["held"] is True
    assert raw["schema_version"] == 1
