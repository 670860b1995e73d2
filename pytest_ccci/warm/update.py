"""An update of a live-warm app: its decision, its journal, and each step there or back, with its data."""

from __future__ import annotations

import enum
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial

from pytest_ccci.engine.objects import require_stopped
from pytest_ccci.errors import CcciError, DiskFull, EngineUnavailable, InfrastructureFault, StateDamaged, StoreDamaged
from pytest_ccci.recipe.schema import Policy
from pytest_ccci.recipe.tree import Head, Note
from pytest_ccci.redact import SECRETS
from pytest_ccci.statedir import StateDir, load_state, write_atomic
from pytest_ccci.store.fs import Fs, os_errors, os_fault
from pytest_ccci.store.journal import Journal, Operation
from pytest_ccci.warm.gate import Cause, Decision, GateAnswer, Reason, gate
from pytest_ccci.warm.health import prove
from pytest_ccci.warm.infra_recipe import (
    Good,
    InfraRecipe,
    adopt,
    data_of,
    fetch_images,
    head_of,
    known_secrets,
    last_good,
    learn_secrets,
    park,
    read_facts,
    record_good,
    roll_out,
    trust_advice,
)
from pytest_ccci.warm.keycloak_marker import drop_marker, expect_marker, write_marker
from pytest_ccci.warm.zone import Site

__all__ = [
    "Ending",
    "Remedy",
    "Step",
    "Stuck",
    "Target",
    "Tried",
    "Update",
    "Way",
    "course",
    "forget_tried",
    "in_progress",
    "journal_of",
    "mark_stuck",
    "mark_tried",
    "put_data_back",
    "remedy",
    "set_damaged_aside",
    "stuck",
    "tried",
    "unstick",
]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The latest release: its tag, and the commit that the tag leads to now."""

    release: str
    commit: str


@dataclass(frozen=True)
class Tried:
    """A release that was rolled out before and did not stay: when, and what was wrong."""

    release: str
    commit: str
    time: str
    problem: str


def course(
    running: str,
    target: Target,
    *,
    notes: Sequence[Note],
    policy: Policy,
    accepted: str,
    tried: Tried | None,
    returnable: bool,
) -> GateAnswer:
    """The gate's answer for the step from ``running`` to ``target``, and what else keeps it from being made.

    A release that was rolled back is not tried at every reconcile anew: only when its tag leads to another commit, or
    an operator accepts it. ``returnable`` says that what runs is still in the recipe's repository; nobody can accept
    that there is no way back.
    """
    answer = gate(running, target.release, notes=notes, policy=policy, accepted=accepted)
    if answer.decision is Decision.CURRENT:
        return answer
    if not returnable:
        text = f"{running or 'what runs'} is no release of the recipe any more: there would be no way back to it"
        return GateAnswer(Decision.HOLD, (Reason(Cause.NO_WAY_BACK, text), *answer.reasons))
    if tried and (tried.release, tried.commit) == (target.release, target.commit) and accepted != target.release:
        text = f"{tried.release} was rolled back on {tried.time}: {tried.problem}"
        return GateAnswer(Decision.HOLD, (Reason(Cause.FAILED_BEFORE, text), *answer.reasons))
    return answer


_NAME = "update"


class Step(enum.StrEnum):
    """One step, journalled before it is begun."""

    MARK = "mark"
    FETCH = "fetch"
    PARK = "park"
    SNAPSHOT = "snapshot"
    DEPLOY = "deploy"
    PROVE = "prove"
    PROVED = "proved"
    UNDO = "undo"


class Remedy(enum.Enum):
    """What is to be done about an update that was cut off or went wrong."""

    FORGET = "nothing was touched"
    REDEPLOY = "the prior release anew"
    RESTORE = "data back, then the prior release anew"
    FINISH = "what runs is the last good"


@dataclass(frozen=True)
class Update:
    """The way of ``app`` from ``prior`` to ``target``. ``data``: it keeps data that must go back with it."""

    app: str
    ident: str
    prior: Good
    target: Good
    data: bool

    def facts(self) -> dict[str, str]:
        """As plain text fields."""
        return {
            "app": self.app,
            "ident": self.ident,
            "prior": self.prior.release,
            "prior_commit": self.prior.commit,
            "target": self.target.release,
            "target_commit": self.target.commit,
            "data": "yes" if self.data else "no",
        }

    @classmethod
    def parse(cls, pending: Operation) -> Update:
        """The update that a journal tells of.

        Raises:
            StoreDamaged: something of it is missing.
        """
        facts = pending.facts
        try:
            return cls(
                facts["app"],
                facts["ident"],
                Good(facts["prior"], facts["prior_commit"]),
                Good(facts["target"], facts["target_commit"]),
                data=facts["data"] == "yes",
            )
        except KeyError as error:
            raise StoreDamaged(f"the journal of an update lacks {error}", seen=str(dict(facts))) from error


@dataclass(frozen=True)
class Stuck:
    """A rollback that failed: a person must look. ``ident`` names the update."""

    app: str
    ident: str
    prior: Good
    target: Good
    data: bool
    time: str
    problem: str


def remedy(steps: Sequence[str], *, data: bool) -> Remedy:
    """What the steps that were begun make necessary."""
    if Step.PROVED in steps and Step.UNDO not in steps:
        return Remedy.FINISH
    if Step.DEPLOY in steps:
        return Remedy.RESTORE if data else Remedy.REDEPLOY
    return Remedy.REDEPLOY if Step.PARK in steps else Remedy.FORGET


def journal_of(state: StateDir, app: str) -> Journal:
    """The journal of the app's updates."""
    state.infra(app).mkdir(parents=True, exist_ok=True, mode=0o700)
    return Journal(state.infra(app) / "update.jsonl", fs=Fs())


