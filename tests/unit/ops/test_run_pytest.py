from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci import process
from pytest_ccci.errors import NoRun, ProgramFailed, StoreDamaged, Verdict
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.write import write_result
from pytest_ccci.statedir import StateDir

_JUNIT = (
    '<testsuites><testsuite><properties><property name="ccci.run_id" value="{}"/></properties></testsuite></testsuites>'
)


def plays(monkeypatch: pytest.MonkeyPatch, *, run_id: str | None) -> list[list[str]]:
    """Let a child write a junit file that names ``run_id``, or none."""
    calls: list[list[str]] = []

    def follow(argv: list[str], line: Callable[[str], None], **_: object) -> int:
        calls.append(argv)
        junit = next(word.partition("=")[2] for word in argv if word.startswith("--junit-xml="))
        if run_id is not None:
            Path(junit).write_text(_JUNIT.format(run_id))
        line("3 passed")
        line(f"generated xml file: {junit}")
        return 0

    monkeypatch.setattr(process, "follow", follow)
    return calls


def test_the_result_is_that_of_the_run_which_the_junit_file_names(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("r1", "r2"):
        result = RunResult(
            run_id=name, recipe="docs", requested_mode="cold", mode="cold", verdict=Verdict.PASS, started="now"
        )
        write_result(result, state.run(name) / "results.json")
    calls = plays(monkeypatch, run_id="r1")
    lines: list[str] = []
    words, given = ["--cold"], ["--ccci-zone=x.test"]
    done = run_pytest(state, Path("docs"), words, settings=given, coloured=False, line=lines.append)
    assert done.result.run_id == "r1"
    assert lines == ["$ pytest --cold docs", "3 passed"]
    assert calls[0][-3:] == ["--cold", "--ccci-zone=x.test", "docs"]


def test_no_run_and_no_result_are_errors_and_never_green(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    plays(monkeypatch, run_id=None)
    with pytest.raises(ProgramFailed, match="without a run"):
        run_pytest(state, Path("docs"), [], settings=[], coloured=False, line=lambda _: None)
    plays(monkeypatch, run_id="r9")
    with pytest.raises(StoreDamaged, match="left no result"):
        run_pytest(state, Path("docs"), [], settings=[], coloured=False, line=lambda _: None)


def test_why_there_was_no_run_is_told_with_the_verdict_of_the_test_that_said_so(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(argv: list[str], _line: Callable[[str], None], **_: object) -> int:
        junit = next(word.partition("=")[2] for word in argv if word.startswith("--junit-xml="))
        verdict = '<properties><property name="ccci.verdict" value="fail"/></properties>'
        error = '<error message="m">it reaches too far\n  seen: the engine</error>'
        told = f'<testsuites><testsuite><testcase name="install">{verdict}{error}</testcase></testsuite></testsuites>'
        Path(junit).write_text(told)
        return 1

    monkeypatch.setattr(process, "follow", follow)
    with pytest.raises(NoRun) as caught:
        run_pytest(state, Path("docs"), [], settings=[], coloured=False, line=lambda _: None)
    assert (caught.value.said, caught.value.tail) == ("fail", "it reaches too far\n  seen: the engine")
