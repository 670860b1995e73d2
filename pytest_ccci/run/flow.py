"""What both modes do with an app on its stage: the steps of the tiers, each performed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_ccci.engine.deploy import Deployed, restart_services
from pytest_ccci.errors import NotShown
from pytest_ccci.recipe.backup_labels import BackupPlan, backup_plan
from pytest_ccci.recipe.repository import Head
from pytest_ccci.run.backup import Archive, take_backup, write_back
from pytest_ccci.run.checks import changed_services
from pytest_ccci.run.sentinels import Memory, Sentinels
from pytest_ccci.run.stage import Stage

__all__ = ["Steps"]


@dataclass
class Steps:
    """One app's way through the tiers. Facts are returned as text for the result."""

    stage: Stage
    sentinels: Sentinels
    head: Head
    memory: Memory = field(default_factory=dict)
    base: Deployed | None = None
    archives: tuple[Archive, ...] = ()

    @property
    def realm(self) -> object:
        """The realm lease, or ``None``."""
        return self.stage.lease

    def come_up(self, version: Head, *, doing: str) -> dict[str, str]:
        """Deploy ``version`` and wait until it serves."""
        if (version.commit, version.dirty) == (self.head.commit, self.head.dirty):
            self.stage.examine(version)
        done = self.stage.deploy(version, doing=doing)
        self.base = done
        return {"release": version.version, "commit": version.commit, **_images(done)}

    def seed(self) -> None:
        """Write the sentinels that are not there yet, and read all back at once."""
        with self.stage.diary.step("seed sentinels"):
            if self.base is not None:
                self.sentinels.require_places(self.base.compose.services, where=str(self.stage.spec.file))
            self.memory = self.sentinels.seed(self.stage.app, self.realm, self.memory)
            self.sentinels.check(self.stage.app, self.realm, self.memory, after="right after it was written")

    def check(self, *, after: str) -> None:
        """Read the sentinels."""
        with self.stage.diary.step(f"sentinels {after}"):
            self.sentinels.check(self.stage.app, self.realm, self.memory, after=after)

    def upgrade(self, *, stateful: bool) -> dict[str, str]:
        """Bring head up in place of what runs, prove that it runs, and that the data is still there.

        Raises:
            NotShown: the app keeps data, and no sentinel says that it survived.
        """
        before = self.base
        self.stage.examine(self.head)
        done = self.stage.deploy(self.head, doing="upgrade")
        self.base = done
        self.check(after="after the upgrade")
        changed = changed_services(before.compose, done.compose) if before else ()
        facts = {"release": self.head.version, "commit": self.head.commit, "changed": ", ".join(changed) or "nothing"}
        if done.dropped:
            facts["dropped"] = ", ".join(done.dropped)
        if stateful and not self.sentinels.remembered(self.memory):
            raise NotShown(
                "the app keeps data, and no sentinel shows that it survived the upgrade",
                advice="add a [[sentinel]] to recipe.toml",
            )
        return {**facts, **_images(done)}

    def backup(self) -> dict[str, str]:
        """Back the app up as its labels say.

        Raises:
            NotShown: no service is labelled for backup.
        """
        plan = self._plan()
        if not plan.services:
            raise NotShown(
                "no service has backup labels",
                advice="label one (backupbot.backup=true), or say in recipe.toml why backup is not_applicable",
            )
        with self.stage.diary.step("backup"):
            self.archives = take_backup(self.stage.app, plan, self.stage.diary.path / "backup")
        return {f"{a.service}:{a.path}": f"{a.files} files, {a.size} bytes" for a in self.archives}

    def restore(self) -> dict[str, str]:
        """Change the sentinels, restore the backup, restart what had the old data in hand, and read the sentinels.

        Raises:
            NotShown: no sentinel could be changed, so that a restore that does nothing would look the same.
        """
        plan, app = self._plan(), self.stage.app
        changed = self.sentinels.spoil(app, self.realm, self.memory)
        if not changed:
            raise NotShown("no sentinel could be changed, so that a restore would show nothing", advice="add one")
        with self.stage.diary.step("restore"):
            write_back(app, plan, self.archives)
        with self.stage.diary.step("restart after restore"):
            keep = {service.service for service in plan.services if service.restore_post}
            restart_services(self.stage.machine.engine, self.stage.stack, keep=frozenset(keep))
            self.stage.settled_again("restore")
        self.check(after="after the restore")
        return {"changed": f"{changed} sentinels", "restored": f"{len(self.archives)} archives"}

    def _plan(self) -> BackupPlan:
        if self.stage.deployed is None:
            raise NotShown("nothing is deployed that could be backed up")
        return backup_plan(self.stage.deployed.compose)


def _images(done: Deployed) -> Mapping[str, str]:
    return {f"image {name}": service.image for name, service in done.compose.services.items()}