def in_progress(state: StateDir, app: str) -> Operation | None:
    """The update that was begun and not ended, by a living process or a dead one.

    Raises:
        StateDamaged: the journal cannot be read.
    """
    path = state.infra(app) / "update.jsonl"
    if not path.exists():
        return None
    try:
        pending = Journal(path, fs=Fs()).pending()
        if pending is not None:
            Update.parse(pending)
    except StoreDamaged as error:
        raise StateDamaged(
            error.what, where=error.where or str(path), seen=error.seen, advice=trust_advice(app)
        ) from error
    return pending


def tried(state: StateDir, app: str) -> Tried | None:
    """The release that was rolled back last, unless something newer stayed since.

    Raises:
        StateDamaged: the file that says so cannot be used.
    """
    return load_state(state.infra(app) / "tried.json", Tried, advice=trust_advice(app))


def mark_tried(state: StateDir, app: str, target: Good, problem: str) -> None:
    """Remember a release that did not stay."""
    _write(state, app, "tried.json", asdict(Tried(target.release, target.commit, _now(), problem)))


def forget_tried(state: StateDir, app: str) -> None:
    """Something newer stayed."""
    (state.infra(app) / "tried.json").unlink(missing_ok=True)


def stuck(state: StateDir, app: str) -> Stuck | None:
    """The rollback that failed, if a person must look at the app.

    Raises:
        StateDamaged: the file that says so cannot be used.
    """
    return load_state(state.infra(app) / "stuck.json", Stuck, advice=trust_advice(app))


def mark_stuck(state: StateDir, update: Update, problem: str) -> None:
    """Say durably that a rollback failed: nothing touches the app by itself until it serves again."""
    _write(state, update.app, "stuck.json", {**asdict(update), "time": _now(), "problem": problem})


def unstick(state: StateDir, app: str) -> None:
    """It serves again, or is to be tried again."""
    (state.infra(app) / "stuck.json").unlink(missing_ok=True)


def set_damaged_aside(state: StateDir, app: str) -> tuple[str, ...]:
    """Rename what cannot be read of the app's notes, so that nothing waits for it any more; the new names."""
    done = []
    readers: dict[str, Callable[[StateDir, str], object]] = {
        "update.jsonl": in_progress,
        "stuck.json": stuck,
        "tried.json": tried,
        "last_good.json": last_good,
    }
    for name, read in readers.items():
        try:
            read(state, app)
        except StateDamaged:
            path = state.infra(app) / name
            moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
            done.append(path.rename(path.with_name(f"{name}.damaged-{moment}-{uuid.uuid4().hex[:6]}")).name)
    return tuple(done)


