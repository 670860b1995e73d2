"""Tests what is due of the enrolled recipes, by itself: infra first, then cold runs, then what is kept.

A sweep writes down each step as it is done (``sweeps/<id>/sweep.json``); one that was killed is gone on with. What it
says of a run is read from that run's results.json.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_ccci import __version__
from pytest_ccci.errors import CcciError, EngineUnavailable, LockBusy, StateDamaged, StoreDamaged, UsageError, Verdict
from pytest_ccci.locks import hold
from pytest_ccci.ops.canonicals import recipes_with_canonical, verify_all
from pytest_ccci.ops.disk import watch
from pytest_ccci.ops.prune import prune
from pytest_ccci.ops.reconcile import reconcile
from pytest_ccci.ops.report import write_report
from pytest_ccci.ops.run_pytest import run_pytest_apart
from pytest_ccci.ops.status import engine_at_hand
from pytest_ccci.ops.sweep_record import (
    Attempt,
    Enrolled,
    InfraStep,
    SweepRecord,
    SweptRecipe,
    due,
    load_sweep,
    load_swept,
)
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import RECIPE_TOML, load_spec
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.verdict import recompute
from pytest_ccci.run.known_good import kept_goods
from pytest_ccci.run.prepare import network
from pytest_ccci.run.run_dir import new_run_id, now_text
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, write_atomic
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm.health import APPS
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.reconcile import Wish

__all__ = ["Sweep"]

_LOG = logging.getLogger(__name__)

_GRACE = 180.0
"""Seconds that a run has to put everything back after it was asked to end."""


@dataclass
class Sweep:
    """One sweep over the recipes in ``folders``.

    Args:
        only: test none but these, by name; whether they are due is asked all the same.
        most: how many recipes to test at most; ``None``: all that are due.
        patience: seconds that a run may take, before it is ended and is an error.
        budget: seconds for reading contents of known-goods.
        passed_on: settings on the command line of each run.
    """

    settings: Settings
    state: StateDir
    folders: Sequence[Path]
    passed_on: Sequence[str] = ()
    only: Sequence[str] = ()
    most: int | None = None
    patience: float = 3600.0
    budget: float = 600.0
    record: SweepRecord = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)
    _recipes: dict[str, Enrolled] = field(default_factory=dict)
    _infra: dict[str, str] = field(default_factory=dict)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def perform(self) -> SweepRecord:
        """Do all of it.

        Raises:
            UsageError: no recipe is enrolled, or one that is named is not.
            LockBusy: another sweep is going on.
        """
        with hold(self.state.sweep_lock, wait=0, owner={"doing": "sweep"}), self._stoppable():
            self._begin()
            if self._reconcile():
                self._decide()
                self._test()
                self._verify()
                self._prune()
            self._save(ended=now_text())
            self._report()
        return self.record

    def foresee(self) -> SweepRecord:
        """What a sweep would test now, on the infra as it is; nothing is changed."""
        self.record = SweepRecord(sweep_id="", started=now_text())
        self._find_recipes()
        self._read_infra()
        self._decide(keep=False)
        return self.record

    # --- the steps

    def _begin(self) -> None:
        """Go on with the sweep that was killed, if one was; else begin one."""
        self.record = SweepRecord(sweep_id=new_run_id(), started=now_text())
        for path in sorted(self.state.sweeps.glob("*/sweep.json"))[-1:]:
            with suppress(StateDamaged):
                before = load_sweep(path)
                if before is not None and not before.ended:
                    self.record = replace(before, resumed=before.resumed + 1, problems=())
                    _LOG.info(f"going on with the sweep of {before.started}, which was cut off")
        self._find_recipes()
        for recipe in self.record.tested:  # perhaps killed before it noted that
            if recipe in self._recipes and not self._wants_another(recipe):
                self._note_tested(recipe)
        self._save()

    def _find_recipes(self) -> None:
        found = sorted({path.resolve() for given in self.folders for path in _recipe_folders(given)})
        for folder in found:
            try:
                enrolled = self._enrolled(folder)
            except CcciError as error:
                self._problem(f"{folder.name}: {error}")
            else:
                if enrolled is not None:
                    self._recipes[enrolled.name] = enrolled
        where = ", ".join(map(str, self.folders))
        if not self._recipes and not self.record.problems:
            raise UsageError(
                "no recipe is enrolled there, so that a sweep would test nothing",
                where=where,
                seen=f"{len(found)} recipes, none with canonical = true",
                advice="set canonical = true in the recipe.toml of what is to be tested by itself",
            )
        unknown = sorted(set(self.only) - set(self._recipes))
        if unknown:
            known = ", ".join(sorted(self._recipes)) or "none"
            raise UsageError(f"not enrolled there: {', '.join(unknown)}", where=where, seen=f"enrolled are: {known}")

    def _enrolled(self, folder: Path) -> Enrolled | None:
        spec = load_spec(folder)
        if not spec.canonical:
            return None
        mirror = open_mirror(spec, cache=self.state.recipes, env=network(self.settings.environment))
        releases = mirror.releases()
        latest = mirror.head_of(releases[-1]) if releases else None
        known = ""
        try:
            known = next((good.release for good in kept_goods(self.state, spec.name)), "")
        except StoreDamaged as error:
            self._problem(f"{spec.name}: {error}")
        return Enrolled(
            name=spec.name,
            folder=folder,
            release=releases[-1].tag if releases else "",
            commit=latest.commit if latest else "",
            known=known,
            needs_keycloak=spec.needs.keycloak is not None,
            tested=load_swept(self.state.swept(spec.name)),
        )

    def _reconcile(self) -> bool:
        """Bring the live-warm apps up to date; whether to go on: there is an engine, and no run is in flight.

        A release that was rolled back is no reason not to: what runs then is the healthy one before it.
        """
        try:
            done = reconcile(self.settings, self.state, (), Wish(), dry=False)
        except CcciError as error:
            self._problem(f"infra: {error}")
            go_on = not isinstance(error, EngineUnavailable | LockBusy) and not self._stop.is_set()
        else:
            steps = tuple(InfraStep(one.app, str(one.outcome), one.now, one.problem) for one in done)
            # What went wrong before this sweep was killed is held by now, and stays in what it says of the night.
            wrong = tuple(one for one in self.record.infra if one.is_wrong and one not in steps)
            self.record = replace(self.record, infra=(*wrong, *steps))
            go_on = not self._stop.is_set()
        self._save()
        return go_on

    def _read_infra(self) -> None:
        """What runs stand on now, by name."""
        self._infra = {"pytest-ccci": __version__}
        with suppress(CcciError):
            self._infra["engine"] = engine_at_hand(self.settings, self.state).facts.version
        for app in APPS:
            with suppress(CcciError):
                self._infra[app] = last_good(self.state, app).release

    def _infra_of(self, recipe: Enrolled) -> dict[str, str]:
        """What the recipe's runs stand on: Keycloak only where it needs one."""
        return {name: value for name, value in self._infra.items() if name != "keycloak" or recipe.needs_keycloak}

    def _decide(self, *, keep: bool = True) -> None:
        self._read_infra()
        now = datetime.now(UTC)
        tried = set(self.record.tested)  # before it was killed: why they were due stays
        before = {one.recipe: one for one in self.record.decided if one.recipe in tried}
        rulings = [before.get(each.name) or due(each, self._infra_of(each), now) for each in self._recipes.values()]
        chosen = [one for one in rulings if not self.only or one.recipe in self.only]
        todo = sorted(
            (one for one in chosen if one.due), key=lambda one: (one.recipe not in tried, one.turn, one.recipe)
        )
        most = len(todo) if self.most is None else max(self.most, len(tried))
        left = tuple(one.recipe for one in todo[most:])
        self.record = replace(self.record, decided=tuple(chosen), left=left)
        if keep:
            self._save()

    def _test(self) -> None:
        """Test what is due, as many at once as there are slots; not what this sweep tested before it was killed."""
        todo = [one for one in self.record.decided if one.due and one.recipe not in self.record.left]
        todo.sort(key=lambda one: (one.turn, one.recipe))
        with ThreadPoolExecutor(self.settings.slots) as pool:
            for done in as_completed([pool.submit(self._attempts, self._recipes[one.recipe]) for one in todo]):
                done.result()

    def _attempts(self, recipe: Enrolled) -> None:
        """A cold run; once more where it ended in an error that is not the recipe's, and then without a promotion.

        Each is written down as soon as it is over: killed between the two, the sweep that goes on makes the second one.
        """
        for number in (1, 2):
            done = [one for one in self.record.attempts if one.recipe == recipe.name]
            if len(done) >= number or self._stop.is_set() or (done and not self._wants_another(recipe.name)):
                continue
            if done:
                _LOG.info(f"{recipe.name}: an error that is not the recipe's: tried once more")
            attempt = self._attempt(recipe, number=number)
            if self._stop.is_set():
                return
            with self._writing:
                self.record = replace(self.record, attempts=(*self.record.attempts, attempt))
                self._save()
                if not self._wants_another(recipe.name):
                    self._note_tested(recipe.name)

    def _wants_another(self, recipe: str) -> bool:
        """Whether the only attempt at it ended in an error that is not the recipe's, and in time."""
        tried = [one for one in self.record.attempts if one.recipe == recipe]
        return len(tried) == 1 and tried[0].verdict == Verdict.ERROR and not tried[0].hung

    def _attempt(self, recipe: Enrolled, *, number: int) -> Attempt:
        """One run, in a process of its own."""
        log = self._folder / f"{recipe.name}-{number}.log"
        begun = Attempt(
            recipe=recipe.name,
            release=recipe.release,
            commit=recipe.commit,
            infra=self._infra_of(recipe),
            verdict=str(Verdict.ERROR),
            at=now_text(),
            log=str(log),
        )
        _LOG.info(f"{recipe.name}: cold run of {recipe.release}")
        words = ["--cold", "--ccci-ref=latest", *(["--ccci-promote=false"] if number > 1 else [])]
        deadline = Deadline(self.patience)
        try:
            child = run_pytest_apart(
                self.state,
                recipe.folder,
                words,
                settings=self.passed_on,
                log=log,
                deadline=deadline,
                grace=_GRACE,
                stop=self._stop,
            )
        except (CcciError, OSError) as error:
            hung = deadline.passed and not self._stop.is_set()
            reason = self._too_long() if hung else str(error).partition("\n")[0]
            return replace(begun, reason=SECRETS.scrub(reason), seconds=self.patience - deadline.left, hung=hung)
        result, hung = child.result, deadline.passed
        verdict, reason = recompute(result)
        return replace(
            begun,
            verdict=str(Verdict.ERROR if hung else verdict),
            reason=SECRETS.scrub(self._too_long() if hung else reason.partition("\n")[0]),
            run_id=result.run_id,
            seconds=result.seconds,
            known_good=result.known_good.action,
            hung=hung,
        )

    def _too_long(self) -> str:
        return f"it was not over after {self.patience:.0f} s, and was ended"

    def _note_tested(self, recipe: str) -> None:
        attempts = [one for one in self.record.attempts if one.recipe == recipe]
        last = replace(attempts[-1], verdict=self.record.verdict(recipe))
        before = self._recipes[recipe].tested
        green = last if last.verdict == Verdict.PASS else before.green if before else None
        write_atomic(self.state.swept(recipe), TypeAdapter(SweptRecipe).dump_json(SweptRecipe(last, green), indent=1))

    def _verify(self) -> None:
        """Compare known-goods with their manifests, and read contents for as long as the budget lets."""
        recipes = recipes_with_canonical(self.state)
        if not recipes or self._stop.is_set():
            return
        try:
            found = verify_all(self.settings, self.state, recipes, read_data=False, budget=self.budget)
        except CcciError as error:
            self._problem(f"verifying the known-goods: {error}")
        else:
            self.record = replace(self.record, verified=found)
        self._save()

    def _prune(self) -> None:
        if self._stop.is_set():
            return
        try:
            gone = prune(self.settings, self.state, dry=False)
        except (CcciError, OSError) as error:
            self._problem(f"pruning: {error}")
        else:
            self.record = replace(self.record, pruned=sum(one.size for one in gone))
        engine = None
        with suppress(CcciError):
            engine = engine_at_hand(self.settings, self.state)
        for low in watch(self.settings, self.state, engine):
            _LOG.warning(f"disk: too little is free: {low}")

    def _report(self) -> None:
        """Renew the page of all recipes and of the machine."""
        try:
            write_report(self.settings, self.state, "")
        except CcciError as error:
            _LOG.warning(f"the page of all recipes is an older one: {error}")

    # --- its own record

    @property
    def _folder(self) -> Path:
        return self.state.sweeps / self.record.sweep_id

    def _problem(self, text: str) -> None:
        _LOG.warning(text)
        self.record = replace(self.record, problems=(*self.record.problems, SECRETS.scrub(text)))

    def _save(self, *, ended: str = "") -> None:
        if ended and self._stop.is_set():  # not over: the next one goes on with it
            self._problem("it was asked to stop; the next sweep goes on with it")
            ended = ""
        self.record = replace(self.record, ended=ended)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(self._folder / "sweep.json", TypeAdapter(SweepRecord).dump_json(self.record, indent=1))

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Asked to stop (SIGINT, SIGTERM, SIGHUP), end the runs, each of which puts everything back, and say so."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before[number] = signal.signal(number, lambda *_: self._stop.set())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _recipe_folders(given: Path) -> Iterator[Path]:
    """``given`` if it is a recipe's folder, else the recipes' folders in it.

    Raises:
        UsageError: there is none.
    """
    if (given / RECIPE_TOML).is_file():
        yield given
        return
    found = sorted(path.parent for path in given.glob(f"*/{RECIPE_TOML}"))
    if not found:
        raise UsageError(f"there is no {RECIPE_TOML} in it, nor in the folders in it", where=str(given))
    yield from found
