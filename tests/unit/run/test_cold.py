"""What a cold run does before its first tier and in its last: nothing stays, and only a green one promotes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ccci.errors import CrashLoop, LeftBehind, RecipeFault, Verdict
from pytest_ccci.results.model import KnownGoodChange, TierResult
from pytest_ccci.run import cold
from pytest_ccci.run.cold import ColdRun
from pytest_ccci.run.tiers import Record

RELEASE = SimpleNamespace(tag="1.1.0+1.1")


def made_of(**facts: Any) -> Any:
    """As much of a thing as is asked for."""
    return SimpleNamespace(**facts)


class Scripted:
    """A cold run of the latest release; ``did`` is what it asked of its context and its app, in order."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.route_is_gone = True
        self.problem: RecipeFault | None = None
        site = SimpleNamespace(zone=SimpleNamespace(url=lambda domain: f"https://{domain}"))
        machine = SimpleNamespace(site=site, own_keycloak="")
        self.app = made_of(
            domain="",
            stack="notes-1_ci_test",
            lease=None,
            handle=SimpleNamespace(new_http=lambda **_: None),
            left=lambda: ("volume x",),
            window_problem=self._window,
            last=SimpleNamespace(compose=None),
        )
        self.context = made_of(
            run_id="20261130-120000-abcdef",
            spec=SimpleNamespace(name="notes", canonical=True),
            settings=SimpleNamespace(zone="ci.test", promote=True),
            head=SimpleNamespace(dirty=False, release=RELEASE),
            mirror=SimpleNamespace(releases=lambda: (RELEASE,)),
            plan=None,
            interrupted="",
            lock_app=lambda domain: self.did.append(f"locked {domain}"),
            deployment=self._deployment,
            lease_for=lambda _: self.did.append("leased"),
            note_before=lambda: self.did.append("noted"),
            may_keep=lambda _: False,
            remove_app=lambda _: self.did.append("removed"),
            check_nothing_left=self._check,
            disown=lambda _: self.did.append("disowned"),
            open_machine=lambda: machine,
        )
        self.run = ColdRun(self.context, Record({"install": TierResult(tier="install", verdict=Verdict.PASS)}))
        self.run.missing = ()
        self.run.app = self.app

    def _deployment(self, domain: str) -> Any:
        self.app.domain = domain
        return self.app

    def _check(self, _app: object, *, left: tuple[str, ...]) -> None:
        self.did.append(f"looked for what is left: {', '.join(left)}")
        if "route" in self.did[-1]:
            raise LeftBehind("the teardown left something")

    def _window(self) -> RecipeFault | None:
        self.did.append("window")
        return self.problem


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    made = Scripted()
    monkeypatch.setattr(cold, "wait_route_gone", lambda *_: made.route_is_gone)
    monkeypatch.setattr(cold, "known_good_now", lambda _context, *, reason: KnownGoodChange(reason=reason))

    def promote(*_: object, stack: str) -> KnownGoodChange:
        made.did.append(f"promoted {stack}")
        return KnownGoodChange(action="promoted")

    monkeypatch.setattr(cold, "promote", promote)
    monkeypatch.setattr(cold, "require_room", lambda *_, **__: made.did.append("room"))
    return made


def test_what_exists_is_noted_when_the_app_is_locked_and_before_it_is_deployed(scripted: Scripted) -> None:
    scripted.run.begin()
    assert scripted.did == [f"locked {scripted.app.domain}", "room", "leased", "noted"]
    assert scripted.app.domain.endswith(".ci.test")


LOOKED = "looked for what is left: volume x"


def test_a_green_run_promotes_when_nothing_of_it_is_left(scripted: Scripted) -> None:
    assert scripted.run.settle() == {"left": "nothing"}
    assert scripted.did == ["window", "removed", LOOKED, "disowned", "promoted notes-1_ci_test"]


def test_a_route_that_stays_is_left_behind_and_nothing_is_promoted(scripted: Scripted) -> None:
    scripted.route_is_gone = False
    with pytest.raises(LeftBehind):
        scripted.run.settle()
    assert scripted.did == ["window", "removed", f"{LOOKED}, route {scripted.app.domain}"]


def test_an_app_that_did_not_stay_up_is_removed_and_nothing_is_promoted(scripted: Scripted) -> None:
    scripted.problem = CrashLoop("service app did not stay up")
    with pytest.raises(CrashLoop):
        scripted.run.settle()
    assert scripted.did == ["window", "removed", LOOKED, "disowned"]


@pytest.mark.parametrize("why", ["red", "interrupted", "not whole"])
def test_a_run_that_is_not_green_and_whole_leaves_nothing_and_promotes_nothing(scripted: Scripted, why: str) -> None:
    if why == "red":
        scripted.run.record.tiers["upgrade"] = TierResult(tier="upgrade", verdict=Verdict.FAIL, reason="it died")
    elif why == "interrupted":
        scripted.context.interrupted = "SIGTERM"
    else:
        scripted.run.missing = ("backup was not performed",)
    assert scripted.run.settle() == {"left": "nothing"}
    assert [step for step in scripted.did if step != "window"] == ["removed", LOOKED, "disowned"]
    told = {"red": "it died", "interrupted": "SIGTERM", "not whole": "backup was not performed"}[why]
    assert told in scripted.run.known_good.reason
