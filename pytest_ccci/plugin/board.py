"""What this pytest process knows of its runs: which were opened, how they ended, and where their progress is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.plugin.interrupts import Funnel
from pytest_ccci.results.redact import SECRETS
from pytest_ccci.settings import Settings

if TYPE_CHECKING:
    from pytest_ccci.plugin.protocol import RecipeRun, Tell

__all__ = ["BOARD", "Board", "Known", "board_of"]

Outlet = Callable[[dict[str, Any]], None]


@dataclass
class Known:
    """A run as the summary needs it. Without a run id it could not even start, ``problem`` says why."""

    recipe: str
    run_id: str = ""
    results: Path | None = None
    pid: int = 0
    closed: bool = False
    problem: str = ""


class Board:
    """Gathers what happens, and passes every event on to ``outlet`` (the terminal, or the xdist controller)."""

    def __init__(self, settings: Settings, *, pid: int) -> None:
        self.settings = settings
        self.redactor = SECRETS
        self.runs: list[Known] = []
        self.complaints: list[str] = []
        self._live: dict[str, RecipeRun] = {}
        self._learned: frozenset[str] = frozenset()
        self.in_teardown = False
        self.outlet: Outlet | None = None
        self.funnel = Funnel(lambda text: self.emit({"event": "say", "line": f"ccci  {text}"}))
        self._pid = pid

    def teller(self, recipe: str) -> Tell:
        """What a run tells its progress to: each text becomes a line with the seconds since now."""
        began = time.monotonic()

        def tell(text: str) -> None:
            self.learn(recipe)
            line = f"ccci {recipe}  +{time.monotonic() - began:.1f}s  {self.redactor.scrub(text)}"
            self.emit({"event": "say", "line": line})

        return tell

    def opened(self, run: RecipeRun) -> None:
        """A run is open from now on."""
        self._live[run.recipe] = run
        self.emit(
            {
                "event": "opened",
                "recipe": run.recipe,
                "run_id": run.run_id,
                "results": str(run.results_path),
                "pid": self._pid,
            }
        )

    def closed(self, run: RecipeRun, *, verdict: str = "", problem: str = "") -> None:
        """A run was closed; ``problem`` is why that went wrong."""
        problem = self.redactor.scrub(problem)
        self.emit({"event": "closed", "run_id": run.run_id, "verdict": str(verdict), "problem": problem})

    def refused(self, recipe: str, problem: str) -> None:
        """A run could not be opened."""
        self._live.pop(recipe, None)
        self.emit({"event": "refused", "recipe": recipe, "problem": self.redactor.scrub(problem)})

    def emit(self, event: dict[str, Any]) -> None:
        """Take an event in, and pass it on."""
        self.take(event)
        if self.outlet is not None:
            self.outlet(event)

    def take(self, event: dict[str, Any]) -> None:
        """Take in an event, our own or one that a worker sent."""
        if event["event"] == "opened":
            results = Path(event["results"])
            self.runs.append(Known(event["recipe"], event["run_id"], results, int(event["pid"])))
        elif event["event"] == "refused":
            self.runs.append(Known(event["recipe"], closed=True, problem=event["problem"]))
        elif event["event"] == "closed":
            for known in self.runs:
                if known.run_id == event["run_id"]:
                    known.closed, known.problem = True, event["problem"]

    def learn(self, recipe: str) -> None:
        """Learn the secrets that the recipe's run has made or read by now."""
        run = self._live.get(recipe)
        if run is not None:
            self.redactor.register(*(run.secrets - self._learned))
            self._learned |= run.secrets

    def latest(self, recipe: str) -> RecipeRun | None:
        """The last run of a recipe in this process, open or closed."""
        return self._live.get(recipe)

    @property
    def open_runs(self) -> tuple[Known, ...]:
        """The runs that have not been closed."""
        return tuple(known for known in self.runs if not known.closed)


BOARD: pytest.StashKey[Board] = pytest.StashKey()


def board_of(config: pytest.Config) -> Board:
    """The board of this pytest process."""
    return config.stash[BOARD]
