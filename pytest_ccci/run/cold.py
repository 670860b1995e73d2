"""A cold run: a fresh app at a domain of its own, from the previous version to head, until nothing of it is left."""

from __future__ import annotations

from pytest_ccci.errors import NotShown
from pytest_ccci.recipe.names import cold_domain
from pytest_ccci.recipe.repository import Head
from pytest_ccci.results.model import ON_BASE
from pytest_ccci.run.known_good import known_good_now
from pytest_ccci.run.plan import promotion_of
from pytest_ccci.run.promotion import promote
from pytest_ccci.run.room import require_room
from pytest_ccci.run.serving import wait_route_gone
from pytest_ccci.run.tiers import Run, tier

__all__ = ["ColdRun"]


class ColdRun(Run):
    """The only authority: a green one of the latest release becomes the known-good."""

    stateful = False
    """Whether what was installed keeps data."""

    def begin(self) -> None:
        """Lock the app and lease a realm: nothing is deployed yet."""
        context = self.context
        domain = cold_domain(context.spec.name, context.run_id, context.settings.zone)
        context.lock_app(domain)
        self.app = context.deployment(domain)
        base = context.plan.base if context.plan else None
        versions = [context.head, *([context.mirror.resolve(base)] if base else [])]
        require_room(context, self.app, versions, fresh=True)
        self.app.lease = context.lease_for(self.app)
        context.note_before()

    @tier("install")
    def install(self) -> dict[str, str]:
        """Deploy the base fresh (head where there is none), and write the sentinels."""
        base = self.context.plan.base if self.context.plan else None
        facts = self.app.come_up(self.context.mirror.resolve(base) if base else self.context.head, doing="install")
        self.stateful = bool(self.app.volume_names())
        self.app.seed()
        return {**facts, **(self._live_in(self.context.mirror.resolve(base)) if base else {})}

    @tier("upgrade", needs="install")
    def upgrade(self) -> dict[str, str]:
        """Bring head up in place of the base, and read the sentinels."""
        return self.app.upgrade(stateful=self.stateful)

    @tier("backup", needs="upgrade")
    def backup(self) -> dict[str, str]:
        """Back up as the recipe's labels say."""
        return self.app.backup()

    @tier("restore", needs="backup")
    def restore(self) -> dict[str, str]:
        """Change the sentinels, restore the backup, and read the sentinels as they were before."""
        return self.app.restore()

    @tier("settle", always=True)
    def settle(self) -> dict[str, str]:
        """Remove everything and prove that nothing is left; then promote if this run may.

        A red run leaves the app where that was asked for.

        Raises:
            LeftBehind: something of the app still exists.
        """
        green, why_red = self.so_far()
        if not green and self.context.may_keep(self.app):
            self._promote(green=False, why_red=why_red)
            return self.context.keep(self.app, why_red)
        problem = self.app.window_problem() if green else None
        self.context.remove_app(self.app)
        self._check_nothing_left()
        self.context.disown(self.app)
        if problem is not None:
            raise problem
        self._promote(green=green, why_red=why_red)
        return {"left": "nothing"}

    def _live_in(self, base: Head) -> dict[str, str]:
        """Let the author's tests use the base as people would, so that the upgrade has something to lose."""
        done = self.context.on_base = self.context.perform_tests(self.app, base)
        return {ON_BASE: str(done)} if done else {}

    def _check_nothing_left(self) -> None:
        domain, zone = self.app.domain, self.context.open_machine().site.zone
        left = self.app.left()
        if not wait_route_gone(self.app.handle.new_http(timeout=10), zone.url(domain)):
            left = (*left, f"route {domain}")
        self.context.check_nothing_left(self.app, left=left)

    def _promote(self, *, green: bool, why_red: str) -> None:
        """Make head the known-good if this run may; ``known_good`` says what came of it."""
        context = self.context
        promotion = promotion_of(
            mode="cold",
            enrolled=context.spec.canonical,
            head=context.head,
            releases=context.mirror.releases(),
            missing=self.missing,
            green=green,
            why_red=why_red,
            unusual=context.plan.unusual if context.plan else "",
            asked=context.settings.promote,
            own_keycloak=bool(context.open_machine().own_keycloak),
        )
        if not promotion.eligible:
            self.known_good = known_good_now(context, reason=f"not promoted: {promotion.reason}")
            return
        if self.app.last is None:
            raise NotShown("head was never deployed")
        self.known_good = promote(context, self.app.last.compose, stack=self.app.stack)
