"""One app at one domain, version after version: deployed, proved to run, written to, backed up, removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pytest_ccci.engine.containers import cause_of
from pytest_ccci.engine.convergence import failure_of, judge, tasks_of, wait_converged
from pytest_ccci.engine.deploy import AppPlan, Deployed, deploy_app, read_plan, restart_services, undeploy, volume_name
from pytest_ccci.engine.inspect import TaskState, failing_checks, inspect_stack
from pytest_ccci.engine.objects import (
    anonymous_volumes,
    app_inventory,
    published_ports,
    reaches_engine,
    remove_volumes,
    require_stopped,
    volume_places,
)
from pytest_ccci.errors import (
    DataLost,
    DeadlineExceeded,
    InfrastructureFault,
    NotConverged,
    NotShown,
    RecipeFault,
    RecipeTomlError,
)
from pytest_ccci.recipe.backup_labels import backup_plan
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.coverage import not_backed_up
from pytest_ccci.recipe.env import AppEnv, app_env, render, render_all, write_abra_env
from pytest_ccci.recipe.lint import Finding, changed_configs, lint, names_nothing, next_tag, refuse
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.recipe.repository import Head
from pytest_ccci.recipe.spec import ExpectedLoss, RecipeSpec
from pytest_ccci.recipe.tree import RecipeTree
from pytest_ccci.results.model import AT_REST, COUNTED, FEWER, LEFT_OUT, NOT_COUNTED, UNASKED
from pytest_ccci.run.app import App
from pytest_ccci.run.backup import Archive, take_backup, write_back
from pytest_ccci.run.census import Census, losses, lost_at_rest, take_census
from pytest_ccci.run.checks import (
    ProofWindow,
    changed_services,
    check_running,
    check_stayed,
    window_seconds,
)
from pytest_ccci.run.host import Machine
from pytest_ccci.run.run_dir import Diary, Trees
from pytest_ccci.run.sentinels import Memory, Sentinels
from pytest_ccci.run.serving import question_of, wait_serving
from pytest_ccci.settings import abra_dir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, Stopwatch, until
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["Deployment"]

_LOG = logging.getLogger(__name__)

Ports = frozenset[tuple[int, str]]
_UNDEPLOY = 120.0
_PROOF = 300.0


@dataclass
class Deployment:
    """One app at one domain, as a run deploys it. Facts are returned as text for the result.

    Args:
        store: for a canonical: its volumes live there.
        head: what the run tests; it is linted before it is deployed.
        memory: what the sentinels wrote, by sentinel.
        deployed: what runs now, made of ``version``; ``last`` is the same, but stays after the undeploy.
        findings: what was found wrong or risky in the versions that were linted.
        next_tag: the tag that head could get as it is.
        environment: what head is interpolated with, by name.
        reaches_engine: a container of it was seen that has the engine's socket.
        counted: what the app held when its backup was taken.
        killed: what had to be killed when it was undeployed last, each with the signal that it did not obey.
        hold_ports: waits until no other run has one of these ports of the machine, and keeps them for this one.
    """

    machine: Machine
    spec: RecipeSpec
    trees: Trees
    domain: str
    diary: Diary
    head: Head
    sentinels: Sentinels
    lease: RealmLease | None = None
    store: CanonicalStore | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    memory: Memory = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    deployed: Deployed | None = None
    last: Deployed | None = None
    version: Head | None = None
    findings: tuple[Finding, ...] = ()
    next_tag: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    window: ProofWindow | None = None
    reaches_engine: bool = False
    hold_ports: Callable[[Ports], None] = lambda _: None
    killed: tuple[str, ...] = ()
    counted: Census | None = None
    at_rest: tuple[ExpectedLoss, ...] = ()
    _since: Stopwatch = field(default_factory=Stopwatch)
    _anonymous: frozenset[str] = frozenset()

    @property
    def stack(self) -> str:
        """The stack's name."""
        return stack_name(self.domain)

    @property
    def handle(self) -> App:
        """The app as tests see it."""
        zone = self.machine.site.zone
        return App(zone.url(self.domain), self.domain, self.stack, self.machine.engine, zone.route)

    def deploy(self, head: Head, *, doing: str) -> Deployed:
        """Deploy ``head`` (fresh, or in place over what runs), wait until it is up, serves, and is what was asked for.

        Raises:
            RecipeFault: it does not come up, does not serve, or something else runs than was deployed.
            InfrastructureFault: a port that it publishes is another's.
        """
        plan, facts = self._read(head)
        self._take_ports(facts.published)
        with self.diary.step(f"{doing}: deploy"):
            done = deploy_app(self.machine.engine, plan, prepare=self.machine.prepare, doing=doing)
        self.secrets |= done.secrets
        self._anonymous |= anonymous_volumes(self.machine.engine, self.stack)
        self.reaches_engine |= reaches_engine(self.machine.engine, self.stack)
        check_running(done.compose, inspect_stack(self.machine.engine, self.stack))
        with self.diary.step(f"{doing}: serve"):
            self.wait_serving(plan.timeout)
        self.deployed, self.last, self.version = done, done, head
        self._open_window(done.compose)
        if self.store is not None:
            self._tell_abra(plan, head)
        return done

    def _take_ports(self, wanted: Ports) -> None:
        """Have the ports of the machine that the app publishes. Runs take turns; what others have is not its fault."""
        if not wanted:
            return
        self.hold_ports(wanted)
        taken = published_ports(self.machine.engine, but=self.stack)
        problems = [
            f"{port}/{kind} is published by {taken[port, kind]}" for port, kind in sorted(wanted & taken.keys())
        ]
        if problems:
            raise InfrastructureFault(
                "the app publishes a port of this machine that is another's",
                where=self.spec.name,
                seen="; ".join(problems),
                advice="stop that service; the warm Traefik's own ports are ccci_http_port and ccci_https_port",
            )

    def images_of(self, version: Head) -> tuple[str, ...]:
        """The images that ``version`` is made of, as it would be deployed."""
        return tuple(sorted({service.image for service in self._read(version)[1].services.values()}))

    def check_head(self, head: Head) -> None:
        """Look for what is wrong or risky in ``head``, and for what changed under a name that Swarm cannot change.

        Raises:
            RecipeInvalid: the deploy would fail, and Swarm's own words would not help.
        """
        plan, facts = self._read(head)
        self.environment = plan.env.values
        tree = self.trees.of(head)
        changed: tuple[Finding, ...] = ()
        if self.deployed is not None and self.version is not None:
            changed = changed_configs((self.deployed.compose, self.trees.of(self.version)), (facts, tree))
        unknown = names_nothing(self.spec, facts, stack=self.stack)
        odd = self.trees.mirror.odd_tags()
        found = lint(facts, tree, plan.env, disposable=self.spec.disposable, stack=self.stack, odd_tags=odd)
        self.findings = (*changed, *found, *unknown)
        self.next_tag = next_tag(facts, tree, self.trees.mirror.releases(), stack=self.stack)
        refuse(self.findings, where=f"{self.spec.name} {head.version}")

    def wait_serving(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the app serves as recipe.toml says."""
        question = question_of(self.handle, self.spec.health, host=self._host_asked())
        if question is not None:
            wait_serving(question, deadline=Deadline(timeout), healthy=self._healthy)

    def _host_asked(self) -> str:
        """The host of ``[health]``, filled in; empty for the app's own domain."""
        where, zone = f"{self.spec.file}, [health], host", self.machine.site.zone.name
        host = render(self.spec.health.host or "", self._context(), where=where)
        if host and not host.endswith(f".{zone}"):
            raise RecipeTomlError(f"{host!r} is not in the zone {zone}", where=where, advice="like files-{{ domain }}")
        return host

    def wait_restarted(self, doing: str) -> None:
        """After a restart that was ours: wait until all is up and serves, and watch the new tasks from now on."""
        timeout = self._patience(self.deployed.compose if self.deployed else None)
        facts = wait_converged(self.machine.engine, self.stack, deadline=Deadline(timeout), doing=doing)
        self.wait_serving(timeout)
        if self.window is not None:
            self.window = replace(self.window, tasks=tasks_of(facts))

    def close_window(self) -> None:
        """Wait out what is left of the proof window, then prove that the same tasks are up.

        Raises:
            RecipeFault: a task died meanwhile, Swarm rolled back, or a health check fails on and on.
        """
        if self.window is None:
            return
        window = self.window
        failing: dict[str, TaskState] = {}

        def over() -> bool:
            nonlocal failing
            facts = inspect_stack(self.machine.engine, self.stack)
            check_stayed(window, facts, cause=self._cause)
            if self._since.seconds < window.seconds:
                return False
            failing = failing_checks(self.machine.engine, facts)
            return not failing

        with self.diary.step("proof window"):
            try:
                until(over, deadline=Deadline(_PROOF), what="every health check to pass", every=0.25)
            except DeadlineExceeded as error:
                if not failing:
                    raise
                # The window itself was over long before: what was waited for is the app's own health.
                name, task = next(iter(failing.items()))
                raise NotConverged(
                    f"service {name} did not stay healthy: {self._cause(task)}",
                    where=self.stack,
                    seen=f"still failing after {_PROOF:.0f} s: {', '.join(failing)}",
                ) from error
        self.window = None

    def _cause(self, task: TaskState) -> str:
        return cause_of(self.machine.engine, task.container, exit_code=task.exit_code or None)

    def window_problem(self) -> RecipeFault | None:
        """Like ``close_window``, but what it found is returned: the teardown must go on."""
        try:
            self.close_window()
        except RecipeFault as error:
            return error
        return None

    def come_up(self, version: Head, *, doing: str) -> dict[str, str]:
        """Deploy ``version`` and wait until it serves."""
        if self._is_head(version):
            self.check_head(version)
        done = self.deploy(version, doing=doing)
        left_out = {LEFT_OUT: ", ".join(done.left_out)} if done.left_out else {}
        for text in left_out.values():
            _LOG.info(f"{doing}: {version.version} goes without {text}, which it does not have")
        unasked = {UNASKED: self.spec.health.reason} if self.spec.health.reason else {}
        return {"release": version.version, "commit": version.commit, **left_out, **_images(done), **unasked}

    def _is_head(self, version: Head) -> bool:
        return (version.commit, version.dirty) == (self.head.commit, self.head.dirty)

    def seed(self) -> None:
        """Write the sentinels that are not there yet, and read all back at once."""
        with self.diary.step("seed sentinels"):
            if self.last is not None:
                self.sentinels.require_places(self.last.compose.services, where=str(self.spec.file))
            self.memory = self.sentinels.seed(self.handle, self.lease, self.memory)
            self.sentinels.check(self.handle, self.lease, self.memory, after="right after it was written")

    def check_sentinels(self, *, after: str) -> None:
        """Read the sentinels."""
        with self.diary.step(f"sentinels {after}"):
            self.sentinels.check(self.handle, self.lease, self.memory, after=after)

    def upgrade(self, *, stateful: bool) -> dict[str, str]:
        """Bring head up in place of what runs, prove that it runs, and that the data is still there.

        Raises:
            NotShown: the app keeps data, and no sentinel says that it survived.
        """
        before = self.last
        self.check_head(self.head)
        held = self.count()
        done = self.deploy(self.head, doing="upgrade")
        self.check_sentinels(after="after the upgrade")
        kept = self.check_kept(held, "the upgrade")
        changed = changed_services(before.compose, done.compose) if before else ()
        facts = {"release": self.head.version, "commit": self.head.commit, "changed": ", ".join(changed) or "nothing"}
        if done.dropped:
            facts["dropped"] = ", ".join(done.dropped)
        if stateful and not self.sentinels.remembered(self.memory):
            raise NotShown(
                "the app keeps data, and no sentinel shows that it survived the upgrade",
                advice="add a [[sentinel]] to recipe.toml",
            )
        return {**facts, **kept, **_images(done)}

    def count(self) -> Census:
        """Count what the app holds now."""
        facts = self._compose()
        waived = self.spec.disposable
        free = {each.volume for each in waived if each.volume}
        paths = {each.path for each in waived if each.path}
        mounts = [mount for service in facts.services.values() for mount in service.mounts if mount.kind == "volume"]
        free |= {mount.source for mount in mounts if mount.target in paths}
        keys = [key for key, volume in facts.volumes.items() if not volume.external and key not in free]
        with self.diary.step("count"):
            if self.store is not None:
                places = {key: self.store.live(key) for key in keys}
            else:
                names = {volume_name(facts, self.stack, key): key for key in keys}
                found = volume_places(self.machine.engine, names)
                places = {names[name]: place for name, place in found.items()}
            return take_census(self.handle, facts, places)

    def learn(self, before: Census) -> dict[str, str]:
        """Count what is there, where nothing was changed since ``before``: what is less then is no loss later."""
        self.at_rest = lost_at_rest(before, self.count())
        return {AT_REST: ", ".join(str(each.table) for each in self.at_rest)} if self.at_rest else {}

    def check_kept(self, before: Census, what: str) -> dict[str, str]:
        """Count again, and see that nothing is missing after ``what``; facts for the result.

        Raises:
            DataLost: a table has fewer rows, or a column or a volume lost what it held.
        """
        after = self.count()
        found = losses(before, after, expected=(*self.spec.expected_loss, *self.at_rest))
        if found.lost:
            raise DataLost(
                f"{what} lost data: {found.lost[0]}",
                where=self.domain,
                seen="; ".join(found.lost[1:]),
                advice="if that is meant, say so with [[expected_loss]] in recipe.toml",
            )
        for text in found.told:
            _LOG.warning(f"after {what}: {text}")
        counted = f"{before}, before and after" if str(before) == str(after) else f"{before} before, {after} after"
        fewer = {FEWER: "; ".join(found.told)} if found.told else {}
        missing = {NOT_COUNTED: "; ".join(f"{place}: {why}" for place, why in after.uncounted.items())}
        return {COUNTED: counted, **fewer, **(missing if after.uncounted else {})}

    def backup(self) -> dict[str, str]:
        """Back the app up as its labels say.

        Raises:
            NotShown: no service is labelled for backup.
        """
        facts = self._compose()
        plan = backup_plan(facts)
        if not plan.enabled:
            raise NotShown(
                "no service has backup labels",
                advice="label one (backupbot.backup=true), or say in recipe.toml why backup is not_applicable",
            )
        self.counted = self.count()
        left = not_backed_up(facts, plan)
        for place, why in left.items():
            _LOG.info("not in the backup: %s, since %s", place, why)
        with self.diary.step("backup"):
            self.archives = take_backup(self.handle, plan, self.diary.path / "backup")
        done = {f"{a.service}:{a.path}": f"{a.files} files, {a.size} bytes" for a in self.archives}
        return {**done, **{f"not in the backup: {place}": why for place, why in left.items()}}

    def restore(self) -> dict[str, str]:
        """Change the sentinels, restore the backup, restart what had the old data in hand, and read the sentinels.

        Raises:
            NotShown: no sentinel could be changed, so that a restore that does nothing would look the same.
        """
        plan, app = backup_plan(self._compose()), self.handle
        changed = self.sentinels.spoil(app, self.lease, self.memory)
        if not changed:
            raise NotShown("no sentinel could be changed, so that a restore would show nothing", advice="add one")
        with self.diary.step("restore"):
            write_back(app, plan, self.archives)
        with self.diary.step("restart after restore"):
            keep = {service.service for service in plan.services if service.restore_post}
            restart_services(self.machine.engine, self.stack, keep=frozenset(keep))
            self.wait_restarted("restore")
        self.check_sentinels(after="after the restore")
        kept = self.check_kept(self.counted, "the restore") if self.counted else {}
        return {"changed": f"{changed} sentinels", "restored": f"{len(self.archives)} archives", **kept}

    def _compose(self) -> ComposeFacts:
        if self.deployed is None:
            raise NotShown("nothing is deployed that could be backed up")
        return self.deployed.compose

    def undeploy(self, *, volumes: bool = True) -> None:
        """Remove the app and wait until all of it is gone. A canonical's data stays in its store."""
        with self.diary.step("undeploy"):
            self.reaches_engine |= reaches_engine(self.machine.engine, self.stack)
            self.killed = undeploy(self.machine.engine, self.stack, volumes=volumes, deadline=Deadline(_UNDEPLOY))
            remove_volumes(self.machine.engine, tuple(self._anonymous))
        self.deployed, self.version, self.window = None, None, None

    def left(self) -> tuple[str, ...]:
        """What still exists of the app on the engine."""
        return tuple(sorted(app_inventory(self.machine.engine, self.stack, volumes=self._anonymous).things))

    def require_stopped(self) -> None:
        """Raise when a container of the app exists: nothing is copied while one can write."""
        require_stopped(self.machine.engine, self.stack)

    def _read(self, head: Head) -> tuple[AppPlan, ComposeFacts]:
        """What would be deployed for ``head``, as Docker's loader reads it."""
        plan = self._plan(self.trees.of(head))
        facts = read_plan(self.machine.engine, plan)[1]
        volumes = plan.volumes
        if self.store is not None:
            own = [key for key, volume in facts.volumes.items() if not volume.external]
            volumes = {key: self.store.live(key) for key in own}
        return replace(plan, volumes=volumes, timeout=self._patience(facts)), facts

    def _patience(self, facts: ComposeFacts | None) -> float:
        """Seconds to come up in: by recipe.toml, else by the label ``coop-cloud.<stack>.timeout``, else our default."""
        label = facts.label("timeout").strip() if facts else ""
        said = float(label) if label.isdecimal() else 0.0
        return self.spec.health.timeout or said or self.machine.settings.timeout

    def _plan(self, tree: RecipeTree) -> AppPlan:
        context = self._context()
        where = str(self.spec.file)
        version = self.trees.mirror.release_with(tree.head)
        overrides = {"LETS_ENCRYPT_ENV": "", **render_all(self.spec.env.at(version), context, where=where)}
        older = not self._is_head(tree.head)
        env = app_env(tree, domain=self.domain, stack=self.stack, overrides=overrides, older=older)
        work = tree.path.with_name(f"{tree.path.name}.{self.stack}")
        work.mkdir(exist_ok=True, mode=0o700)
        return AppPlan(
            recipe=self.spec.name,
            stack=self.stack,
            domain=self.domain,
            env=env,
            overlay=self.machine.overlay(self._labels(tree), self._app_env(env), domain=self.domain),
            timeout=self.machine.settings.timeout,
            work=work,
            author=where,
            given_secrets=render_all(self.spec.given_secrets(version), context, where=where),
            secret_rules=self.spec.secret_rules(version),
            known_secrets=dict(self.secrets),
            older=older,
        )

    def _context(self) -> Mapping[str, object]:
        realm = {"realm": self.lease.context()} if self.lease else {}
        return {"domain": self.domain, "zone": self.machine.site.zone.name, "recipe": self.spec.name, **realm}

    def _tell_abra(self, plan: AppPlan, head: Head) -> None:
        """Let abra know the canonical under its domain, where abra is set up on this machine."""
        abra = abra_dir(self.machine.settings.environment)
        problem = write_abra_env(abra, plan.env, recipe=self.spec.name, version=head.version, domain=self.domain)
        if problem:
            _LOG.warning(f"abra: {problem}")

    def _labels(self, tree: RecipeTree) -> Mapping[str, str]:
        """What makes the app visible to abra; a version that is no release is a chaos deploy."""
        stack, head = self.stack, tree.head
        chaos = head.release is None or head.dirty
        labels = {f"coop-cloud.{stack}.recipe": self.spec.name, f"coop-cloud.{stack}.chaos": str(chaos).lower()}
        return labels | ({f"coop-cloud.{stack}.chaos-version": head.short} if chaos else {})

    @staticmethod
    def _app_env(env: AppEnv) -> Mapping[str, str]:
        return {key: value for key, value in env.values.items() if key != "COMPOSE_FILE"}

    def _open_window(self, compose: ComposeFacts) -> None:
        seconds = window_seconds(compose, fast_health=self.machine.settings.fast_health)
        self.window = ProofWindow(tasks_of(inspect_stack(self.machine.engine, self.stack)), seconds)
        self._since = Stopwatch()

    def _healthy(self) -> None:
        """Raise when the app died while we wait for it to serve."""
        verdict = judge(inspect_stack(self.machine.engine, self.stack))
        if verdict.failures:
            raise failure_of(self.machine.engine, self.stack, verdict.failures)

    def volume_names(self) -> tuple[str, ...]:
        """Engine names of the app's own volumes, as far as it was deployed."""
        if self.deployed is None:
            return ()
        facts = self.deployed.compose
        return tuple(volume_name(facts, self.stack, key) for key, v in facts.volumes.items() if not v.external)


def _images(done: Deployed) -> Mapping[str, str]:
    return {f"image {name}": service.image for name, service in done.compose.services.items()}
