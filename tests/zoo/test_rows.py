"""The zoo's tables and how its rows are read, written and judged; needs no engine."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from zoo import FALSIFIED, ZOO, Expected, Row, Seen, differences, falsified, load_rows, merge, write

BAD, ODD, UNSEEN = (load_rows(ZOO / name) for name in ("bad.yml", "odd.yml", "unseen.yml"))
ROW = Row("crash", "it dies", Expected("fail", "upgrade", "service app"), words=("exit status 3",), never=("hunter2",))
KNOWN = {"HTTPS_PORT": "443", "MOVING": "zoo:latest", "REGISTRY": "127.0.0.1:5000", "SOCKET": "/d.sock", "STRAY": "zoo"}
KNOWN |= {"SICK": "zoo:sick", "SLOWLY_CHECKED": "zoo:slow"}
SEEN = Seen(ROW.expect, 1, "because upgrade: service app: exit status 3")


def test_there_are_enough_rows_each_with_a_name_of_its_own() -> None:
    assert len(BAD) >= 36
    assert len(ODD) >= 10
    assert [name for name, times in Counter(row.name for row in (*BAD, *ODD, *UNSEEN)).items() if times > 1] == []
    assert {row.name for row in (*BAD, *ODD)} >= set(FALSIFIED)


def test_each_defect_has_words_and_each_odd_one_is_green() -> None:
    assert [row.name for row in BAD if not row.words] == []
    # A row's name is printed in any case.
    assert [row.name for row in (*BAD, *ODD) if any(words in row.name for words in row.words)] == []
    assert [row.name for row in ODD if row.expect != Expected("pass")] == []
    assert [row.name for row in (*BAD, *ODD) if row.not_yet] == []
    assert [row.name for row in UNSEEN if not row.not_yet] == []


@pytest.mark.parametrize("row", [*BAD, *ODD, *UNSEEN], ids=lambda row: row.name)
def test_each_row_changes_something_and_can_be_read(row: Row, tmp_path: Path) -> None:
    folder, good = write(row, tmp_path / "row", KNOWN), write(ODD[0], tmp_path / "good", KNOWN)
    texts = [{p.relative_to(at): p.read_text("utf-8") for p in at.rglob("*") if p.is_file()} for at in (folder, good)]
    assert (texts[0] != texts[1]) == (row.name != "the-good-one")
    tomllib.loads((folder / "recipe.toml").read_text("utf-8"))
    for compose in folder.glob("releases/*/compose.yml"):
        assert "app" in yaml.safe_load(compose.read_text("utf-8"))["services"]


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}}, {"a": 1, "b": {"c": 4, "d": 3}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_a_patch_is_merged_as_the_rfc_says(target: Any, patch: Any, merged: Any) -> None:
    assert merge(target, patch) == merged


def test_an_unknown_key_of_a_row_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "rows.yml"
    table.write_text("slow:\n  planted: x\n  expect: [pass]\n  heads: {}\n", "utf-8")
    with pytest.raises(ValueError, match=r"rows.yml: slow: unknown heads"):
        load_rows(table)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (SEEN, []),
        (replace(SEEN, came_to=Expected("pass"), rc=0), ["it came to pass, not to fail upgrade service app"]),
        (replace(SEEN, came_to=replace(ROW.expect, blame="service db")), ["it came to fail upgrade service db, not"]),
        (replace(SEEN, rc=0), ["pytest ended with 0, the run with fail"]),
        (replace(SEEN, printed="because"), ["nothing printed says: exit status 3"]),
        (replace(SEEN, kept="password: hunter2"), ["it shows: hunter2"]),
        (replace(SEEN, left=("zoo_app",)), ["left on the engine: zoo_app"]),
    ],
)
def test_whatever_is_not_as_the_row_says_is_told(seen: Seen, told: list[str]) -> None:
    found = differences(ROW, seen)
    assert len(found) == len(told)
    assert all(text in each for text, each in zip(told, found, strict=True))


@pytest.mark.parametrize("row", [*BAD, *ODD], ids=lambda row: row.name)
def test_a_falsified_row_is_not_met_by_what_the_row_expects(row: Row) -> None:
    met = Seen(
        replace(row.expect, tier=row.expect.tier.split("|")[0]), int(row.expect.verdict != "pass"), " ".join(row.words)
    )
    assert differences(row, met) == ()
    assert differences(falsified(row), met) != ()
