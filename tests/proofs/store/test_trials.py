"""Whatever cuts a change off, wherever: exactly one complete known-good, old or new, and live volumes of one kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Trials = Callable[..., dict[str, Any]]
# What the sequence must contain at least, or the trials would be about nothing.
MADE = {"write_file", "append", "receive", "rename", "link", "symlink", "mknod", "mkdir"}
STEPS = MADE | {"unlink", "rmdir", "fsync_file", "fsync_dir", "sync_fs", "set_times", "set_mode"}
OLD = {f"{scene}: old" for scene in ("snapshot", "promote", "restore", "reset", "reseed", "import", "keep", "recover")}
SEEN = OLD | {"first: none", "first: new", "promote: new", "reseed: new", "import: new", "keep: new", "earlier: old"}
KINDS = ("kill", "twice", "error", "power")


# The full run, each step and each fault of each scene: CCCI_TRIALS=all pytest tests/proofs/store/test_trials.py
pytestmark = pytest.mark.timeout(6 * 3600)


def check(report: dict[str, Any], size: int) -> None:
    assert report["losses"] == []
    assert report["trials"] == (size or report["points"])
    assert set(report["steps"]) >= STEPS
    if size == 0 or size >= 1000:
        assert set(report["states"]) >= SEEN


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_loses_the_known_good_when_copying(trials: Trials, size: int, kind: str) -> None:
    check(trials(kind, size), size)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cut_loses_the_known_good_when_sharing_blocks(
    trials: Trials, size: int, kind: str, mounted: Callable[..., Path]
) -> None:
    report = trials(kind, size, backend="reflink", place=mounted("xfs"))
    check(report, size)
    assert "clone_data" in report["steps"]
    assert "copy_data" not in report["steps"]


def test_a_copy_that_lies_is_never_promoted_nor_restored(trials: Trials) -> None:
    report = trials("corrupt", 0)
    assert report["losses"] == []
    assert set(report["told"]) == {"StoreDamaged", "ArchiveError"}
    assert report["trials"] > 40


@pytest.mark.parametrize(
    ("kind", "switch", "size"), [("power", "fsync", 100), ("kill", "journal", 100), ("corrupt", "verify", 32)]
)
def test_the_trials_find_losses_when_a_guard_is_taken_away(trials: Trials, kind: str, switch: str, size: int) -> None:
    report = trials(kind, size, switch=switch)
    assert len(report["losses"]) > size // 20
