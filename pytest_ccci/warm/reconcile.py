"""Brings a live-warm app to its recipe's latest release, behind the safety gate and then the health gate."""

from __future__ import annotations

import enum
import json
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from pytest_ccci.errors import CcciError, DiskFull, InfrastructureFault, StateDamaged, StateDirError, UsageError
from pytest_ccci.recipe.tree import Head, Note
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.fs import os_fault
from pytest_ccci.waiting import Stopwatch
from pytest_ccci.warm.alerts import Alert, AlertKind, Hold, keep_hold, lift_hold, load_hold, raise_alert, renewed
from pytest_ccci.warm.gate import Decision, GateAnswer
from pytest_ccci.warm.health import inspect_infra, is_external, prove
from pytest_ccci.warm.infra import app_lock, bring_up, recover
from pytest_ccci.warm.infra_recipe import (
    Good,
    InfraRecipe,
    head_of,
    keeps_data,
    last_good,
    notes_towards,
    open_infra,
    read_facts,
    record_good,
    require_access,
)
from pytest_ccci.warm.update import (
    Ending,
    Step,
    Stuck,
    Target,
    Update,
    Way,
    course,
    in_progress,
    put_data_back,
    set_damaged_aside,
    stuck,
    tried,
    unstick,
)
from pytest_ccci.warm.zone import Site

__all__ = [
    "Outcome",
    "Reconciled",
    "Wish",
    "last_outcome",
    "plan_reconcile",
    "reconcile_app",
    "record_outcome",
    "worst",
]

_LOG = logging.getLogger(__name__)


class Outcome(enum.StrEnum):
    """What came of it; from good to bad."""

    CURRENT = "current"
    UPGRADED = "upgraded"
    HELD = "held"
    ROLLED_BACK = "rolled-back"
    ERROR = "error"
    ROLLBACK_FAILED = "rollback-failed"


@dataclass(frozen=True)
class Reconciled:
    """One app's outcome.

    ``before`` ran, ``target`` is the latest, ``now`` runs. ``problem`` says what went wrong, ``reasons`` why it was
    held or let pass, ``since`` when. ``touched``: the running app was stopped or deployed; ``seconds`` of all of it.
    """

    app: str
    outcome: Outcome
    before: str = ""
    target: str = ""
    now: str = ""
    reasons: tuple[str, ...] = ()
    problem: str = ""
    touched: bool = False
    seconds: float = 0.0
    ident: str = ""
    since: str = ""


