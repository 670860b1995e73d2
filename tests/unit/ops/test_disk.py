"""When a file system is low, and when an operator is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pytest_ccci.ops import disk
from pytest_ccci.ops.disk import FileSystem, file_systems, is_low, is_restored, news, watch
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.disk import Room
from pytest_ccci.warm.alerts import AlertKind, open_alerts

NOW = datetime(2026, 7, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("free", "inodes", "all_inodes", "low", "restored"),
    [
        (99, 0, 0, True, False),
        (100, 0, 0, False, False),
        (199, 0, 0, False, False),
        (200, 0, 0, False, True),
        (200, 19, 1000, True, False),
        (200, 20, 1000, False, False),
        (200, 40, 1000, False, True),
    ],
)
def test_what_begins_below_the_low_mark_goes_on_to_the_high_one(
    free: int, inodes: int, all_inodes: int, low: bool, restored: bool
) -> None:
    room = Room(1, free, 1000, inodes, all_inodes)
    assert (is_low(room, 100), is_restored(room, 100)) == (low, restored)


def test_a_file_system_is_told_once_with_all_that_is_on_it() -> None:
    rooms = {Path("/s"): Room(1, 50, 90, 3, 9), Path("/c"): Room(2, 500, 900, 0, 0), Path("/e"): Room(1, 50, 90, 3, 9)}
    found = file_systems({"state": Path("/s"), "canonical": Path("/c"), "engine": Path("/e")}, keep_free=100,
                         room_of=rooms.__getitem__)  # fmt: skip
    assert [(one.places, one.low) for one in found] == [(("state", "engine"), True), (("canonical",), False)]
    assert str(found[0]) == "state and engine at /s: 50 B of 90 B, 3 of 9 inodes free"
    assert str(found[1]) == "canonical at /c: 500 B of 900 B free"


def made(path: str, *, low: bool) -> FileSystem:
    return FileSystem(("state",), path, 1, 9, 0, 0, low)


@pytest.mark.parametrize(
    ("low", "told", "due", "after"),
    [
        (False, {}, False, set()),
        (True, {}, True, {"/s"}),
        (True, {"/s": 23}, False, {"/s"}),
        (True, {"/s": 24}, True, {"/s"}),
        (False, {"/s": 1}, False, set()),
        (True, {"/gone": 1}, True, {"/s"}),
    ],
)
def test_an_operator_is_told_once_and_anew_after_a_time(
    low: bool, told: dict[str, int], due: bool, after: set[str]
) -> None:
    times = {path: (NOW - timedelta(hours=hours)).isoformat() for path, hours in told.items()}
    found, kept = news([made("/s", low=low)], times, now=NOW, again=86400)
    assert (bool(found), set(kept)) == (due, after)


def test_a_watcher_alerts_once(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Settings = resolve({"state_dir": str(state.root), "keep_free": "1K"}, {}, {})
    monkeypatch.setattr(disk, "file_systems", lambda *_, **__: (made("/s", low=True),))
    for _ in range(2):
        assert [one.path for one in watch(settings, state, None)] == ["/s"]
    ((_, alert),) = open_alerts(state)
    assert (alert.kind, alert.app, alert.recovered) == (AlertKind.DISK, "state", False)
    assert "1.0 KiB (ccci_keep_free)" in alert.notes


def test_damage_of_what_was_told_keeps_nobody_from_being_told(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    state.disk_told.write_bytes(b"\0")
    monkeypatch.setattr(disk, "file_systems", lambda *_, **__: (made("/s", low=True),))
    watch(resolve({"state_dir": str(state.root)}, {}, {}), state, None)
    assert len(open_alerts(state)) == 1
