"""A run as the attached pytest sees it: its app is there already, and what the tests came to is all that it tells."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_ccci.engine.client import connect
from pytest_ccci.errors import NotShown, Verdict
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.model import CustomTest, RefFact, RunResult, TierResult
from pytest_ccci.results.verdict import custom_tier
from pytest_ccci.results.write import write_result
from pytest_ccci.run.app import App
from pytest_ccci.run.attached import load_attachment
from pytest_ccci.run.known_good import load_canonical, load_snapshot
from pytest_ccci.run.run_dir import now_text
from pytest_ccci.run.session import Fixtures
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["AttachedRun"]


class AttachedRun:
    """Nothing is deployed, changed or settled by it."""

    base: RefFact | None = None
    mode_reason = ""

    def __init__(self, file: Path) -> None:
        there = load_attachment(file)
        SECRETS.learn(*(there.realm.secrets if there.realm else ()))
        self.run_id, self.recipe = there.run_id, there.recipe
        self.mode = self.requested_mode = there.mode
        self.head = there.version
        self.results_path = file.with_name("results.json")
        self._started = now_text()
        self._custom: dict[str, CustomTest] = {}
        engine = connect(there.host)
        app = App(there.url, there.domain, there.stack, engine, there.route)
        state = StateDir(there.state)
        self.fixtures = Fixtures(
            app, there.realm, load_canonical(state, there.recipe), load_snapshot(state, there.recipe)
        )

    def perform(self, tier: str) -> TierResult:
        """No tier is performed here."""
        return TierResult(tier=tier, verdict=Verdict.SKIP, reason="only the author's tests are run here")

    def bring_up_head(self) -> str | None:
        """The version that is tested is there."""
        return None

    def lease_realm(self) -> RealmLease:
        """No realm is leased here.

        Raises:
            NotShown: says so.
        """
        raise NotShown("the app has no realm: recipe.toml has no [needs.keycloak]")

    def custom(
        self,
        nodeid: str,
        verdict: Verdict,
        seconds: float,
        reason: str,
        *,
        called: bool = False,
        marked: bool = False,
        earlier: Sequence[tuple[Verdict, bool]] = (),
    ) -> None:
        """Take in what a test came to."""
        del called, marked
        self._custom[nodeid] = CustomTest(
            nodeid=nodeid, verdict=verdict, seconds=round(seconds, 3), reason=reason, attempts=len(earlier) + 1
        )

    def account(self, *, holds: Sequence[str], unlisted: Sequence[str]) -> None:
        """Nothing is promoted here."""

    def interrupt(self, why: str) -> None:
        """The run that this is attached to knows."""

    def unreached(self, names: Sequence[str], why: str) -> None:
        """What was not reached is not among the tests."""

    def close(self) -> RunResult:
        """Write what the tests came to."""
        tests = tuple(self._custom.values())
        result = RunResult(
            run_id=self.run_id,
            recipe=self.recipe,
            requested_mode=self.mode,
            mode=self.mode,
            verdict=custom_tier(tests).verdict,
            head=self.head,
            started=self._started,
            tiers=(custom_tier(tests),),
            custom=tests,
        )
        write_result(result, self.results_path)
        with suppress(OSError):
            self.fixtures.app.engine.client.close()
        return result
