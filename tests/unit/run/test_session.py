"""What the plugin's handle of a run does with a run that cannot be opened, or is interrupted before it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from pytest_ccci.errors import EngineUnavailable, Verdict
from pytest_ccci.run import session
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.run.session import RecipeRun
from pytest_ccci.run.tiers import Run, tier


def run_that_opens_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException) -> RecipeRun:
    def open_mode(_context: object, _record: object) -> NoReturn:
        raise error

    monkeypatch.setattr(session, "open_mode", open_mode)
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(name="notes", waived=lambda _tier: ""),
        diary=Diary(tmp_path / "run"),
        plan=None,
        machine_or_none=None,
        leases=[],
        owned=(),
        interrupted="",
        promoting=False,
    )
    return RecipeRun(context, whole=True)


def test_a_run_that_is_interrupted_while_it_is_opened_is_an_error_and_opens_nothing_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_that_opens_with(monkeypatch, tmp_path, KeyboardInterrupt("SIGTERM: settling first"))
    with pytest.raises(KeyboardInterrupt):
        run.perform("install")
    assert (run.record.tiers["install"].verdict, run.record.tiers["install"].reason) == (
        Verdict.ERROR,
        "interrupted: SIGTERM",
    )
    assert run.perform("upgrade").reason == "blocked: interrupted: SIGTERM"
    assert run.settle().facts == {"left": "nothing was deployed"}
    assert run.record.so_far()[0] is Verdict.ERROR


def test_a_run_that_cannot_be_opened_is_asked_for_once_and_blocks_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_that_opens_with(monkeypatch, tmp_path, EngineUnavailable("the engine does not answer"))
    assert run.perform("install").reason == "the engine does not answer"
    monkeypatch.setattr(session, "open_mode", lambda *_: pytest.fail("opened again"))
    assert run.perform("restore").reason == "blocked: install ended with an error"
    assert run.bring_up_head() == "install ended with an error"


def test_a_run_that_is_interrupted_before_it_is_opened_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_that_opens_with(monkeypatch, tmp_path, AssertionError("it was opened"))
    run.interrupt("SIGTERM")
    assert run.perform("upgrade").reason == "blocked: interrupted: SIGTERM"
    assert run.settle().facts == {"left": "nothing was deployed"}


def test_a_settle_that_was_cut_off_in_the_middle_is_performed_anew_when_the_run_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    class CutOff(Run):
        @tier("settle", always=True)
        def settle(self) -> dict[str, str]:
            begun.append("settle")
            if len(begun) == 1:
                raise KeyboardInterrupt("SIGTERM: settling first")
            return {"left": "nothing"}

    run = run_that_opens_with(monkeypatch, tmp_path, AssertionError("it was opened"))
    run._run = CutOff(run.context, run.record)
    vars(run.context).update(warnings=[], close=tuple, take_down=lambda: None)
    monkeypatch.setattr(session, "result_of", lambda _: SimpleNamespace(verdict=Verdict.ERROR))
    monkeypatch.setattr(session, "write_result", lambda *_: None)
    monkeypatch.setattr(session, "publish", lambda *_: None)
    vars(run.context).update(state=None)
    with pytest.raises(KeyboardInterrupt):
        run.settle()
    run.close()
    assert begun == ["settle", "settle"]
    assert run.record.tiers["settle"].facts == {"left": "nothing"}
    assert run.record.tiers["settle"].verdict is Verdict.ERROR


def test_a_test_that_fails_after_somebody_asked_to_stop_does_not_blame_the_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_that_opens_with(monkeypatch, tmp_path, AssertionError("it was opened"))
    vars(run.context).update(on_base=None)
    run.interrupt("SIGTERM")
    run.custom("test_app.py::test_a", Verdict.FAIL, 0.1, "assert 0")
    (test,) = run.record.custom
    assert (test.verdict, test.reason) == (Verdict.ERROR, "interrupted: SIGTERM; assert 0")
