from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import errors
from pytest_ccci.errors import CcciError, Refused, Verdict
from pytest_ccci.plugin.backend import TIERS
from pytest_ccci.results.verdict import run_verdict
from pytest_ccci.run import tiers as run_tiers
from pytest_ccci.run.cold import ColdRun
from pytest_ccci.run.plan import Plan
from pytest_ccci.run.quick import QuickRun
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.run.tiers import Record, Run, UnopenedRun, tier
from pytest_ccci.waiting import Stopwatch

PLAN = Plan("cold", "cold", "", "1.0.0+0.0.20", "")
FRESH = Plan("cold", "cold", "", None, "there is no release older than head: it is installed fresh")


Act = Callable[[], dict[str, str]]


class PlannedRun(Run):
    """A run whose tiers do what a test says; those of which it says nothing do nothing."""

    def __init__(self, context: Any, acts: Mapping[str, Act]) -> None:
        super().__init__(context, Record())
        self.acts = acts
        self.app: Any = SimpleNamespace(last=None)

    def act(self, name: str) -> dict[str, str]:
        return self.acts.get(name, dict)()

    @tier("install")
    def install(self) -> dict[str, str]:
        return self.act("install")

    @tier("upgrade", needs="install")
    def upgrade(self) -> dict[str, str]:
        return self.act("upgrade")

    @tier("backup", needs="upgrade")
    def backup(self) -> dict[str, str]:
        return self.act("backup")

    @tier("settle", always=True)
    def settle(self) -> dict[str, str]:
        return self.act("settle")


def planned(
    tmp_path: Path, *, plan: Plan | None = PLAN, waived: dict[str, str] | None = None, **acts: Act
) -> PlannedRun:
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(waived=(waived or {}).get, name="notes"),
        plan=plan,
        diary=Diary(tmp_path / "run"),
        machine_or_none=None,
        leases=[],
        owned=(),
        interrupted="",
        promoting=False,
        take_down=lambda: None,
        state=SimpleNamespace(canonical=lambda _: tmp_path / "no canonical"),
    )
    return PlannedRun(context, acts)


def raising(error: BaseException) -> Any:
    def act() -> dict[str, str]:
        raise error

    return act


def test_a_tier_that_did_what_it_says_passes_with_its_facts_and_steps(tmp_path: Path) -> None:
    def act() -> dict[str, str]:
        with run.context.diary.step("deploy"):
            return {"image": "docs:2"}

    run = planned(tmp_path, install=act)
    with run.context.diary.step("before the tier"):
        pass
    result = run.perform("install")
    assert (result.verdict, result.reason, result.facts) == (Verdict.PASS, "", {"image": "docs:2"})
    assert [step.name for step in result.steps] == ["deploy"]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.RecipeFault("x"), Verdict.FAIL),
        (errors.DataLost("x"), Verdict.FAIL),
        (errors.RolledBack("x"), Verdict.FAIL),
        (errors.ImageMissing("x"), Verdict.FAIL),
        (errors.RecipeTomlError("x"), Verdict.FAIL),  # turned out wrong only now: the author's, not the machine's
        (errors.EngineUnavailable("x"), Verdict.ERROR),
        (errors.KeycloakUnavailable("x"), Verdict.ERROR),
        (errors.DiskFull("x"), Verdict.ERROR),
        (errors.DeadlineExceeded("x"), Verdict.ERROR),
        (errors.ProgramFailed("x"), Verdict.ERROR),
        (errors.NotShown("x"), Verdict.UNVERIFIED),
        (errors.Refused("x"), Verdict.SKIP),
        (errors.CanonicalRefused("x"), Verdict.SKIP),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, CcciError) else str(value),
)
def test_each_error_becomes_the_verdict_it_stands_for(tmp_path: Path, error: CcciError, verdict: Verdict) -> None:
    result = planned(tmp_path, install=raising(error)).perform("install")
    assert (result.verdict, result.reason) == (verdict, "x")


def test_no_error_of_the_whole_tree_ever_passes(tmp_path: Path) -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, CcciError):
            result = planned(tmp_path, install=raising(kind("x"))).perform("install")
            assert result.verdict is not Verdict.PASS
            assert result.reason


def test_what_we_did_not_foresee_is_our_error_with_its_traceback_and_not_the_recipes(tmp_path: Path) -> None:
    result = planned(tmp_path, install=raising(KeyError("Spec"))).perform("install")
    assert result.verdict is Verdict.ERROR
    assert result.reason == "internal error: KeyError: 'Spec'"
    assert "test_tiers.py" in result.evidence[0].text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_person_who_stops_it_is_obeyed(tmp_path: Path, stop: type[BaseException]) -> None:
    run = planned(tmp_path, install=raising(stop()))
    with pytest.raises(stop):
        run.perform("install")
    assert run.record.tiers["install"].verdict is Verdict.ERROR


