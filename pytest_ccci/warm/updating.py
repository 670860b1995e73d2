"""Brings a live-warm app from one release to the next behind the health gate, or back to where it was, with its data.

Every step is journalled before it is begun, so that whoever comes after a death can finish or undo it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_ccci.errors import CcciError, EngineUnavailable, InfrastructureFault, StoreDamaged
from pytest_ccci.recipe.tree import Head
from pytest_ccci.store.fs import os_errors
from pytest_ccci.store.journal import Journal
from pytest_ccci.warm.kept_data import adopt, data_of, park, stopped
from pytest_ccci.warm.kept_secrets import known_secrets, learn_secrets
from pytest_ccci.warm.marker import drop_marker, expect_marker, write_marker
from pytest_ccci.warm.proving import prove
from pytest_ccci.warm.rollout import InfraRecipe, fetch_images, head_of, read_facts, record_good, roll_out
from pytest_ccci.warm.update_journal import (
    Remedy,
    Step,
    Update,
    forget_tried,
    journal_of,
    mark_stuck,
    mark_tried,
    remedy,
)
from pytest_ccci.warm.warmsite import Site

__all__ = ["Ending", "Way", "put_data_back"]


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
        site.tell(f"{update.app}: {line}")
    record = store.record()
    if record is None or record.run_id != update.ident:
        raise StoreDamaged("there is no snapshot from before the update", where=str(store.layout.root))
    store.restore(stopped=stopped(site, stack), tell=site.tell)


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
        """Bring ``target`` up; when anything of it goes wrong, bring ``prior`` back and prove that."""
        with os_errors("beginning an update", where=self.site.state.infra(self.update.app)):
            self.journal.begin("update", **self.update.facts())
        try:
            self._forward(prior, target)
        except Exception as error:  # noqa: BLE001  whatever a deploy raises counts as unhealthy
            self.error, self.problem = error, _told(error)
            self.site.tell(f"{self.update.app}: {target.version} does not stay: {self.problem.partition(chr(10))[0]}")
            if not isinstance(error, InfrastructureFault) or Step.DEPLOY in self.steps:
                mark_tried(self.site.state, self.update.app, self.update.target, self.problem.partition("\n")[0])
            return self.back()
        return Ending.STAYED

    def back(self) -> Ending:
        """Bring the prior release back as far as it was touched, and prove it. Never tried again by itself.

        Raises:
            EngineUnavailable: nothing can be done now; the journal tells the next one to do it.
            InfrastructureFault: the prior release is not well, although nothing was touched.
        """
        what = remedy(self.steps, data=self.update.data)
        try:
            self._undo(what)
        except EngineUnavailable:
            raise
        except Exception as error:
            failed = f"{_told(error)}\n  after: {self.problem or 'an update that was cut off'}"
            self.problem = failed
            if what is Remedy.FORGET:
                self.journal.done()
                app, running = self.update.app, self.update.prior.release
                raise InfrastructureFault(
                    f"{app} {running} is not well, and nothing was touched", seen=failed
                ) from error
            mark_stuck(self.site.state, self.update, failed)
            self.journal.done()
            return Ending.STUCK
        drop_marker(self.site, self.update.app)
        self.journal.done()
        return Ending.BACK

    def forget(self) -> None:
        """Nothing was touched: all is as it was."""
        drop_marker(self.site, self.update.app)
        self.journal.done()

    def finish(self) -> None:
        """The target was proved: it is the last good from now on."""
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
        self.finish()

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
            site.tell(f"{update.app}: {line}")
        volumes = store.live_volumes()
        taken = store.snapshot(
            volumes=volumes,
            secrets=known_secrets(site.state, update.app),
            coverage={"volumes": list(volumes)},
            stopped=stopped(site, recipe.stack),
        )
        store.promote(taken, release=prior.version, commit=prior.commit, domain=recipe.domain, run_id=update.ident)

    def _undo(self, what: Remedy) -> None:
        site, recipe, update = self.site, self.recipe, self.update
        prior = head_of(recipe, update.prior)
        if prior is None:
            raise InfrastructureFault(f"{update.prior.release} is not in the recipe's repository any more")
        self._step(Step.UNDO)
        if what is not Remedy.FORGET:
            site.tell(f"{update.app}: back to {prior.version}: {what.value}")
            if update.data:
                park(site, update.app, recipe.stack)
            if what is Remedy.RESTORE:
                self.restore(site, update, recipe.stack)
            roll_out(site, recipe, prior)
        prove(site, recipe, prior, ident=update.ident)
        if Step.FETCH in self.steps:  # the marker was written whole
            expect_marker(site, update.app, recipe.stack, same_schema=True)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, CcciError) else f"{type(error).__name__}: {error}"
