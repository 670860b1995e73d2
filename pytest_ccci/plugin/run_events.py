"""What this pytest process knows of its runs, and how progress reaches the terminal and xdist's controller."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_ccci.plugin.progress import LiveLine, Throttle, may_rewrite
from pytest_ccci.plugin.signals import Funnel
from pytest_ccci.progress import StepLine, WaitLine, received
from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings, current_environment
from pytest_ccci.waiting import Stopwatch

if TYPE_CHECKING:
    from pytest_ccci.plugin.backend import RecipeRun

__all__ = ["BOARD", "Board", "Follower", "Known", "Printer", "Sender", "board_of"]


class Printer:
    """Prints progress past pytest's capturing. With ``-q -q`` it is silent.

    On a terminal steps and waits are one line that is rewritten; elsewhere lines, few about waiting.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._terminal: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        self._config = config
        self._quiet = config.get_verbosity() <= -2  # noqa: PLR2004  -q -q
        self._lock = threading.RLock()  # a signal handler prints, too
        self._throttle = Throttle()
        self._live: LiveLine | None = None
        self._decided = False

    def __call__(self, event: dict[str, Any]) -> None:
        """Print what is to be seen of the event."""
        if self._quiet or self._terminal is None:
            return
        recipe = event.get("recipe", "")
        with self._lock:
            if event["event"] == "say":
                kind = event.get("kind", "say")
                if kind == "say" or self._live_line() is None:
                    self._print(self._throttle.lines(recipe, kind, event["line"], now=time.monotonic()))
                else:
                    self._rewrite(recipe, event["text"], event["seconds"])
            elif event["event"] in {"closed", "refused"}:
                self._print(self._throttle.rest(recipe))
                if self._live is not None:
                    self._live.forget(recipe)
                    self._erase(self._live)

    def _live_line(self) -> LiveLine | None:
        """Decided at the first step or wait, when every other plugin has replaced what it replaces."""
        if not self._decided:
            self._decided = True
            self._terminal = self._config.pluginmanager.getplugin("terminalreporter")
            with self._past_capturing():  # else the stream's descriptor is pytest's own file
                if may_rewrite(self._config, self._terminal, current_environment()):
                    self._live = LiveLine(self._terminal._tw, self._lock)  # noqa: SLF001  no public door
        return self._live

    def _past_capturing(self) -> contextlib.AbstractContextManager[Any]:
        return self._capture.global_and_fixture_disabled() if self._capture else contextlib.nullcontext()

    def _rewrite(self, recipe: str, text: str, seconds: float) -> None:
        assert self._live is not None  # noqa: S101  asked before
        with self._past_capturing():
            if not self._live.shown:
                self._begin_line()
            self._live.show(recipe, text, seconds=seconds)

    def _erase(self, live: LiveLine) -> None:
        if live.shown:
            with self._past_capturing():
                live.erase()
                self._terminal.flush()

    def _print(self, lines: list[str]) -> None:
        if not lines:
            return
        with self._past_capturing():
            self._begin_line()
            for line in lines:
                self._terminal.write_line(line, cyan=True)
            self._terminal.flush()

    def _begin_line(self) -> None:
        self._terminal.ensure_newline()
        if self._terminal._tw.width_of_current_line:  # noqa: SLF001  under xdist ensure_newline knows of no line
            self._terminal.write_line("")


_EVERY = 0.2


class Sender:
    """A worker's end."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}.jsonl"
        self._lock = threading.RLock()  # a signal handler sends, too

    def __call__(self, event: dict[str, Any]) -> None:
        """Append one event."""
        with self._lock, self._path.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(event) + "\n")


class Follower:
    """The controller's end: hands every event on, from a thread of its own until ``stop``."""

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ccci-relay-"))
        self._take = take
        self._read: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ccci-relay", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Hand on everything that has been written so far."""
        with self._lock:
            for path in sorted(self.folder.glob("*.jsonl")):
                for event in self._news(path):
                    self._take(event)

    def stop(self) -> None:
        """Hand on the rest and end. The folder goes too."""
        self._stop.set()
        self._thread.join()
        self.drain()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._stop.wait(_EVERY):
            self.drain()

    def _news(self, path: Path) -> list[dict[str, Any]]:
        start = self._read.get(path, 0)
        with path.open("rb") as source:
            source.seek(start)
            whole, newline, _ = source.read().rpartition(b"\n")
        self._read[path] = start + len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]


Outlet = Callable[[dict[str, Any]], None]
# Of an event: what it is, and of which run.
_IDENTITY = frozenset({"event", "recipe", "run_id", "results", "pid", "verdict", "kind"})


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
        self.runs: list[Known] = []
        self.complaints: list[str] = []
        self._live: dict[str, RecipeRun] = {}
        self.in_teardown = False
        self.stopped = ""
        self.outlet: Outlet | None = None
        self.funnel = Funnel(lambda text: self.emit({"event": "say", "line": f"ccci  {text}"}), self.stop)
        self._pid = pid

    def progress(self, recipe: str, watch: Stopwatch) -> contextlib.AbstractContextManager[None]:
        """Meanwhile each line that this package logs is one of ``recipe``, and is shown with the seconds of ``watch``.

        No two recipes are in progress at once in one process, so that whatever a thread logs is of this one.
        """

        def take(text: str) -> None:
            kind = "step" if isinstance(text, StepLine) else "wait" if isinstance(text, WaitLine) else "say"
            seconds = watch.seconds
            line = f"ccci {recipe}  +{seconds:.1f}s  {text}"
            self.emit(
                {"event": "say", "recipe": recipe, "kind": kind, "line": line, "text": str(text), "seconds": seconds}
            )

        return received(take)

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
        self.emit(
            {
                "event": "closed",
                "recipe": run.recipe,
                "run_id": run.run_id,
                "verdict": str(verdict),
                "problem": problem,
            }
        )

    def refused(self, recipe: str, problem: str) -> None:
        """A run could not be opened."""
        self._live.pop(recipe, None)
        self.emit({"event": "refused", "recipe": recipe, "problem": problem})

    def stop(self, why: str) -> None:
        """Somebody asked to stop: no open run is green or promotes from now on. Called from signal handlers, too."""
        self.stopped = self.stopped or why
        for run in list(self._live.values()):
            run.interrupt(why)

    def complain(self, text: str) -> None:
        """Note what went wrong beside the runs; it is shown at the end, and the session is red."""
        self.complaints.append(SECRETS.scrub(text))

    def emit(self, event: dict[str, Any]) -> None:
        """Take an event in, and pass it on, without secrets: it may go to another process, which does not know them.

        Whoever reads may be gone (a closed terminal, a pipe that nobody reads, a full disk): that must not raise into a
        run, which has to settle. This is the one place where that is caught.
        """
        event = SECRETS.scrub_all(event, but=_IDENTITY)
        self.take(event)
        if self.outlet is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
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