@dataclass(frozen=True)
class Recorded(Reconciled):
    """An outcome as it was recorded, with its time."""

    time: str = ""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of ``outcomes``; of none: current."""
    order = list(Outcome)
    return max(outcomes, key=order.index, default=Outcome.CURRENT)


def record_outcome(state: StateDir, done: Reconciled) -> None:
    """Keep what came of it, for whoever looks later."""
    facts = {**SECRETS.scrub_all(asdict(done)), "time": datetime.now(UTC).isoformat(timespec="seconds")}
    write_atomic(state.infra(done.app) / "outcome.json", json.dumps(facts, indent=1).encode())


def last_outcome(state: StateDir, app: str) -> dict[str, object]:
    """What came of the last reconcile of ``app``, with its ``time``; empty when there was none.

    Raises:
        StateDamaged: the file that says so cannot be used.
    """
    found = load_state(state.infra(app) / "outcome.json", Recorded, advice="remove it: the next reconcile writes it")
    return asdict(found) if found else {}


_DAY = 86400.0


@dataclass(frozen=True)
class Wish:
    """What an operator says to it.

    ``accept`` is the one release to let pass, ``again`` tries a rollback that failed once more, ``trust`` says that a
    person put it right, ``alert_again`` is after how many seconds the same hold is alerted anew. ``stepped`` is told of
    each journalled step, ``restore`` puts data back: both are for proofs.
    """

    accept: str = ""
    again: bool = False
    trust: bool = False
    alert_again: float = _DAY
    stepped: Callable[[str], None] = lambda _step: None
    restore: Callable[[Site, Update, str], None] = put_data_back


@dataclass(frozen=True)
class _UpdatePlan:
    """What is known before anything is touched."""

    recipe: InfraRecipe
    running: str
    prior: Head | None
    latest: Head
    notes: tuple[Note, ...]
    answer: GateAnswer
    reasons: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", tuple(reason.text for reason in self.answer.reasons))


def plan_reconcile(site: Site, app: str, wish: Wish) -> Reconciled:
    """What :func:`reconcile_app` would do, and why. Changes nothing that runs."""
    if is_external(site, app):
        return _external(app)
    found = inspect_infra(site, app)
    if found is None:
        latest = open_infra(site, app).mirror.resolve("latest")
        return Reconciled(app, Outcome.UPGRADED, target=latest.version, reasons=("it is not deployed yet",))
    plan = _plan_update(site, app, found.version, wish)
    outcome = {Decision.CURRENT: Outcome.CURRENT, Decision.HOLD: Outcome.HELD, Decision.PASS: Outcome.UPGRADED}
    hold = _previous_hold(site, app)
    cut = "an update was cut off, or is under way: it is finished or undone first"
    return Reconciled(
        app,
        outcome[plan.answer.decision],
        before=found.version,
        target=plan.latest.version,
        now=found.version,
        reasons=(cut, *plan.reasons) if in_progress(site.state, app) else plan.reasons,
        problem=mark.problem if (mark := stuck(site.state, app)) else found.problem,
        since=hold.since if hold and plan.answer.decision is Decision.HOLD else "",
    )


def reconcile_app(site: Site, app: str, wish: Wish) -> Reconciled:
    """Do it; the outcome is recorded, and alerted where an operator must know. Nothing is in flight, the caller says.

    Raises:
        UsageError: a release was accepted that is not the latest.
    """
    if is_external(site, app):
        return _external(app)
    watch = Stopwatch()
    try:
        with app_lock(site, app, f"reconcile {app}"):
            done = replace(_guarded(site, app, wish), seconds=round(watch.seconds, 1))
            return _with(done, _kept(site, app, "recording the outcome", lambda: record_outcome(site.state, done)))
    except (InfrastructureFault, StateDirError) as error:
        # The lock could not be had: other apps are reconciled all the same.
        return Reconciled(app, Outcome.ERROR, problem=str(error), seconds=round(watch.seconds, 1))


def _guarded(site: Site, app: str, wish: Wish) -> Reconciled:
    """The outcome, whatever went wrong on the way to it."""
    try:
        return _reconcile(site, app, wish)
    except OSError as error:
        problem = str(os_fault(error, f"reconciling {app}", site.state.infra(app)))
    except UsageError as error:
        if wish.accept:
            raise
        problem = str(error)
    except CcciError as error:
        problem = str(error)
    return Reconciled(app, _failure(site, app), now=_running(site, app), problem=problem)


def _failure(site: Site, app: str) -> Outcome:
    try:
        return Outcome.ERROR if stuck(site.state, app) is None else Outcome.ROLLBACK_FAILED
    except CcciError:
        return Outcome.ROLLBACK_FAILED  # a mark that cannot be read counts


def _running(site: Site, app: str) -> str:
    """What runs now; empty where nothing does, or where nobody can be asked."""
    try:
        found = inspect_infra(site, app)
    except CcciError:
        return ""
    return found.version if found else ""


def _kept(site: Site, app: str, what: str, write: Callable[[], object]) -> str:
    """Write something down that changes no outcome. Where that fails it is told.

    Returns:
        Empty when it was written, else why it was not.
    """
    try:
        write()
    except OSError as error:
        problem = str(os_fault(error, what, site.state.infra(app)))
        _LOG.warning(f"{app}: {problem}")
        return problem
    return ""


def _with(done: Reconciled, *problems: str) -> Reconciled:
    """The same outcome, with what could not be written down."""
    return replace(done, problem="\n".join(part for part in (done.problem, *problems) if part))


def _external(app: str) -> Reconciled:
    return Reconciled(app, Outcome.CURRENT, reasons=("somebody else's: left alone",))


def _reconcile(site: Site, app: str, wish: Wish) -> Reconciled:
    if wish.trust and _has_damaged(site, app):
        _trust(site, app, "trust")
    recover(site, app)
    mark = stuck(site.state, app)
    if mark is not None and wish.again:
        _try_again(site, mark, wish)
    elif mark is not None and wish.trust:
        _trust(site, app, mark.ident)
    found = bring_up(site, app)
    plan = _plan_update(site, app, found.version, wish)
    base = Reconciled(app, Outcome.CURRENT, found.version, plan.latest.version, found.version, plan.reasons)
    if plan.answer.decision is Decision.CURRENT:
        return _with(base, _lifted(site, app), _good(site, app, plan.prior) if plan.prior else "")
    if plan.answer.decision is Decision.HOLD or plan.prior is None:
        return _held(site, plan, base, wish)
    return _updated(site, plan, plan.prior, base, wish)


def _lifted(site: Site, app: str) -> str:
    return _kept(site, app, "lifting the hold", lambda: lift_hold(site.state, app))


def _good(site: Site, app: str, head: Head) -> str:
    return _kept(
        site, app, "noting what was proved", lambda: record_good(site.state, app, Good(head.version, head.commit))
    )


def _plan_update(site: Site, app: str, running: str, wish: Wish) -> _UpdatePlan:
    recipe = open_infra(site, app)
    latest = recipe.mirror.resolve("latest")
    if wish.accept and wish.accept != latest.version:
        raise UsageError(
            f"{wish.accept} is not the latest release of {app}",
            seen=f"the latest is {latest.version}",
            advice="only that very version can be accepted",
        )
    good = last_good(site.state, app)
    prior = head_of(recipe, good if good.release == running else Good(running))
    notes = notes_towards(recipe, running, latest) if running != latest.version else ()
    answer = course(
        running,
        Target(latest.version, latest.commit),
        notes=notes,
        policy=recipe.spec.policy,
        accepted=wish.accept,
        tried=tried(site.state, app),
        returnable=prior is not None,
    )
    return _UpdatePlan(recipe, running, prior, latest, notes, answer)


def _held(site: Site, plan: _UpdatePlan, base: Reconciled, wish: Wish) -> Reconciled:
    now = datetime.now(UTC)
    hold, tell = renewed(
        _previous_hold(site, base.app),
        app=base.app,
        current=base.before,
        release=base.target,
        kind=plan.answer.alert or AlertKind.HELD_UNPARSABLE,
        reasons=plan.reasons,
        now=now,
        again=wish.alert_again,
    )
    problem = ""
    if tell:
        text = "\n".join(plan.reasons) + "".join(f"\n\n{note.version}:\n{note.text}" for note in plan.notes)
        alert = Alert(
            hold.kind,
            base.app,
            attempted=base.target,
            last_good=base.before,
            recovered=True,
            held_for=hold.age(now),
            notes=text,
        )
        problem = raise_alert(site.state, alert)
    kept = _keep_hold(site, replace(hold, alerted="") if problem else hold)
    return _with(replace(base, outcome=Outcome.HELD, since=hold.since), problem, kept)


def _updated(site: Site, plan: _UpdatePlan, prior: Head, base: Reconciled, wish: Wish) -> Reconciled:
    recipe, target = plan.recipe, plan.latest
    facts = [read_facts(site, recipe, head) for head in (prior, target)]
    data = any(keeps_data(each) for each in facts)
    if data:
        require_access(site, base.app, recipe.stack, facts[0])
    ident = f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    update = Update(base.app, ident, Good(prior.version, prior.commit), Good(target.version, target.commit), data=data)
    way = Way(site, recipe, update, stepped=wish.stepped, restore=wish.restore)
    ending = way.go(prior, target)
    touched = Step.DEPLOY in way.steps or Step.PARK in way.steps
    base = replace(base, ident=ident, touched=touched, problem=way.problem)
    if ending is Ending.STAYED:
        return _with(replace(base, outcome=Outcome.UPGRADED, now=target.version), _lifted(site, base.app))
    return _went_wrong(site, base, ending, way, wish)


def _went_wrong(site: Site, base: Reconciled, ending: Ending, way: Way, wish: Wish) -> Reconciled:
    back = ending is Ending.BACK
    kind = AlertKind.ROLLED_BACK if back else AlertKind.ROLLBACK_FAILED
    alert = Alert(
        kind,
        base.app,
        attempted=base.target,
        last_good=base.before,
        recovered=back,
        notes=way.problem,
        run_id=base.ident,
    )
    if not back:
        failed = replace(base, outcome=Outcome.ROLLBACK_FAILED, now=_running(site, base.app))
        return _with(failed, raise_alert(site.state, alert))
    news, problem = _keep_failed(site, base, wish)
    if news or base.touched:
        said = replace(alert, kind=AlertKind.DISK) if isinstance(way.error, DiskFull) else alert
        problem = "\n".join(part for part in (problem, raise_alert(site.state, said)) if part)
    return _with(replace(base, outcome=Outcome.ROLLED_BACK), problem)


def _keep_failed(site: Site, base: Reconciled, wish: Wish) -> tuple[bool, str]:
    """Note that the app is held by what went wrong; whether that is news, and why it could not be noted.

    What was rolled out is held from now on, what could not even be fetched is tried again at each reconcile: neither is
    alerted each time.
    """
    hold, tell = renewed(
        _previous_hold(site, base.app),
        app=base.app,
        current=base.before,
        release=base.target,
        kind=AlertKind.ROLLED_BACK,
        reasons=(f"it did not stay: {base.problem.partition(chr(10))[0]}",),
        now=datetime.now(UTC),
        again=wish.alert_again,
    )
    return tell, _keep_hold(site, hold)


def _previous_hold(site: Site, app: str) -> Hold | None:
    """What was held before; one that is damaged counts as none, as the gate says it again and it is written anew."""
    try:
        return load_hold(site.state, app)
    except StateDamaged as error:
        _LOG.warning(f"{app}: {error}")
        return None


def _keep_hold(site: Site, hold: Hold) -> str:
    return _kept(site, hold.app, "noting the hold", lambda: keep_hold(site.state, hold))


def _trust(site: Site, app: str, ident: str) -> None:
    """A person put it right: what runs is proved as ever, and is the last good. Damaged notes are set aside."""
    recipe, found = open_infra(site, app), inspect_infra(site, app)
    head = head_of(recipe, Good(found.version)) if found else None
    if head is None:
        raise InfrastructureFault(f"{app} runs at no release of its recipe: it cannot be trusted", seen=str(found))
    prove(site, recipe, head, ident=ident)
    for name in set_damaged_aside(site.state, app):
        _LOG.warning(f"{app}: a damaged file was set aside as {name}")
    record_good(site.state, app, Good(head.version, head.commit))
    unstick(site.state, app)


def _has_damaged(site: Site, app: str) -> bool:
    try:
        for read in (in_progress, stuck, tried, last_good):
            read(site.state, app)
    except StateDamaged:
        return True
    return False


def _try_again(site: Site, mark: Stuck, wish: Wish) -> None:
    """One more rollback of the update whose rollback failed, at an operator's word."""
    app = mark.app
    update = Update(app, mark.ident, mark.prior, mark.target, data=mark.data)
    steps: Sequence[str] = (Step.MARK, Step.FETCH, Step.PARK, Step.DEPLOY)
    way = Way(site, open_infra(site, app, refresh=False), update, steps=list(steps), restore=wish.restore)
    way.journal.begin("update", **update.facts())
    for step in steps:
        way.journal.step(step)
    if way.back() is Ending.STUCK:
        raise InfrastructureFault(f"the rollback of {app} failed again", seen=way.problem)
    unstick(site.state, app)
