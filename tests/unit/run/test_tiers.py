from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci import errors
from pytest_ccci.errors import CcciError, Refused, Verdict
from pytest_ccci.results.verdict import run_verdict
from pytest_ccci.run import tiers
from pytest_ccci.run.plan import Plan
from pytest_ccci.run.run_dir import Diary
from pytest_ccci.run.tiers import NEEDS, ORDER, TierBook

PLAN = Plan("cold", "cold", "", "1.0.0+0.0.20", "")
FRESH = Plan("cold", "cold", "", None, "there is no release older than head: it is installed fresh")


def book(tmp_path: Path, *, plan: Plan | None = PLAN, waived: dict[str, str] | None = None) -> TierBook:
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(waived=(waived or {}).get),
        plan=plan,
        diary=Diary(tmp_path / "run"),
        tell=lambda _: None,
        machine_or_none=None,
        leases=[],
        owned=(),
    )
    return TierBook(context)


def nothing() -> dict[str, str]:
    return {}


def raising(error: BaseException) -> Any:
    def act() -> dict[str, str]:
        raise error

    return act


def test_a_tier_that_did_what_it_says_passes_with_its_facts_and_steps(tmp_path: Path) -> None:
    pages = book(tmp_path)

    def act() -> dict[str, str]:
        with pages.context.diary.step("deploy"):
            return {"image": "docs:2"}

    with pages.context.diary.step("before the tier"):
        pass
    result = pages.perform("install", act, blocked="")
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
    result = book(tmp_path).perform("install", raising(error), blocked="")
    assert (result.verdict, result.reason) == (verdict, "x")


def test_no_error_of_the_whole_tree_ever_passes(tmp_path: Path) -> None:
    pages = book(tmp_path)
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, CcciError):
            result = pages.perform("install", raising(kind("x")), blocked="")
            assert result.verdict is not Verdict.PASS
            assert result.reason


def test_what_we_did_not_foresee_is_our_error_with_its_traceback_and_not_the_recipes(tmp_path: Path) -> None:
    result = book(tmp_path).perform("install", raising(KeyError("Spec")), blocked="")
    assert result.verdict is Verdict.ERROR
    assert result.reason == "internal error: KeyError: 'Spec'"
    assert "test_tiers.py" in result.evidence[0].text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_person_who_stops_it_is_obeyed(tmp_path: Path, stop: type[BaseException]) -> None:
    pages = book(tmp_path)
    with pytest.raises(stop):
        pages.perform("install", raising(stop()), blocked="")
    assert pages.results == {}


@pytest.mark.parametrize("blocked", ["upgrade", "blocked by upgrade: the data is gone"])
def test_a_blocked_tier_is_unverified_and_is_never_performed(tmp_path: Path, blocked: str) -> None:
    """PITFALLS 49: reported as blocked, never as passed or expected to fail."""
    result = book(tmp_path).perform("backup", raising(AssertionError("performed")), blocked=blocked)
    assert result.verdict is Verdict.UNVERIFIED
    assert result.reason.startswith("blocked by upgrade")


def test_a_run_with_a_blocked_tier_is_not_green(tmp_path: Path) -> None:
    pages = book(tmp_path)
    pages.perform("install", nothing, blocked="")
    pages.perform("upgrade", nothing, blocked="install")
    pages.perform("settle", nothing, blocked="")
    assert run_verdict(pages.in_order())[0] is Verdict.UNVERIFIED


def test_results_come_in_the_order_of_the_tiers_whatever_the_order_they_were_made_in(tmp_path: Path) -> None:
    pages = book(tmp_path)
    for tier in ("settle", "install", "backup"):
        pages.perform(tier, nothing, blocked="")
    assert [result.tier for result in pages.in_order()] == ["install", "backup", "settle"]


def test_a_tier_needs_only_tiers_before_it() -> None:
    assert all(ORDER.index(need) < ORDER.index(tier) for tier, need in NEEDS.items())


def test_what_the_author_waives_is_refused_with_the_authors_reason(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not applicable: stateless"):
        book(tmp_path, waived={"backup": "stateless"}).require_applicable("backup")


def test_an_upgrade_from_nothing_is_refused_with_the_plans_reason(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="installed fresh"):
        book(tmp_path, plan=FRESH).require_applicable("upgrade")
    book(tmp_path, plan=FRESH).require_applicable("backup")


def test_what_applies_is_not_refused(tmp_path: Path) -> None:
    for tier in ORDER:
        book(tmp_path).require_applicable(tier)


def test_every_verdict_is_in_the_journal(tmp_path: Path) -> None:
    pages = book(tmp_path)
    pages.perform("install", raising(errors.CrashLoop("app keeps dying")), blocked="")
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
    pages = book(tmp_path)
    monkeypatch.setattr(pages.context, "machine_or_none", SimpleNamespace(engine=None))
    monkeypatch.setattr(tiers, "outage", lambda _machine, *, keycloak: down if not keycloak else None)
    result = pages.perform("install", raising(errors.NotServing("no SSO")), blocked="")
    assert (result.verdict, result.reason) == (verdict, reason)


def test_a_full_disk_is_told_as_one_and_not_as_an_internal_error(tmp_path: Path) -> None:
    result = book(tmp_path).perform("backup", raising(OSError(28, "No space left on device", "/x/y")), blocked="")
    assert result.verdict == Verdict.ERROR
    assert result.reason.startswith(f"{tmp_path}/run: backup failed: the disk is full; needed ")
    assert "No space left on device, at /x/y" in result.reason
