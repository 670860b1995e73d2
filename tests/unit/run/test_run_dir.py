from __future__ import annotations

import errno
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_ccci.errors import DiskFull
from pytest_ccci.run import run_dir as module
from pytest_ccci.run.run_dir import Diary, Owned, new_run_id, open_diaries
from pytest_ccci.statedir import StateDir, open_state

OWNED = Owned("20260101-000000-abcdef", "docs", "docs_ci_test", "docs.ci.test", "/x.lock", volumes=("a", "b"))


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return open_state(tmp_path)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]


def test_run_ids_tell_the_time_and_never_repeat() -> None:
    now = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
    ids = {new_run_id(now) for _ in range(50)}
    assert len(ids) == 50
    assert all(each.startswith("20260301-123005-") for each in ids)


def test_a_step_is_in_the_journal_before_it_begins(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "run")
    with diary.step("deploy"):
        assert rows(diary.path)[-1]["what"] == "begin deploy"
    assert rows(diary.path)[-1]["what"] == "end deploy"
    assert [step.name for step in diary.steps] == ["deploy"]


def test_a_step_that_fails_is_timed_all_the_same(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "run")
    with pytest.raises(ValueError, match="x"), diary.step("deploy"):
        raise ValueError("x")
    assert [step.name for step in diary.steps] == ["deploy"]
    assert rows(diary.path)[-1]["what"] == "end deploy"


def test_a_runs_directory_is_ours_alone(tmp_path: Path) -> None:
    assert Diary(tmp_path / "run").path.stat().st_mode & 0o777 == 0o700


def test_what_a_dead_run_owned_can_be_read_by_the_next_one(state: StateDir) -> None:
    Diary(state.run(OWNED.run_id)).own((OWNED,))
    assert list(open_diaries(state)) == [(state.run(OWNED.run_id), (OWNED,))]


def test_a_run_that_owns_nothing_any_more_is_closed(state: StateDir) -> None:
    diary = Diary(state.run(OWNED.run_id))
    diary.own((OWNED,))
    diary.own(())
    assert list(open_diaries(state)) == []


@pytest.mark.parametrize("text", ["", "{", '[{"unknown": 1}]', "[1]", "[]"])
def test_a_record_that_cannot_be_read_stops_nobody(state: StateDir, text: str) -> None:
    Diary(state.run("20250101-000000-000000"))
    (state.run("20250101-000000-000000") / "owned.json").write_text(text)
    Diary(state.run(OWNED.run_id)).own((OWNED,))
    assert [owned for _, owned in open_diaries(state)] == [(OWNED,)]


def test_a_journal_that_cannot_be_written_keeps_nobody_from_cleaning_up(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "run")
    (diary.path / "journal.jsonl").mkdir()
    with diary.step("undeploy"):
        done = True
    assert done
    assert [step.name for step in diary.steps] == ["undeploy"]
    assert isinstance(diary.unwritten, IsADirectoryError)


def test_on_a_full_disk_nothing_may_be_owned_but_everything_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = Diary(tmp_path / "run")
    diary.own((OWNED,))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(DiskFull, match=r"writing down what the run deploys failed: the disk is full; needed .* free"):
        diary.own((OWNED, OWNED))
    diary.own(())
    assert list(diary.path.iterdir()) == []


def with_work(path: Path) -> Diary:
    diary = Diary(path)
    for name in ("trees", "backup"):
        (path / name / "deep").mkdir(parents=True)
        (path / name / "deep" / "file").write_bytes(b"x" * 100_000)
    (path / "journal.jsonl").write_text("{}\n")
    return diary


def test_archives_and_trees_of_a_green_run_are_removed_without_a_word(tmp_path: Path) -> None:
    diary = with_work(tmp_path / "run")
    assert diary.put_work_away(keep=False) == ("", "")
    assert [path.name for path in diary.path.iterdir()] == ["journal.jsonl"]


def test_those_of_a_red_run_stay_below_the_bound_and_it_is_said_where(tmp_path: Path) -> None:
    diary = with_work(tmp_path / "run")
    kept, warning = diary.put_work_away(keep=True, bound=400_000)
    assert str(diary.path / "backup") in kept
    assert str(diary.path / "trees") in kept
    assert not warning
    assert (diary.path / "backup" / "deep" / "file").exists()


def test_those_of_a_red_run_above_the_bound_are_removed_and_it_is_said(tmp_path: Path) -> None:
    diary = with_work(tmp_path / "run")
    kept, warning = diary.put_work_away(keep=True, bound=100_000)
    assert not kept
    assert "removed: 0.2 MiB are above 0.1 MiB" in warning
    assert [path.name for path in diary.path.iterdir()] == ["journal.jsonl"]


def test_a_run_without_any_has_nothing_to_say(tmp_path: Path) -> None:
    assert Diary(tmp_path / "run").put_work_away(keep=True) == ("", "")


def test_what_cannot_be_removed_is_said_and_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    kept, warning = with_work(tmp_path / "run").put_work_away(keep=False)
    assert not kept
    assert "cannot be removed" in warning


def test_what_another_version_of_ours_wrote_beside_it_does_not_hide_what_a_dead_run_owns(state: StateDir) -> None:
    folder = state.run("20250101-000000-000000")
    folder.mkdir()
    (folder / "owned.json").write_text(json.dumps([{**asdict(OWNED), "keep_data": True}]))

    assert list(open_diaries(state)) == [(folder, (OWNED,))]
