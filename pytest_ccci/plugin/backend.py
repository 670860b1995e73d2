"""What the plugin asks of a run: its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytest_ccci.errors import Verdict
    from pytest_ccci.results.model import RefFact, RunResult, TierResult

__all__ = [
    "BASE",
    "TIERS",
    "AppHandle",
    "RecipeRun",
    "RunFixtures",
    "WarmView",
]

# The items of a recipe.toml, in order. The author's tests come before the last.
TIERS = ("install", "upgrade", "backup", "restore", "settle")


# The fixture that every test of a recipe hangs on where there is a run from each kept known-good: its parameter.
BASE = "_ccci_base"


class AppHandle(Protocol):
    """The app as tests see it: what the plugin itself does with it."""

    def renew_http(self) -> None:
        """Give ``http`` a session without cookies."""


class RunFixtures(Protocol):
    """The typed objects behind the fixtures of the same names."""

    @property
    def app(self) -> AppHandle:
        """The app."""

    @property
    def realm(self) -> object | None:
        """The realm lease, where the recipe needs one."""

    @property
    def canonical(self) -> object:
        """The canonical."""

    @property
    def snapshot(self) -> object:
        """The snapshot."""


class RecipeRun(Protocol):
    """One open run. Every step is done exactly once, whoever asks first."""

    @property
    def run_id(self) -> str:
        """This run's id."""

    @property
    def recipe(self) -> str:
        """The recipe's name."""

    @property
    def mode(self) -> str:
        """What is really run, as far as it is decided."""

    @property
    def requested_mode(self) -> str:
        """What was asked for."""

    @property
    def mode_reason(self) -> str:
        """Why the two differ."""

    @property
    def results_path(self) -> Path:
        """Where results.json is written."""

    @property
    def base(self) -> RefFact | None:
        """What is upgraded from, once that is decided."""

    @property
    def head(self) -> RefFact | None:
        """What is tested."""

    @property
    def fixtures(self) -> RunFixtures:
        """What the author's tests are given."""

    def perform(self, tier: str) -> TierResult:
        """Do what ``tier`` needs, then the tier; a fault is a verdict in the result, never an exception."""

    def bring_up_head(self) -> str | None:
        """Bring the head up for the author's tests; what blocks them in a few words, if anything does.

        Raises:
            Refused: the author says that they do not apply.
        """

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
        """Record what the last of the attempts at one of the author's tests came to.

        ``called``: its function was entered. ``marked``: its author skips it or expects it to fail, with a reason.
        ``earlier``: what each attempt before the last came to, and whether the function was entered in it.
        """

    def account(self, *, holds: Sequence[str], unlisted: Sequence[str]) -> None:
        """Take in what the folder holds of tests, before settle, and what of it is known to be missing."""

    def interrupt(self, why: str) -> None:
        """Note that somebody asked to stop; may be called from a signal handler. The run is not green from now on."""

    def unreached(self, names: Sequence[str], why: str) -> None:
        """Record tiers and tests that were asked for and never reached."""

    def lease_realm(self) -> object:
        """A realm for a recipe that did not ask for one."""

    def close(self) -> RunResult:
        """Settle if that has not been done, write results.json, release everything. Idempotent."""


class WarmView(Protocol):
    """The kept state of a recipe, for tests outside its folder."""

    @property
    def canonical(self) -> object:
        """The canonical."""

    @property
    def snapshot(self) -> object:
        """The snapshot."""
