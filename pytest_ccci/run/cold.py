"""A cold run: a fresh app at a domain of its own, from the previous version to head, until nothing of it is left."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_ccci.errors import LeftBehind, NotShown
from pytest_ccci.recipe.names import cold_domain
from pytest_ccci.results.model import KnownGoodChange
from pytest_ccci.run.checks import wait_route_gone
from pytest_ccci.run.context import RunContext
from pytest_ccci.run.flow import Steps
from pytest_ccci.run.plan import Plan, promotion_of
from pytest_ccci.run.promotion import known_good_now, promote

__all__ = ["ColdFlow"]


@dataclass
class ColdFlow:
    """The tiers of a cold run. Its caller sees to it that each is performed once, in order."""

    context: RunContext
    plan: Plan
    steps: Steps = field(init=False)
    stateful: bool = False

    def begin(self) -> None:
        """Lock the app, lease a realm: nothing is deployed yet."""
        context = self.context
        domain = cold_domain(context.spec.name, context.run_id, context.settings.zone)
        context.lock_app(domain)
        stage = context.stage(domain)
        stage.lease = context.lease_for(stage)
        self.steps = Steps(stage, context.sentinels, context.head)

    def install(self) -> dict[str, str]:
        """Deploy the base (head where there is none) fresh, and write the sentinels."""
        context = self.context
        version = context.mirror.resolve(self.plan.base) if self.plan.base else context.head
        facts = self.steps.come_up(version, doing="install")
        self.stateful = bool(self.steps.stage.volume_names())
        self.steps.seed()
        return facts

    def upgrade(self) -> dict[str, str]:
        """Bring head up in place."""
        return self.steps.upgrade(stateful=self.stateful)

    def backup(self) -> dict[str, str]:
        """Back up as labelled."""
        return self.steps.backup()

    def restore(self) -> dict[str, str]:
        """Restore, and see the data from before."""
        return self.steps.restore()

    def settle(self, *, green: bool, why_red: str, whole: bool) -> tuple[dict[str, str], KnownGoodChange]:
        """Remove everything and prove it; then promote if this run may.

        Raises:
            LeftBehind: something of the app still exists.
        """
        context, stage = self.context, self.steps.stage
        domain, zone = stage.domain, context.machine.site.zone
        problem = stage.window_problem() if green else None
        context.leave(stage)
        left = stage.left()
        if not wait_route_gone(stage.app.new_http(), zone.url(domain)):
            left = (*left, f"route {domain}")
        if left:
            raise LeftBehind("the teardown left something", where=domain, seen=", ".join(left))
        context.disown(stage)
        if problem is not None:
            raise problem
        facts = {"left": "nothing"}
        promotion = promotion_of(
            mode="cold",
            enrolled=context.spec.canonical,
            head=context.head,
            releases=context.mirror.releases(),
            whole=whole,
            green=green,
            why_red=why_red,
            own_keycloak=bool(context.machine.own_keycloak),
        )
        if not promotion.eligible:
            return facts, known_good_now(context, reason=f"not promoted: {promotion.reason}")
        if self.steps.base is None:
            raise NotShown("head was never deployed")
        return facts, promote(context, self.steps.base.compose, stack=stage.stack)