def test_a_blocked_tier_is_unverified_and_is_never_performed(tmp_path: Path) -> None:
    """It is reported as blocked, never as passed or expected to fail."""
    run = planned(
        tmp_path, upgrade=raising(errors.DataLost("the data is gone")), backup=raising(AssertionError("performed"))
    )
    result = run.perform("backup")
    assert result.verdict is Verdict.UNVERIFIED
    assert result.reason == "blocked: upgrade failed"
    assert run.record.tiers["upgrade"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.CrashLoop("blocked by a long story"), "upgrade failed"),
        (errors.DiskFull("full"), "upgrade ended with an error"),
        (errors.NotShown("no sentinel"), "upgrade is unverified"),
        (errors.Refused("nothing to upgrade from"), ""),
        (None, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_blocked_says_by_which_tier_and_not_its_whole_reason(
    tmp_path: Path, error: CcciError | None, words: str
) -> None:
    run = planned(tmp_path, upgrade=raising(error) if error else dict)
    run.perform("upgrade")
    assert run.record.blocker("upgrade") == words
    assert run.record.blocker("restore") == ""


def test_what_is_blocked_by_a_blocked_tier_names_the_first_cause(tmp_path: Path) -> None:
    run = planned(tmp_path, install=raising(errors.CrashLoop("app keeps dying")))
    assert run.perform("backup").reason == "blocked: install failed"


def test_what_a_tier_needs_is_performed_first_and_each_tier_once(tmp_path: Path) -> None:
    performed: list[str] = []

    def noting(name: str) -> Act:
        return lambda: performed.append(name) or {}  # type: ignore[func-returns-value]  # append is for its effect

    run = planned(tmp_path)
    run.acts = {name: noting(name) for name in ("install", "upgrade", "backup", "settle")}
    for name in ("backup", "install", "backup", "settle", "settle"):
        run.perform(name)
    assert performed == ["install", "upgrade", "backup", "settle"]


def test_the_steps_of_opening_the_run_belong_to_its_first_tier(tmp_path: Path) -> None:
    run = planned(tmp_path)
    with run.context.diary.step("before"):
        pass
    run.opening = Stopwatch(), len(run.context.diary.steps)
    with run.context.diary.step("lease realm"):
        pass
    assert [step.name for step in run.perform("install").steps] == ["lease realm"]
    assert run.perform("upgrade").steps == ()


def test_a_skipped_tier_blocks_nothing(tmp_path: Path) -> None:
    run = planned(tmp_path, waived={"upgrade": "one version only"})
    assert run.perform("backup").verdict is Verdict.PASS


def test_settle_is_performed_whatever_happened_before(tmp_path: Path) -> None:
    run = planned(tmp_path, install=raising(errors.CrashLoop("app keeps dying")))
    run.perform("upgrade")
    assert run.perform("settle").verdict is Verdict.PASS


def test_a_run_with_a_blocked_tier_is_not_green(tmp_path: Path) -> None:
    run = planned(tmp_path, install=raising(errors.NotShown("no sentinel")))
    for name in ("install", "upgrade", "settle"):
        run.perform(name)
    assert run_verdict(run.record.in_order())[0] is Verdict.UNVERIFIED


def test_a_run_that_somebody_asked_to_stop_is_not_green_whatever_its_tiers_came_to(tmp_path: Path) -> None:
    run = planned(tmp_path)
    run.perform("backup")
    assert run.so_far()[0]
    run.context.interrupted = "SIGTERM"
    assert run.so_far() == (False, "interrupted: SIGTERM")


def test_a_run_of_which_nobody_said_what_its_folder_holds_has_not_shown_all_of_it(tmp_path: Path) -> None:
    assert planned(tmp_path).missing


def test_settle_comes_last_in_the_record_whatever_the_order_it_was_performed_in(tmp_path: Path) -> None:
    run = planned(tmp_path)
    for name in ("install", "settle", "backup"):
        run.perform(name)
    assert [result.tier for result in run.record.in_order()] == ["install", "backup", "settle"]


@pytest.mark.parametrize("kind", [ColdRun, QuickRun, UnopenedRun])
def test_every_kind_of_run_has_the_tiers_of_a_recipe_in_their_order(kind: type[Run]) -> None:
    tiers = kind.tiers()
    assert tuple(tiers) == TIERS
    assert all(TIERS.index(one.needs) < TIERS.index(one.name) for one in tiers.values() if one.needs)
    assert [one.name for one in tiers.values() if one.always] == ["settle"]


def test_a_run_that_cannot_be_opened_says_why_once_and_leaves_nothing(tmp_path: Path) -> None:
    problem = errors.EngineUnavailable("the engine does not answer")
    run = UnopenedRun(planned(tmp_path).context, Record(), problem)
    assert (run.perform("upgrade").reason, run.record.tiers["install"].verdict) == (
        "blocked: install ended with an error",
        Verdict.ERROR,
    )
    assert run.perform("settle").facts == {"left": "nothing was deployed"}


def test_what_the_author_waives_is_refused_with_the_authors_reason(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not applicable: stateless"):
        planned(tmp_path, waived={"backup": "stateless"}).check_applicable("backup")


def test_an_upgrade_from_nothing_is_refused_with_the_plans_reason(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="installed fresh"):
        planned(tmp_path, plan=FRESH).check_applicable("upgrade")
    planned(tmp_path, plan=FRESH).check_applicable("backup")


def test_what_applies_is_not_refused(tmp_path: Path) -> None:
    for name in TIERS:
        planned(tmp_path).check_applicable(name)


def test_every_verdict_is_in_the_journal(tmp_path: Path) -> None:
    planned(tmp_path, install=raising(errors.CrashLoop("app keeps dying"))).perform("install")
    rows = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert rows[-1]["what"] == "tier install"
    assert (rows[-1]["verdict"], rows[-1]["reason"]) == ("fail", "app keeps dying")


@pytest.mark.parametrize(
    ("down", "verdict", "reason"),
    [
        (None, Verdict.FAIL, "no SSO"),
        (
            errors.KeycloakUnavailable("Keycloak does not answer"),
            Verdict.ERROR,
            "Keycloak does not answer\n  meanwhile: no SSO",
        ),
    ],
)
def test_a_recipe_is_not_blamed_for_what_fails_while_the_machine_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, down: Any, verdict: Verdict, reason: str
) -> None:
    run = planned(tmp_path, install=raising(errors.NotServing("no SSO")))
    monkeypatch.setattr(run.context, "machine_or_none", SimpleNamespace(engine=None))
    monkeypatch.setattr(run_tiers, "outage", lambda _machine, *, keycloak: down if not keycloak else None)
    result = run.perform("install")
    assert (result.verdict, result.reason) == (verdict, reason)


def test_a_full_disk_is_told_as_one_and_not_as_an_internal_error(tmp_path: Path) -> None:
    result = planned(tmp_path, backup=raising(OSError(28, "No space left on device", "/x/y"))).perform("backup")
    assert result.verdict == Verdict.ERROR
    assert result.reason.startswith("backup failed: the disk is full; needed ")
    assert f"  at:   {tmp_path}/run" in result.reason
    assert "No space left on device, at /x/y" in result.reason


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyboardInterrupt("SIGTERM: settling first"), "SIGTERM"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(0), "SystemExit"),
    ],
    ids=["signal", "bare", "exit"],
)
def test_a_tier_that_is_interrupted_is_an_error_and_the_interruption_goes_on(
    tmp_path: Path, error: BaseException, why: str
) -> None:
    run = planned(tmp_path, upgrade=raising(error))
    with pytest.raises(type(error)):
        run.perform("upgrade")
    result = run.record.tiers["upgrade"]
    assert (result.verdict, result.reason) == (Verdict.ERROR, f"interrupted: {why}")
    assert run.context.interrupted == why


