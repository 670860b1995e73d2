"""When a known-good was last read stands beside it, and decides nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_ccci.store.canonical import CanonicalStore, LastRead


@pytest.fixture
def kept(store: CanonicalStore, seed: Any) -> CanonicalStore:
    (store.live("db") / "a").write_text("a" * 100)
    seed.good(store)
    return store


def test_what_was_read_and_is_whole_is_noted_for_the_next_process(kept: CanonicalStore) -> None:
    assert kept.last_read() == LastRead()

    assert kept.read_whole() == ()

    note = CanonicalStore(kept.layout.root, "demo").last_read()
    assert note.last
    assert note.whole == note.last


def test_what_is_damaged_was_read_and_was_whole_when_it_was_before(kept: CanonicalStore) -> None:
    kept.read_whole()
    before = kept.last_read()
    record = kept.record()
    assert record is not None
    kept.layout.verified.write_text(json.dumps({record.snapshot_id: {"last": "2026", "whole": "2026"}}))
    (kept.layout.snapshot(record.snapshot_id).volumes / "db" / "a").write_text("b" * 100)

    assert [one.path for one in kept.read_whole()] == ["db/a"]

    assert kept.last_read().last >= before.last
    assert kept.last_read().whole == "2026"


def test_a_look_without_reading_is_no_reading(kept: CanonicalStore) -> None:
    kept.verify(read_data=False)
    assert kept.last_read() == LastRead()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"x": 1}', "null", '{"@": 1}', '{"@": {"last": 1}}'])
def test_a_note_that_cannot_be_read_counts_as_never(kept: CanonicalStore, text: str) -> None:
    record = kept.record()
    assert record is not None
    kept.layout.verified.write_text(text.replace("@", record.snapshot_id))

    assert kept.last_read() == LastRead()
    assert kept.read_whole() == ()
    assert kept.last_read().whole


def test_a_new_known_good_was_never_read_and_the_old_note_goes(kept: CanonicalStore, seed: Any) -> None:
    kept.read_whole()
    record = seed.good(kept)
    assert kept.last_read() == LastRead()

    kept.read_whole()

    assert set(json.loads(kept.layout.verified.read_bytes())) == {record.snapshot_id}
