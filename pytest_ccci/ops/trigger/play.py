"""Plays a command: the recipe of our own tree, tested at the commit of a pull request, in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import CcciError, NoRun, UsageError, Verdict
from pytest_ccci.ops.run_pytest import run_pytest_apart
from pytest_ccci.ops.trigger.decision import Mode
from pytest_ccci.ops.trigger.store import Status
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import RECIPE_TOML, load_spec
from pytest_ccci.redact import SECRETS, printable
from pytest_ccci.results.forge import comment_of, status_of
from pytest_ccci.results.verdict import recompute
from pytest_ccci.run.prepare import network
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = ["GRACE", "Job", "Played", "Player", "find_recipes", "refused", "without_run"]

GRACE = 180.0
"""Seconds that a run has to put everything back after it was asked to end."""
_DESCRIPTION = 140


@dataclass(frozen=True)
class Job:
    """What is to be played: the recipe's folder in our own tree, and the commit, to be fetched from ``url``.

    ``run_id`` is that of the run to be, which was told beforehand.
    """

    key: str
    folder: Path
    url: str
    commit: str
    mode: Mode
    run_id: str


@dataclass(frozen=True)
class Played:
    """What a run came to: its verdict, its comment without the marker, the status of its commit."""

    verdict: str
    body: str
    doing: str
    status: Status | None = None
    run_id: str = ""
    seconds: float = 0.0


@dataclass
class Player:
    """Plays jobs.

    No file of the pull request but what a run deploys is used, and none is executed on this machine: the tests, their
    conftest.py and recipe.toml are those of ``job.folder``. Where the head reaches outside of its app what the tip of
    the recipe's repository does not, nothing is deployed. A pull request never changes a known-good.

    Args:
        passed_on: settings on the command line of each run.
        patience: seconds that a run may take.
        link: the address below which the folder of each run is served; empty where none is.
    """

    settings: Settings
    state: StateDir
    passed_on: Sequence[str] = ()
    patience: float = 3600.0
    link: str = ""

    def play(self, job: Job, stop: threading.Event) -> Played:
        """Play one, to its end or until ``stop`` is set. What goes wrong is part of what is returned."""
        watch = Stopwatch()
        log = self.state.trigger / "logs" / f"{job.key}.log"
        deadline = Deadline(self.patience)
        try:
            log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            spec = load_spec(job.folder)
            mirror = open_mirror(spec, cache=self.state.recipes, env=network(self.settings.environment))
            mirror.fetch_commit(job.url, job.commit)
            child = run_pytest_apart(
                self.state,
                job.folder,
                words_of(job),
                settings=self.passed_on,
                log=log,
                deadline=deadline,
                grace=GRACE,
                stop=stop,
                env=environment_of_run(self.settings.environment),
            )
        except NoRun as error:
            cut = self._cut_off(deadline, stop)
            if error.said == Verdict.FAIL and not cut:
                return refused(job.mode, error.tail, seconds=watch.seconds)
            reason = cut or error.tail or error.what
            return without_run(job.mode, job.commit, f"error: {reason}", seconds=watch.seconds)
        except (CcciError, OSError) as error:
            reason = self._cut_off(deadline, stop) or str(error).partition("\n")[0]
            return without_run(job.mode, job.commit, f"error: {reason}", seconds=watch.seconds)
        result = child.result
        cut = self._cut_off(deadline, stop)
        verdict, why = recompute(result)
        if cut:
            return without_run(job.mode, job.commit, f"error: {cut}", seconds=result.seconds, run_id=result.run_id)
        link = f"{self.link.rstrip('/')}/{result.run_id}/" if self.link else ""
        told = status_of(result)
        status = Status(told.state, told.description) if told else None
        if status is None and job.mode == "cold":
            status = Status("error", printable(f"unverified: {why}", _DESCRIPTION))
        return Played(
            str(verdict),
            comment_of(result, link=link),
            SECRETS.scrub(why.partition("\n")[0]),
            status if job.mode == "cold" else None,
            result.run_id,
            result.seconds,
        )

    def _cut_off(self, deadline: Deadline, stop: threading.Event) -> str:
        if stop.is_set():
            return "the run was interrupted: the service that plays it was asked to end"
        return f"it was not over after {self.patience:.0f} s, and was ended" if deadline.passed else ""


def words_of(job: Job) -> list[str]:
    """What the run of a command is told. A pull request never reaches further than the tip, and promotes nothing."""
    run = (f"--ccci-ref={job.commit}", f"--ccci-run-id={job.run_id}")
    return [f"--{job.mode}", *run, "--ccci-reach=tip", "--ccci-promote=false"]


def without_run(mode: Mode, commit: str, why: str, *, seconds: float = 0.0, run_id: str = "") -> Played:
    """What is told of a command whose run said nothing: an error, which is not the recipe's."""
    words = printable(SECRETS.scrub(why), 300).replace("`", "'")
    body = (
        f"**error**: `{words}`\n\nThis says nothing about the recipe ({mode}, commit `{commit}`). "
        "To try again, write a new comment.\n"
    )
    status = Status("error", printable(words, _DESCRIPTION)) if mode == "cold" else None
    return Played(str(Verdict.ERROR), body, words, status, run_id, seconds)


def refused(mode: Mode, reason: str, *, seconds: float = 0.0) -> Played:
    """What is told of a head that was refused before there was a run: the recipe's fault, and nothing was deployed."""
    rows = [printable(row, 1000).replace("`", "'").strip() for row in SECRETS.scrub(reason).splitlines()[:12]]
    first = next(filter(None, rows), "the recipe cannot be tested as it is")
    body = "**fail**: refused before anything was deployed\n\n" + "".join(f"- `{row}`\n" for row in rows if row)
    status = Status("failure", printable(first, _DESCRIPTION)) if mode == "cold" else None
    return Played(str(Verdict.FAIL), body, first, status, "", seconds)


def environment_of_run(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run: ours, without what is the trigger's alone."""
    ours = ("CCCI_FORGE", "CREDENTIALS_DIRECTORY")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


def find_recipes(text: str) -> dict[str, Path]:
    """The folder with the recipe of each repository's name, from ``--ccci-forge-recipes``.

    ``text`` has folders, which hold a folder per repository, and ``REPOSITORY=DIR``, separated by blanks; what is
    later counts. An owner before a repository's name is not needed: all are of one organisation.

    Raises:
        UsageError: there is no recipe in one of them.
    """
    found: dict[str, Path] = {}
    for word in text.split():
        name, equals, place = word.rpartition("=")
        folder = Path(place).expanduser().resolve()
        if equals:
            here = {name.rpartition("/")[2].lower(): folder}
        else:
            here = {path.parent.name.lower(): path.parent for path in sorted(folder.glob(f"*/{RECIPE_TOML}"))}
        missing = [path for path in here.values() if not (path / RECIPE_TOML).is_file()]
        if missing or not here:
            where = str(missing[0] if missing else folder)
            raise UsageError(f"there is no {RECIPE_TOML} in it", where=where, advice="see --ccci-forge-recipes")
        found.update(here)
    return found
