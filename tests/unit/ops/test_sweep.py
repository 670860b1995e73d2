"""A whole sweep, with recipes from real folders; what reconciles, and what a run comes to, are scripted."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.cli import main
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault, LockBusy, ProgramFailed, UsageError, Verdict
from pytest_ccci.locks import hold
from pytest_ccci.ops import sweep as module
from pytest_ccci.ops.run_pytest import ChildRun
from pytest_ccci.ops.sweep import Sweep
from pytest_ccci.results.model import ImageUse, KnownGoodChange, RefFact, RunResult, TierResult
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.warm.reconcile import Outcome, Reconciled

COMMIT = "c" * 40


class Killed(BaseException):
    """The sweep's process dies here."""


def result_of(verdict: str, number: int) -> RunResult:
    """A result whose facts bear its verdict."""
    reason = "" if verdict == "pass" else f"the cause of {verdict}"
    install = TierResult(tier="install", verdict=Verdict(verdict), reason=reason, facts={"commit": COMMIT})
    return RunResult(
        run_id=f"20260701-030000-{number:06x}",
        recipe="notes",
        requested_mode="cold",
        mode="cold",
        asked=("install", "settle"),
        verdict=Verdict(verdict),
        head=RefFact(ref="latest", commit=COMMIT, version="1.1.0+1.1", release="1.1.0+1.1"),
        started="2026-07-01T03:00:00+00:00",
        seconds=7.0,
        tiers=(install, TierResult(tier="settle", verdict=Verdict.PASS, facts={"left": "nothing"})),
        images=(ImageUse(ref="x:1", image_id="sha256:1"),),
        engine={"version": "27.1"},
        known_good=KnownGoodChange(action="none"),
    )


@dataclass
class Night:
    """What the scripted parts answer, and what they were asked.

    ``verdicts`` by recipe, one for each attempt: a verdict, ``hang``, ``none`` (no run), ``kill``.
    """

    state: StateDir
    verdicts: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    outcome: Outcome = Outcome.CURRENT
    fault: Exception | None = None
    infra: dict[str, str] = field(default_factory=lambda: {"traefik": "1", "keycloak": "2"})

    def run(self, _state: StateDir, folder: Path, words: list[str], **given: Any) -> ChildRun:
        self.asked.append((folder.name, tuple(words)))
        verdict = self.verdicts.get(folder.name, []).pop(0) if self.verdicts.get(folder.name) else "pass"
        if verdict == "kill":
            raise Killed
        if verdict == "none":
            raise ProgramFailed("pytest ended with exit status 4 and without a run", rc=4)
        if verdict == "hang":
            while not given["deadline"].passed and not given["stop"].is_set():
                given["stop"].wait(0.01)
            verdict = "error"
        if verdict == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
            assert given["stop"].wait(10)
            verdict = "error"
        return ChildRun("pytest", 0, result_of(verdict, len(self.asked)), Path("results.json"))

    def reconcile(self, *_: Any, **__: Any) -> tuple[Reconciled, ...]:
        if self.fault:
            raise self.fault
        return (Reconciled("traefik", self.outcome, "1", "1", "1"),)