def test_an_interruption_while_evidence_is_gathered_is_recorded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(tmp_path, upgrade=raising(errors.CrashLoop("x")))
    monkeypatch.setattr(run, "_evidence", raising(KeyboardInterrupt("SIGINT: settling first")))
    with pytest.raises(KeyboardInterrupt):
        run.perform("upgrade")
    assert run.record.tiers["upgrade"].reason == "interrupted: SIGINT"


@pytest.mark.parametrize("error", [None, errors.NotConverged("x")], ids=["passes", "fails"])
def test_a_tier_during_which_somebody_asked_to_stop_neither_passes_nor_blames_the_recipe(
    tmp_path: Path, error: CcciError | None
) -> None:
    def act() -> dict[str, str]:
        run.context.interrupted = "SIGHUP"
        return {} if error is None else raising(error)()

    run = planned(tmp_path, upgrade=act)
    result = run.perform("upgrade")
    assert (result.verdict, result.reason) == (Verdict.ERROR, "interrupted: SIGHUP")


def test_no_tier_begins_after_an_interruption_but_settle(tmp_path: Path) -> None:
    run = planned(tmp_path, install=raising(AssertionError("performed")))
    run.context.interrupted = "SIGINT"
    assert run.perform("upgrade").reason == "blocked: interrupted: SIGINT"
    assert run.perform("settle").verdict is Verdict.ERROR
    assert run.perform("settle").reason == "interrupted: SIGINT; everything was put back"


def test_no_tier_begins_after_settle(tmp_path: Path) -> None:
    run = planned(tmp_path)
    run.perform("settle")
    assert run.perform("install").reason == "blocked: the run has settled already"


def test_what_is_no_request_to_stop_does_not_end_the_run(tmp_path: Path) -> None:
    class Skipped(BaseException):
        """Like the exceptions of pytest.skip and pytest.fail, from a hook in the author's conftest.py."""

    result = planned(tmp_path, install=raising(Skipped("no browser"))).perform("install")
    assert (result.verdict, result.reason) == (Verdict.ERROR, "internal error: Skipped: no browser")


def test_a_tier_that_was_never_reached_is_unverified(tmp_path: Path) -> None:
    run = planned(tmp_path)
    run.record.unreached("backup", "SIGINT")
    result = run.record.tiers["backup"]
    assert (result.verdict, result.reason) == (Verdict.UNVERIFIED, "not reached: SIGINT")
