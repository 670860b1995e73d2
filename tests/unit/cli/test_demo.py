from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.cli import demo
from pytest_ccci.errors import ProgramFailed, Verdict
from pytest_ccci.ops.demo import Kept
from pytest_ccci.ops.run_pytest import ChildRun
from pytest_ccci.results.model import KnownGoodChange, RefFact, RunResult, TierResult

OLD = RefFact(ref="1.0.0+1", commit="a" * 40, version="1.0.0+1", release="1.0.0+1")
NEW = RefFact(ref="latest", commit="b" * 40, version="1.1.0+1", release="1.1.0+1")
TIP = RefFact(ref="tip", commit="c" * 40, version="cccccccc")


def child(mode: str, ref: str, *, rc: int | None = None) -> ChildRun:
    """The run that ``--<mode> --ccci-ref <ref>`` is when all goes as it should."""
    bad, cold = ref.startswith("pr/"), mode == "cold"
    upgrade = TierResult(tier="upgrade", verdict=Verdict.FAIL if bad else Verdict.PASS, reason="broken" if bad else "")
    settle = TierResult(tier="settle", verdict=Verdict.PASS, facts={"proved": "came up"})
    result = RunResult(
        run_id="r1",
        recipe="docs",
        requested_mode=mode,
        mode=mode,
        verdict=Verdict.FAIL if bad else Verdict.PASS,
        base=OLD if cold else NEW,
        head=NEW if cold else TIP,
        started="2026-01-01T00:00:00+00:00",
        tiers=(upgrade, settle),
        known_good=KnownGoodChange(
            after="1.1.0+1", action="restored-and-proved" if bad else "unchanged", snapshot_after="snap"
        ),
    )
    return ChildRun("pytest", int(bad) if rc is None else rc, result, Path("/runs/r1/results.json"))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Play the story with ``act`` in place of pytest; the machine is ready, the known-good stays as it is."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "src").mkdir()
    (folder / "recipe.toml").write_text('canonical = true\n[source]\npath = "src"\n')
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(demo, "make_ready", lambda *_: None)
    monkeypatch.setattr(demo, "_kept", lambda *_: Kept("1.1.0+1", "snap", "f" * 64, whole=True))

    def run(act: Callable[[str, str], ChildRun]) -> int:
        def pytest_on(_state: object, _folder: object, words: list[str], **_: object) -> ChildRun:
            return act(words[0].removeprefix("--"), words[2])

        monkeypatch.setattr(demo, "run_pytest", pytest_on)
        return cli.main(["demo", "--recipe", str(folder)])

    return run


def test_a_story_that_held_ends_0_and_tells_all_three_runs(
    play: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(child) == 0
    told = capsys.readouterr().out
    assert "NOT HELD" not in told
    for name in ("--cold latest", "--quick tip", "--quick pr/broken-migration"):
        assert name in told
    assert told.count("/runs/r1/results.json") == 3
    assert "all of it held" in told


def test_one_thing_that_did_not_hold_ends_1_and_says_which_and_what_was_left_out(
    play: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def act(mode: str, ref: str) -> ChildRun:
        asked.append(ref)
        return child(mode, ref, rc=5 if ref == "tip" else None)

    assert play(act) == 1
    told = capsys.readouterr().out
    assert "NOT HELD pytest ended with 0  [5]" in told
    assert "--quick pr/broken-migration: not run" in told
    assert asked == ["latest", "tip"]


def test_a_pytest_that_leaves_no_run_ends_1(play: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    def act(_mode: str, _ref: str) -> ChildRun:
        raise ProgramFailed("pytest ended with exit status 4 and without a run", rc=4)

    assert play(act) == 1
    assert "without a run" in capsys.readouterr().out


def test_a_bad_pull_request_that_passes_is_a_failure_of_the_story(play: Callable[..., int]) -> None:
    assert play(lambda mode, ref: child(mode, ref.removeprefix("pr/"))) == 1