@pytest.fixture
def night(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> Night:
    made = Night(state)
    monkeypatch.setattr(module, "run_pytest_apart", made.run)
    monkeypatch.setattr(module, "reconcile", made.reconcile)
    monkeypatch.setattr(module, "engine_at_hand", lambda *_: (_ for _ in ()).throw(EngineUnavailable("none")))
    monkeypatch.setattr(module.Sweep, "_read_infra", lambda self: self._infra.update(made.infra))
    monkeypatch.setattr(module, "prune", lambda *_, **__: ())
    return made


@pytest.fixture
def recipes(tmp_path: Path) -> Callable[..., Path]:
    """Makes recipes with two releases in a folder; ``canonical`` says whether they are enrolled."""

    def make(*names: str, canonical: bool = True) -> Path:
        for name in names:
            folder = tmp_path / "recipes" / name
            for number, release in enumerate(("1.0.0+1.0", "1.1.0+1.1"), 1):
                place = folder / "releases" / f"{number}-{release}"
                place.mkdir(parents=True)
                label = f"coop-cloud.${{STACK_NAME}}.version={release}"
                (place / "compose.yml").write_text(
                    f"version: '3.8'\nservices:\n  app:\n    image: x:1\n    deploy: {{labels: ['{label}']}}\n"
                )
                (place / ".env.sample").write_text(f"TYPE={name}\nDOMAIN={name}.example.org\n")
            toml = f'canonical = {str(canonical).lower()}\n[source]\nbundled = "releases"\n'
            (folder / "recipe.toml").write_text(toml)
        return tmp_path / "recipes"

    return make


def swept(night: Night, settings: Settings, *folders: Path, **given: Any) -> Any:
    return Sweep(settings, night.state, folders, **given).perform()


def test_what_is_due_is_tested_and_a_second_sweep_finds_nothing_to_do(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    folder = recipes("notes", "wiki")
    night.verdicts = {"wiki": ["fail"]}
    first = swept(night, settings, folder)
    assert sorted(first.tested) == ["notes", "wiki"]
    assert [first.verdict(name) for name in ("notes", "wiki")] == ["pass", "fail"]
    assert not first.green
    assert first.ended
    assert (night.state.pages / "index.html").is_file()
    # What a run promoted would be known now; here nothing is kept, so that the green one is due for that alone.
    second = swept(night, settings, folder)
    assert {one.recipe: one.why for one in second.decided if one.due} == {"notes": "there is no known-good"}
    assert [name for name, _ in night.asked].count("wiki") == 1


def test_an_error_that_is_not_the_recipes_is_tried_once_more_and_then_promotes_nothing(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    night.verdicts = {"notes": ["error", "pass"], "wiki": ["fail", "pass"]}
    done = swept(night, settings, recipes("notes", "wiki"))
    assert done.verdict("notes") == "flaky"
    assert [one.verdict for one in done.attempts if one.recipe == "notes"] == ["error", "pass"]
    words = [words for name, words in night.asked if name == "notes"]
    assert "--ccci-promote=false" not in words[0]
    assert "--ccci-promote=false" in words[1]
    assert done.verdict("wiki") == "fail", "what is the recipe's fault is not tried again"
    tested = json.loads(night.state.swept("notes").read_text())
    assert tested["last"]["verdict"] == "flaky"
    assert tested["green"] is None


def test_one_that_hangs_is_ended_blocks_nobody_and_is_not_tried_again(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    night.verdicts = {"hangs": ["hang"]}
    done = swept(night, settings._replace(slots=2), recipes("hangs", "notes", "wiki"), patience=0.3)
    assert sorted(done.tested) == ["hangs", "notes", "wiki"]
    (only,) = [one for one in done.attempts if one.recipe == "hangs"]
    assert only.verdict == "error"
    assert only.reason == "it was not over after 0 s, and was ended"


def test_a_run_that_comes_to_none_is_an_error_with_its_log(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    night.verdicts = {"notes": ["none", "none"]}
    done = swept(night, settings, recipes("notes"))
    assert [one.verdict for one in done.attempts] == ["error", "error"]
    assert done.attempts[0].reason == "pytest ended with exit status 4 and without a run"
    assert done.attempts[0].log.endswith("notes-1.log")


@pytest.mark.parametrize("outcome", [Outcome.ROLLED_BACK, Outcome.ERROR, Outcome.HELD])
def test_a_reconcile_that_rolled_back_is_told_and_the_tests_go_on(
    night: Night, settings: Settings, recipes: Callable[..., Path], outcome: Outcome
) -> None:
    night.outcome = outcome
    done = swept(night, settings, recipes("notes"))
    assert done.infra[0].outcome == outcome
    assert done.tested == ("notes",)
    assert done.green is (outcome is Outcome.HELD)


def test_a_run_in_flight_holds_the_sweep_off_infra_and_it_says_who(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    night.fault = LockBusy("cannot reconcile now: something is in flight", seen="notes cold run 2026 (pid 7)")
    done = swept(night, settings, recipes("notes"))
    assert "pid 7" in done.problems[0]
    assert done.tested == ()
    assert not done.green


def test_without_an_engine_nothing_is_tested(night: Night, settings: Settings, recipes: Callable[..., Path]) -> None:
    night.fault = EngineUnavailable("no Docker engine is running")
    assert swept(night, settings, recipes("notes")).tested == ()


def test_other_faults_of_infra_do_not_stop_the_tests(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    night.fault = InfrastructureFault("the recipe of Traefik cannot be fetched")
    done = swept(night, settings, recipes("notes"))
    assert done.tested == ("notes",)
    assert not done.green


def test_new_infra_makes_due_and_keycloak_only_where_it_is_needed(
    night: Night, settings: Settings, recipes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipes("notes")
    monkeypatch.setattr(module, "kept_goods", lambda *_: [type("Good", (), {"release": "1.1.0+1.1"})])
    swept(night, settings, folder)
    assert not swept(night, settings, folder).tested
    night.infra["keycloak"] = "3"
    assert not swept(night, settings, folder).tested
    night.infra["traefik"] = "9"
    (ruling,) = swept(night, settings, folder).decided
    assert ruling.due
    assert ruling.why == "since the last green run: traefik 1 → 9"


def test_no_more_than_asked_for_and_the_rest_is_named(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    done = swept(night, settings, recipes("notes", "wiki", "zine"), most=1)
    assert len(done.tested) == 1
    assert len(done.left) == 2


def test_a_sweep_that_was_killed_is_gone_on_with(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    folder = recipes("notes", "wiki", "zine")
    night.verdicts = {"wiki": ["kill"], "notes": ["error", "error"]}
    with pytest.raises(Killed):
        swept(night, settings._replace(slots=1), folder)
    night.asked.clear()
    done = swept(night, settings, folder)
    assert done.resumed == 1
    assert sorted(done.tested) == ["notes", "wiki", "zine"]
    assert "notes" not in {name for name, _ in night.asked}, "its attempts are written down"
    assert done.ended
    assert swept(night, settings, folder).resumed == 0


def writes_until(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The sweep's process dies before it writes for the ``most + 1``-th time."""
    real, done = write_atomic, itertools.count()

    def write(path: Path, data: bytes) -> None:
        if next(done) == most:
            monkeypatch.setattr(module, "write_atomic", real)
            raise Killed
        real(path, data)

    monkeypatch.setattr(module, "write_atomic", write)


@pytest.mark.parametrize("most", range(12))
def test_wherever_it_is_killed_the_summary_of_the_next_one_is_that_of_the_whole_night(
    night: Night, settings: Settings, recipes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(module, "kept_goods", lambda *_: [type("Good", (), {"release": "1.1.0+1.1"})])
    folder = recipes("notes", "wiki", "zine")
    night.verdicts = {"notes": ["fail", "fail"], "wiki": ["error", "pass", "pass"]}
    night.outcome = Outcome.ROLLED_BACK
    writes_until(monkeypatch, most)
    try:
        swept(night, settings._replace(slots=1), folder)
    except Killed:
        assert most < 11
        night.outcome = Outcome.HELD  # what a reconcile says of what it rolled back before
    else:
        assert most >= 11
        return
    done = swept(night, settings._replace(slots=1), folder)
    assert sorted(done.tested) == ["notes", "wiki", "zine"]
    assert done.verdict("notes") == "fail"
    assert {one.recipe: one.due for one in done.decided} == dict.fromkeys(done.tested, True)
    ended = [number for number, words in enumerate(night.asked) if words[0] == "wiki"]
    if "--ccci-promote=false" in night.asked[ended[-1]][1]:
        assert done.verdict("wiki") == "flaky", "its error stays"
    assert ("traefik rolled-back" in done.red) == (most >= 2), "written down before it was killed"
    for name in done.tested:
        assert json.loads(night.state.swept(name).read_text())["last"]["verdict"] == done.verdict(name)
    after = swept(night, settings, folder)
    assert not after.tested
    assert not after.resumed


def test_what_was_tested_before_it_was_killed_counts_for_how_many_are_tested(
    night: Night, settings: Settings, recipes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipes("notes", "wiki", "zine")
    writes_until(monkeypatch, 4)  # with one attempt written down
    with pytest.raises(Killed):
        swept(night, settings._replace(slots=1), folder, most=1)
    done = swept(night, settings, folder, most=1)
    assert len(done.tested) == 1
    assert len(done.left) == 2
    assert set(done.left).isdisjoint(done.tested)


def test_asked_to_stop_it_ends_its_runs_and_the_next_one_goes_on(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    folder = recipes("notes", "wiki")
    night.verdicts = {"notes": ["signal"]}
    before = signal.getsignal(signal.SIGTERM)
    stopped = swept(night, settings._replace(slots=1), folder)
    assert signal.getsignal(signal.SIGTERM) == before
    assert not stopped.ended
    assert not stopped.tested
    assert stopped.problems == ("it was asked to stop; the next sweep goes on with it",)
    assert sorted(swept(night, settings, folder).tested) == ["notes", "wiki"]


def test_two_at_once_are_refused(night: Night, settings: Settings, recipes: Callable[..., Path]) -> None:
    folder = recipes("notes")
    night.state.sweeps.mkdir()
    with hold(night.state.sweep_lock, wait=0, owner={"doing": "sweep"}), pytest.raises(LockBusy):
        # another process's lock: here another thread's, as a lock of our own may be taken again
        _in_thread(lambda: swept(night, settings, folder))


def _in_thread(act: Callable[[], object]) -> None:
    seen: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except LockBusy as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if seen:
        raise seen[0]


def test_nothing_enrolled_is_an_error(night: Night, settings: Settings, recipes: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="no recipe is enrolled there"):
        swept(night, settings, recipes("notes", canonical=False))
    with pytest.raises(UsageError, match="not enrolled there: wiki"):
        swept(night, settings, recipes("more"), only=["wiki"])


def test_a_recipe_that_cannot_be_read_is_told_and_the_others_are_tested(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    folder = recipes("notes", "wiki")
    (folder / "wiki" / "recipe.toml").write_text("this is none")
    done = swept(night, settings, folder)
    assert done.tested == ("notes",)
    assert done.problems
    assert done.problems[0].startswith("wiki: ")


def test_a_known_good_that_cannot_be_read_is_told_and_its_recipe_is_tested(
    night: Night, settings: Settings, recipes: Callable[..., Path]
) -> None:
    folder = night.state.canonical("notes")
    folder.mkdir(parents=True)
    (folder / "canonical.json").write_text("{")
    done = swept(night, settings, recipes("notes"))
    assert done.tested == ("notes",)
    assert "canonical.json" in done.problems[0]


def test_a_dry_run_changes_nothing_and_says_what_would_be_tested(
    night: Night, recipes: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recipes("notes")
    words = ["sweep", str(folder), "--dry-run", f"--ccci-state-dir={night.state.root}"]
    assert main(words) == 0
    assert "notes                       due           there is no known-good" in capsys.readouterr().out
    assert not night.state.sweeps.exists()
    assert not night.asked


def test_the_command_says_what_came_of_it_and_ends_with_1_where_a_person_is_needed(
    night: Night, recipes: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recipes("notes", "wiki")
    night.verdicts = {"wiki": ["fail"]}
    words = ["sweep", str(folder), f"--ccci-state-dir={night.state.root}"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "traefik     current" in said
    assert "1.1.0+1.1: fail in 7 s, known-good none: install: the cause of fail" in said
    assert "1 of 2 recipes green" in said
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {one["recipe"]: one["due"] for one in record["decided"]} == {"notes": True, "wiki": False}
