"""Kills a reconcile at each of its journalled steps, and looks what the next one makes of it."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci import process
from pytest_ccci.errors import CcciError
from pytest_ccci.progress import received
from pytest_ccci.redact import SECRETS
from pytest_ccci.run.host import open_quietly
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import open_state
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm import realms
from pytest_ccci.warm.infra_recipe import last_good
from pytest_ccci.warm.keycloak import open_keycloak
from pytest_ccci.warm.keycloak_marker import log_in
from pytest_ccci.warm.realm_model import RealmLease
from pytest_ccci.warm.reconcile import Outcome, Wish, reconcile_app
from pytest_ccci.warm.update import Step, in_progress
from tests.proofs.infra.ground import Edit, Ground
from tests.proofs.infra.scenes import BROKEN, BROKEN_TRAEFIK, make_person

_LOG = logging.getLogger(__name__)

__all__ = ["POINTS", "Trials", "reconcile_until_killed", "run_trials"]

_CHECKOUT = Path(__file__).parents[3]
_IMPORTED_FROM = [str(_CHECKOUT), str(_CHECKOUT / "tests" / "support")]

_STATEFUL = tuple(Step)
_STATELESS = tuple(step for step in Step if step not in {Step.PARK, Step.SNAPSHOT})
POINTS = (*(("keycloak", step) for step in _STATEFUL), *(("traefik", step) for step in _STATELESS))
"""Every step of every app."""
_LATER = (0.0, 0.3, 1.5, 5.0)
"""Seconds after the step was journalled at which the kill comes: right then, or in the midst of what follows."""
_TIMEOUT = 600.0
_APPS = {"keycloak": "26.7.3", "traefik": "v3.7.15"}


@dataclass
class Trials:
    """What came of them."""

    done: int = 0
    killed: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class _Field:
    """The ground while trials go on: what runs, how many releases there were, the person whose data it is."""

    ground: Ground
    person: RealmLease
    realms: frozenset[str]
    number: int = 0
    runs: dict[str, str] = field(default_factory=dict)


def run_trials(ground: Ground, size: int, *, points: Sequence[tuple[str, str]] = POINTS, seed: int = 1) -> Trials:
    """Make ``size`` trials, by turns at each of ``points`` (app and step)."""
    report, watch, dice = Trials(), Stopwatch(), random.Random(seed)  # noqa: S311  dice
    place = _prepared(ground, {app for app, _ in points})
    for number in range(size):
        app, step = points[number % len(points)]
        later = _LATER[number // len(points) % len(_LATER)] * dice.uniform(0.7, 1.3)
        report.steps[f"{app} {step}"] += 1
        _trial(place, report, app, step, later)
        _LOG.info(f"trial {number + 1}/{size} {app} {step} +{later:.1f} s: {len(report.losses)} losses so far")
    report.seconds = watch.seconds
    return report


def reconcile_until_killed(words: Sequence[str]) -> None:
    """What the child process of a trial does: reconcile, and die at a step. Its settings come as JSON."""
    given, app, step, later = json.loads(words[0]), words[1], words[2], float(words[3])
    settings = resolve(given, {})
    state = open_state(settings.state_dir)

    def stepped(reached: str) -> None:
        if reached == step:
            if later <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(later, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()

    with received(lambda line: print(SECRETS.scrub(line), flush=True)):  # noqa: T201  the trial's log
        reconcile_app(open_quietly(settings, state), app, Wish(stepped=stepped))


def _prepared(ground: Ground, apps: set[str]) -> _Field:
    """Fresh apps where they are killed; the others as they are."""
    for app in sorted(apps):
        ground.clear(app)
        ground.release(app, f"1.0.0+{_APPS[app]}")
    ground.any_keycloak()
    person = make_person(ground)
    return _Field(ground, person, _realms(ground), runs={app: ground.up(app).version for app in _APPS})


def _realms(ground: Ground) -> frozenset[str]:
    return frozenset(str(realm["realm"]) for realm in open_keycloak(ground.site).realms())


def _trial(place: _Field, report: Trials, app: str, step: str, later: float) -> None:
    ground = place.ground
    place.number += 1
    old, new = place.runs[app], f"1.0.{place.number}+{_APPS[app]}"
    bad = step == Step.UNDO
    edit = (BROKEN["never starts"] if app == "keycloak" else BROKEN_TRAEFIK["exits at once"]) if bad else None
    ground.release(app, new, edit=edit or _moved(place.number))
    killed = _killed(ground, app, step, later)
    report.done += 1
    report.killed += killed
    problem = _next(ground, app, by_run=place.number % 4 != 0)
    problem = problem or _left(place, app, {old} if bad else {old, new})
    if bad:
        ground.withdraw(app, new)
    found = ground.up(app)
    place.runs[app] = found.version
    kind = "old" if found.version == old else "new"
    report.ends[f"{step}: {kind}{'' if killed else ' (ended before the kill)'}"] += 1
    if problem:
        report.losses.append(f"{app} {step} +{later:.1f} s: {problem}")


def _moved(number: int) -> Edit:
    """A release whose tasks must be replaced, as a real one's are."""
    return lambda text: text.replace("    environment:\n", f"    environment:\n      - CCCI_TRIAL={number}\n", 1)


def _killed(ground: Ground, app: str, step: str, later: float) -> bool:
    where = f"import sys; sys.path[:0] = {_IMPORTED_FROM!r}"
    code = f"{where}; from tests.proofs.infra.trials import reconcile_until_killed as go; go(sys.argv[1:])"
    names = ("state_dir", "zone", "http_port", "https_port", "infra_recipes", "timeout")
    given = json.dumps({name: str(getattr(ground.settings, name)) for name in names})
    done = process.run(
        [sys.executable, "-c", code, given, app, step, str(later)],
        timeout=_TIMEOUT,
        env={**ground.settings.environment, **ground.environment},
        check=False,
    )
    if done.rc not in {0, -signal.SIGKILL}:
        raise AssertionError(f"the reconcile of a trial failed by itself: {done.stderr[-2000:]}")
    _LOG.info(f"  killed: {done.rc == -signal.SIGKILL}, {done.seconds:.1f} s")
    return done.rc == -signal.SIGKILL


def _next(ground: Ground, app: str, *, by_run: bool) -> str:
    """What comes after the death: a run that needs the app, or the next reconcile; what went wrong with it."""
    try:
        if by_run:
            ground.up(app)
            return ""
        done = reconcile_app(ground.site, app, Wish())
    except CcciError as error:
        return str(error)
    fine = done.outcome in {Outcome.CURRENT, Outcome.UPGRADED, Outcome.HELD, Outcome.ROLLED_BACK}
    return "" if fine else f"{done.outcome}: {done.problem}"


def _left(place: _Field, app: str, allowed: set[str]) -> str:
    """One healthy app with its data, at either version, and the right record; else what is wrong."""
    ground = place.ground
    if in_progress(ground.state, app) is not None:
        return "the journal still has something to do"
    found = ground.up(app)
    if not found.healthy or found.version not in allowed:
        return f"runs {found.version} ({found.problem or 'healthy'}), not one of {sorted(allowed)}"
    good = last_good(ground.state, app).release
    if good != found.version:
        return f"last-good says {good}, but {found.version} runs"
    if log_in(ground.site, place.person) != place.person.user.sub:
        return "the person is another one"
    # As every run does first: a realm that the killed one had asked for may have come after its recovery.
    realms.reap(open_keycloak(ground.site), ground.state)
    extra = sorted(_realms(ground) - place.realms)
    return f"realms are left: {extra}" if extra and app == "keycloak" else ""