def _write(state: StateDir, app: str, name: str, facts: object) -> None:
    write_atomic(state.infra(app) / name, json.dumps(SECRETS.scrub_all(facts), indent=1).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Ending(enum.Enum):
    """How an update ended."""

    STAYED = "the target stayed"
    BACK = "the prior release serves again"
    STUCK = "the prior release could not be proved"


def put_data_back(site: Site, update: Update, stack: str) -> None:
    """Put the app's data back to what it was when the update began.

    Raises:
        StoreDamaged: there is no snapshot of that moment, or it is not whole.
    """
    store = data_of(site.state, update.app)
    for line in store.recover():
        _LOG.info(f"{update.app}: {line}")
    record = store.record()
    if record is None or record.run_id != update.ident:
        raise StoreDamaged("there is no snapshot from before the update", where=str(store.layout.root))
    store.restore(stopped=partial(require_stopped, site.engine, stack))


@dataclass
class Way:
    """One update under way. Its caller holds the app's lock. ``stepped`` is told of each step once it is journalled."""

    site: Site
    recipe: InfraRecipe
    update: Update
    steps: list[str] = field(default_factory=list)
    stepped: Callable[[str], None] = lambda _step: None
    restore: Callable[[Site, Update, str], None] = put_data_back
    problem: str = ""
    error: Exception | None = None

    @property
    def journal(self) -> Journal:
        """The app's journal of updates."""
        return journal_of(self.site.state, self.update.app)

    def go(self, prior: Head, target: Head) -> Ending:
        """Bring ``target`` up; when anything of it goes wrong, bring ``prior`` back and prove that.

        From ``proved`` on there is no way back: what then cannot be written is told in ``problem``, and written by
        the next :meth:`finish`.
        """
        with os_errors("beginning an update", where=self.site.state.infra(self.update.app)):
            self.journal.begin("update", **self.update.facts())
        try:
            self._forward(prior, target)
        except Exception as error:  # noqa: BLE001  whatever a deploy raises counts as unhealthy
            self.error, self.problem = self._fault(error), self._told(error)
            _LOG.warning(f"{self.update.app}: {target.version} does not stay: {self.problem.partition(chr(10))[0]}")
            if _is_to_blame(error, self.steps):
                self._mark_tried()
            return self.back()
        try:
            self.finish()
        except Exception as error:  # noqa: BLE001  the target is proved and has changed the data: it stays
            self.error = error
            self.problem = f"{target.version} serves, but this is to be finished by the next reconcile: {error}"
            _LOG.warning(f"{self.update.app}: {self.problem}")
        return Ending.STAYED

    def back(self) -> Ending:
        """Bring the prior release back as far as it was touched, and prove it. Never tried again by itself.

        Raises:
            EngineUnavailable: nothing can be done now; the journal tells the next one to do it.
            InfrastructureFault: the prior release is not well, although nothing was touched; or the way back could
                not be journalled, so that nothing was done: the next one does it.
        """
        what = remedy(self.steps, data=self.update.data)
        with os_errors(f"noting the way back of {self.update.app}", where=self.site.state.infra(self.update.app)):
            self._step(Step.UNDO)
        try:
            self._undo(what)
        except EngineUnavailable:
            raise
        except Exception as error:
            failed = f"{self._told(error)}\n  after: {self.problem or 'an update that was cut off'}"
            self.problem = failed
            if what is Remedy.FORGET:
                self._close()
                app, running = self.update.app, self.update.prior.release
                raise InfrastructureFault(
                    f"{app} {running} is not well, and nothing was touched", seen=failed
                ) from error
            self._stuck(failed)
            return Ending.STUCK
        self._close(drop=True)
        return Ending.BACK

    def _close(self, *, drop: bool = False) -> None:
        """End the journal's entry. Where that cannot be written, the next one comes to the same end once more."""
        try:
            if drop:
                drop_marker(self.site, self.update.app)
            self.journal.done()
        except OSError as error:
            self._could_not("closing the journal", error)

    def _stuck(self, failed: str) -> None:
        """Have a person look. Where that cannot be written down, the journal stays open: the next one tries again."""
        try:
            mark_stuck(self.site.state, self.update, failed)
        except OSError as error:
            self._could_not("noting that the rollback failed", error)
            return
        self._close()

    def _mark_tried(self) -> None:
        try:
            mark_tried(self.site.state, self.update.app, self.update.target, self.problem.partition("\n")[0])
        except OSError as error:
            self._could_not(f"noting that {self.update.target.release} did not stay", error)

    def _could_not(self, what: str, error: OSError) -> None:
        told = os_fault(error, what, self.site.state.infra(self.update.app))
        _LOG.warning(f"{self.update.app}: {told}")
        self.problem = "\n".join(part for part in (self.problem, str(told)) if part)

    def _fault(self, error: Exception) -> Exception:
        if isinstance(error, OSError) and error.errno:
            return os_fault(error, f"step {self.steps[-1] if self.steps else 'begin'}", self.site.state.root)
        return error

    def _told(self, error: Exception) -> str:
        fault = self._fault(error)
        return str(fault) if isinstance(fault, CcciError) else f"{type(fault).__name__}: {fault}"

    def forget(self) -> None:
        """Nothing was touched: all is as it was."""
        drop_marker(self.site, self.update.app)
        self.journal.done()

    def finish(self) -> None:
        """The target was proved: it is the last good from now on. May be repeated until it succeeds."""
        record_good(self.site.state, self.update.app, self.update.target)
        forget_tried(self.site.state, self.update.app)
        drop_marker(self.site, self.update.app)
        self.journal.done()

    def _step(self, step: Step) -> None:
        self.journal.step(step)
        self.steps.append(step)
        self.stepped(step)

    def _forward(self, prior: Head, target: Head) -> None:
        site, recipe, update = self.site, self.recipe, self.update
        self._step(Step.MARK)
        record_good(site.state, update.app, update.prior)
        write_marker(site, update.app, recipe.stack, update.ident)
        self._step(Step.FETCH)
        fetch_images(site, recipe, target)
        if update.data:
            self._put_by(prior)
        self._step(Step.DEPLOY)
        if update.data:
            data_of(site.state, update.app).mark_drifted(update.ident, f"{target.version} was rolled out")
        roll_out(site, recipe, target)
        self._step(Step.PROVE)
        prove(site, recipe, target, ident=update.ident)
        expect_marker(site, update.app, recipe.stack, same_schema=False)
        self._step(Step.PROVED)

    def _put_by(self, prior: Head) -> None:
        """Take the app down and copy its data."""
        site, recipe, update = self.site, self.recipe, self.update
        learn_secrets(site.engine, recipe.stack, site.state, update.app)
        self._step(Step.PARK)
        park(site, update.app, recipe.stack)
        adopt(site, update.app, recipe.stack, read_facts(site, recipe, prior))
        self._step(Step.SNAPSHOT)
        store = data_of(site.state, update.app)
        for line in store.recover():
            _LOG.info(f"{update.app}: {line}")
        volumes = store.live_volumes()
        taken = store.snapshot(
            volumes=volumes,
            secrets=known_secrets(site.state, update.app),
            coverage={"volumes": list(volumes)},
            stopped=partial(require_stopped, site.engine, recipe.stack),
        )
        store.promote(taken, release=prior.version, commit=prior.commit, domain=recipe.domain, run_id=update.ident)

    def _undo(self, what: Remedy) -> None:
        site, recipe, update = self.site, self.recipe, self.update
        prior = head_of(recipe, update.prior)
        if prior is None:
            raise InfrastructureFault(f"{update.prior.release} is not in the recipe's repository any more")
        if what is not Remedy.FORGET:
            _LOG.info(f"{update.app}: back to {prior.version}: {what.value}")
            if update.data:
                park(site, update.app, recipe.stack)
            if what is Remedy.RESTORE:
                self.restore(site, update, recipe.stack)
            roll_out(site, recipe, prior)
        prove(site, recipe, prior, ident=update.ident)
        if Step.FETCH in self.steps:  # the marker was written whole
            expect_marker(site, update.app, recipe.stack, same_schema=True)


def _is_to_blame(error: Exception, steps: Sequence[str]) -> bool:
    """Whether it is the release that did not stay: not for what its machine lacked, nor before it was rolled out."""
    if isinstance(error, DiskFull | EngineUnavailable) or (isinstance(error, OSError) and error.errno):
        return False
    return not isinstance(error, InfrastructureFault) or Step.DEPLOY in steps
