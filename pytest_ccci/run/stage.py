"""One app at one domain, as a run deploys it: version after version, until it is removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_ccci.engine.convergence import judge, tasks_of, wait_converged
from pytest_ccci.engine.deploy import AppPlan, Deployed, deploy_app, read_plan, undeploy, volume_name
from pytest_ccci.engine.inspect import failing_checks, observe
from pytest_ccci.engine.objects import anonymous_volumes, app_inventory, remove_volumes
from pytest_ccci.errors import CrashLoop, LeftBehind, RecipeFault
from pytest_ccci.recipe.compose_facts import ComposeFacts
from pytest_ccci.recipe.env import AppEnv, app_env, render_all, write_abra_env
from pytest_ccci.recipe.lint import Finding, changed_configs, lint, refuse
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.recipe.repository import Head
from pytest_ccci.recipe.spec import RecipeSpec
from pytest_ccci.recipe.tree import RecipeTree
from pytest_ccci.run.app import App
from pytest_ccci.run.checks import ProofWindow, check_running, check_stayed, wait_serving, window_seconds
from pytest_ccci.run.host import Machine
from pytest_ccci.run.run_dir import Diary, Trees
from pytest_ccci.settings import abra_dir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline, Stopwatch, until
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["Stage"]

_UNDEPLOY = 120.0
_PROOF = 300.0


@dataclass
class Stage:
    """What a run knows of its app. ``store`` is given for a canonical: its volumes live there.

    ``version`` is what ``deployed`` was made of; ``findings`` are what was found in the versions that were examined.
    """

    machine: Machine
    spec: RecipeSpec
    trees: Trees
    domain: str
    diary: Diary
    lease: RealmLease | None = None
    store: CanonicalStore | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    deployed: Deployed | None = None
    version: Head | None = None
    findings: tuple[Finding, ...] = ()
    window: ProofWindow | None = None
    _since: Stopwatch = field(default_factory=Stopwatch)
    _anonymous: frozenset[str] = frozenset()

    @property
    def stack(self) -> str:
        """The stack's name."""
        return stack_name(self.domain)

    @property
    def app(self) -> App:
        """The app as tests see it."""
        zone = self.machine.site.zone
        return App(zone.url(self.domain), self.domain, self.stack, self.machine.engine, zone.route)

    def deploy(self, head: Head, *, doing: str) -> Deployed:
        """Deploy ``head`` (fresh, or in place over what runs), wait until it is up, serves, and is what was asked for.

        Raises:
            RecipeFault: it does not come up, does not serve, or something else runs than was deployed.
        """
        plan, _ = self._read(head)
        with self.diary.step(f"{doing}: deploy"):
            done = deploy_app(
                self.machine.engine, plan, prepare=self.machine.prepare, tell=self.machine.tell, doing=doing
            )
        self.secrets |= done.secrets
        self._anonymous |= anonymous_volumes(self.machine.engine, self.stack)
        check_running(done.compose, observe(self.machine.engine, self.stack))
        with self.diary.step(f"{doing}: serve"):
            self.wait_serving(plan.timeout)
        self.deployed, self.version = done, head
        self._open_window(done.compose)
        if self.store is not None:
            self._tell_abra(plan, head)
        return done

    def examine(self, head: Head) -> None:
        """Look for what is wrong or risky in ``head``, and for what changed under a name that Swarm cannot change.

        Raises:
            RecipeInvalid: the deploy would fail, and Swarm's own words would not help.
        """
        plan, facts = self._read(head)
        tree = self.trees.of(head)
        changed: tuple[Finding, ...] = ()
        if self.deployed is not None and self.version is not None:
            changed = changed_configs((self.deployed.compose, self.trees.of(self.version)), (facts, tree))
        self.findings = (*changed, *lint(facts, tree, plan.env))
        refuse(self.findings, where=f"{self.spec.name} {head.version}")

    def wait_serving(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the app answers at its own address as recipe.toml says."""
        health = self.spec.health
        deadline = Deadline(timeout)
        wait_serving(
            self.app.http,
            f"{self.app.url}{health.path}",
            accept=health.accept,
            deadline=deadline,
            healthy=self._healthy,
        )

    def settled_again(self, doing: str) -> None:
        """After a restart that was ours: wait until all is up and serves, and watch the new tasks from now on."""
        timeout = self._patience(self.deployed.compose if self.deployed else None)
        facts = wait_converged(
            self.machine.engine, self.stack, deadline=Deadline(timeout), tell=self.machine.tell, doing=doing
        )
        self.wait_serving(timeout)
        if self.window is not None:
            self.window = replace(self.window, tasks=tasks_of(facts))

    def close_window(self) -> None:
        """Wait out what is left of the proof window, then prove that the same tasks are up.

        Raises:
            RecipeFault: a task died meanwhile, or Swarm rolled back.
        """
        if self.window is None:
            return
        window = self.window

        def over() -> bool:
            facts = observe(self.machine.engine, self.stack)
            check_stayed(window, facts)
            return self._since.seconds >= window.seconds and not failing_checks(self.machine.engine, facts)

        with self.diary.step("proof window"):
            until(over, deadline=Deadline(_PROOF), what="every health check to pass", every=0.25)
        self.window = None

    def window_problem(self) -> RecipeFault | None:
        """Like ``close_window``, but what it found is returned: the teardown must go on."""
        try:
            self.close_window()
        except RecipeFault as error:
            return error
        return None

    def undeploy(self, *, volumes: bool = True) -> None:
        """Remove the app and wait until all of it is gone. A canonical's data stays in its store."""
        with self.diary.step("undeploy"):
            undeploy(
                self.machine.engine, self.stack, volumes=volumes, deadline=Deadline(_UNDEPLOY), tell=self.machine.tell
            )
            remove_volumes(self.machine.engine, tuple(self._anonymous))
        self.deployed, self.version, self.window = None, None, None

    def left(self) -> tuple[str, ...]:
        """What still exists of the app on the engine."""
        return tuple(sorted(app_inventory(self.machine.engine, self.stack, volumes=self._anonymous).things))

    def require_stopped(self) -> None:
        """Raise when a container of the app exists: nothing is copied while one can write."""
        writers = [thing for thing in self.left() if thing.startswith(("container", "task", "service"))]
        if writers:
            raise LeftBehind("the app is still deployed: its volumes cannot be copied", seen=", ".join(writers))

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
        overrides = {"LETS_ENCRYPT_ENV": "", **render_all(self.spec.env, context, where=where)}
        env = app_env(tree, domain=self.domain, stack=self.stack, overrides=overrides)
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
            given_secrets=render_all(self.spec.secrets, context, where=where),
            known_secrets=dict(self.secrets),
        )

    def _context(self) -> Mapping[str, object]:
        realm = {"realm": self.lease.context()} if self.lease else {}
        return {"domain": self.domain, "zone": self.machine.site.zone.name, "recipe": self.spec.name, **realm}

    def _tell_abra(self, plan: AppPlan, head: Head) -> None:
        """Let abra know the canonical under its domain, where abra is set up on this machine."""
        abra = abra_dir(self.machine.settings.environment)
        problem = write_abra_env(abra, plan.env, recipe=self.spec.name, version=head.version, domain=self.domain)
        if problem:
            self.machine.tell(f"abra: {problem}")

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
        self.window = ProofWindow(tasks_of(observe(self.machine.engine, self.stack)), seconds)
        self._since = Stopwatch()

    def _healthy(self) -> None:
        """Raise when the app died while we wait for it to serve."""
        verdict = judge(observe(self.machine.engine, self.stack))
        if verdict.failures:
            first = verdict.failures[0]
            raise CrashLoop(f"service {first.service}: {first.kind.value}", where=self.stack, seen=first.seen)

    def volume_names(self) -> tuple[str, ...]:
        """Engine names of the app's own volumes, as far as it was deployed."""
        if self.deployed is None:
            return ()
        facts = self.deployed.compose
        return tuple(volume_name(facts, self.stack, key) for key, v in facts.volumes.items() if not v.external)
