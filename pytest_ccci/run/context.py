"""What one run holds while it lives, and the clean-up after runs that were killed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.objects import app_inventory, remove_volumes
from pytest_ccci.errors import CcciError, EngineUnavailable, InfrastructureFault, LeftBehind, LockBusy, NotShown
from pytest_ccci.locks import Held, hold, hold_first_free, is_held, who
from pytest_ccci.recipe.names import app_domain, stack_name
from pytest_ccci.recipe.repository import Head, Mirror
from pytest_ccci.recipe.spec import KeycloakNeed, RecipeSpec
from pytest_ccci.results.model import KEPT_APP, RefFact
from pytest_ccci.run.attached import NO_TESTS, AppTests, Attachment, AuthorsTests, perform_tests
from pytest_ccci.run.deployment import Deployment
from pytest_ccci.run.host import (
    Machine,
    alert_of,
    bring_up_own,
    open_machine,
    outage,
    own_domain,
    remove_own,
    with_own_keycloak,
)
from pytest_ccci.run.kept_apps import KeptApp, keep_app
from pytest_ccci.run.leftovers import (
    HostInventory,
    Left,
    Others,
    inspect_inventory,
    inspect_others,
    left_behind,
    remove_left,
)
from pytest_ccci.run.plan import Plan
from pytest_ccci.run.run_dir import BULKY, Diary, Owned, Trees, damaged_diaries, now_text, open_diaries
from pytest_ccci.run.sentinels import Sentinels
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, is_kept
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Deadline
from pytest_ccci.warm import realms
from pytest_ccci.warm.alerts import Alert, AlertKind, open_alerts, write_alert
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.realm_model import RealmLease

__all__ = ["Reaped", "RunContext", "head_fact", "reap_dead_runs", "remove_owned"]

_LOG = logging.getLogger(__name__)

_UNDEPLOY = 120.0
_AGAIN = 10.0
"""For what could not be removed before, and of which an operator knows."""
_BLOCK = 100
"""Ports under one lock: apps that publish a range publish thousands."""


def head_fact(head: Head) -> RefFact:
    """A version as results tell it."""
    release = head.release.tag if head.release else None
    return RefFact(ref=head.ref, commit=head.commit, version=head.version, release=release, dirty=head.dirty)


@dataclass(frozen=True)
class Reaped:
    """What became of what dead runs left: a line per app that was removed, and one per thing that stays."""

    done: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def reap_dead_runs(machine: Machine, *, ours: frozenset[str] = frozenset()) -> Reaped:
    """Remove what dead runs left deployed, and their work folders.

    ``ours`` are run ids of this process: alive, whatever their locks say. A run is dead when its lock is free, which is
    found by its name: the state directory may be mounted elsewhere than where the dead run saw it. Nothing
    that a dead run left raises here.
    """
    done: list[str] = []
    problems: list[str] = []
    known = _alerted(machine.state)
    for folder, owned in open_diaries(machine.state):
        if folder.name in ours:
            continue
        left = [app for app in owned if is_kept(machine.state.locks / Path(app.lock).name)]
        for app in [one for one in owned if one not in left]:
            seconds = _AGAIN if (app.run_id, app.domain) in known else _UNDEPLOY
            lock, doing = machine.state.locks / Path(app.lock).name, {"doing": f"clean up after {app.run_id}"}
            try:
                # A lock that somebody holds: alive, or the next run of that app, which clears its own app.
                with suppress(LockBusy), hold(lock, wait=0, owner=doing):
                    if remove_owned(machine, app, seconds=seconds):
                        done.append(f"cleaned up {app.domain}, left by run {app.run_id}, which was killed")
                    continue
            except (CcciError, OSError, ValueError) as error:
                what = f"{app.domain}, left by run {app.run_id}, which was killed, cannot be removed"
                problems += _problem(machine.state, what, error, app=app.domain, run_id=app.run_id, known=known)
            left.append(app)
        if len(left) < len(owned):
            try:
                Diary(folder).own(tuple(left))
            except (CcciError, OSError) as error:
                what = f"the record of the dead run {folder.name} cannot be brought up to date"
                problems += _problem(machine.state, what, error, app=folder.name, run_id=folder.name, known=known)
    for folder, damage in damaged_diaries(machine.state):
        if folder.name not in ours:
            what = f"{folder}: what that run owned cannot be read; look for what it left, then remove the folder"
            problems += _problem(machine.state, what, damage, app=folder.name, run_id=folder.name, known=known)
    problems += _remove_work_of_the_dead(machine.state, ours)
    return Reaped(tuple(done), tuple(problems))


def remove_owned(machine: Machine, app: Owned, *, seconds: float = _UNDEPLOY) -> bool:
    """Remove what exists of ``app``; whether there was anything. A canonical's directories stay."""
    volumes = frozenset(app.volumes)
    if not app_inventory(machine.engine, app.stack, volumes=volumes).things:
        return False
    undeploy(machine.engine, app.stack, volumes=True, deadline=Deadline(seconds))
    remove_volumes(machine.engine, tuple(volumes))
    return True


def _problem(
    state: StateDir, what: str, error: Exception, *, app: str, run_id: str, known: frozenset[tuple[str, str]]
) -> list[str]:
    """The lines about something that stays, after an alert of it where none is open yet."""
    line = f"{what}: {error}"
    if (run_id, app) in known:
        return [line]
    try:
        write_alert(state, Alert(AlertKind.LEFT_BEHIND, app, recovered=False, notes=line, run_id=run_id))
    except OSError as unwritten:
        return [line, f"the alert of it could not be written: {unwritten}"]
    return [line]


def _alerted(state: StateDir) -> frozenset[tuple[str, str]]:
    """Run and app of what an operator is told of already."""
    with suppress(OSError):
        open_ones = (alert for _, alert in open_alerts(state))
        return frozenset((one.run_id, one.app) for one in open_ones if one.kind == AlertKind.LEFT_BEHIND)
    return frozenset()


def _remove_work_of_the_dead(state: StateDir, ours: frozenset[str]) -> list[str]:
    """Remove archives and trees of runs that did not come to a result; a run that has such work holds a slot."""
    try:
        alive = ours | _in_slots(state)
        found = [folder for name in BULKY for folder in sorted(state.runs.glob(f"*/{name}"))]
    except OSError as error:
        return [f"work folders of dead runs could not be looked for: {error}"]
    problems = []
    for folder in found:
        run = folder.parent
        if run.name in alive or (run / "results.json").exists() or (run / "owned.json").exists():
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            problems.append(f"{folder}, left by a run that was killed, cannot be removed: {error}")
    return problems


def _in_slots(state: StateDir) -> frozenset[str]:
    """Run ids of the holders of slots."""
    return frozenset(
        who(path).get("run", "") for path in sorted(state.slots.glob("*.lock")) if who(path) and is_held(path)
    )


@dataclass
class RunContext:
    """Everything a run is made of.

    ``interrupted`` says by what somebody asked to stop, from then on; such a run is not green and promotes nothing.
    ``make_room`` takes the run's id, removes what can go of what we keep, and returns how many bytes that freed.

    Locks are taken in this order: slot, app, (at promotion) canonical; below them those of infra, mirrors and images.
    """

    run_id: str
    spec: RecipeSpec
    settings: Settings
    state: StateDir
    mirror: Mirror
    head: Head
    sentinels: Sentinels
    diary: Diary
    trees: Trees
    holds: ExitStack = field(default_factory=ExitStack)
    tests: AuthorsTests = NO_TESTS
    on_base: AppTests | None = None
    plan: Plan | None = None
    owned: tuple[Owned, ...] = ()
    promoting: bool = False
    interrupted: str = ""
    make_room: Callable[[str], int] = lambda _: 0
    warnings: list[str] = field(default_factory=list)
    leases: list[RealmLease] = field(default_factory=list)
    leftovers: tuple[str, ...] = ()
    _before: tuple[HostInventory, Others] | None = None
    _machine: Machine | None = None
    _keycloak: Keycloak | None = None
    _ports: set[str] = field(default_factory=set)

    def open_machine(self) -> Machine:
        """Open the machine, once; what dead runs left is cleaned up then. Returns it."""
        if self._machine is None:
            with self.diary.step("machine"):
                images = self.spec.folder / "images"
                self._machine = open_machine(self.settings, self.state, images=images)
                reaped = reap_dead_runs(self._machine, ours=frozenset({self.run_id}))
                self.warnings += reaped.problems
                for line in reaped.done:
                    _LOG.info(line)
                for line in reaped.problems:
                    _LOG.warning(line)
        return self._machine

    @property
    def machine_or_none(self) -> Machine | None:
        """The machine if it was opened."""
        return self._machine

    def bring_up_keycloak(self) -> Keycloak:
        """Bring the warm Keycloak up, once; realms of dead runs are reaped then. Returns it.

        One of the run's own where the warm one cannot be brought up.
        """
        if self._keycloak is None:
            machine = self.open_machine()
            with self.diary.step("keycloak"):
                try:
                    self._keycloak = machine.keycloak()
                except InfrastructureFault as error:
                    self._keycloak = self._own_keycloak(machine, error)
                else:
                    realms.reap(self._keycloak, self.state)
        return self._keycloak

    def _own_keycloak(self, machine: Machine, problem: InfrastructureFault) -> Keycloak:
        """A cold one of the run's own: said in the result, and an operator is alerted. Removed when the run ends.

        Raises:
            InfrastructureFault: it is the engine that is gone, or this one does not come up either.
        """
        if isinstance(problem, EngineUnavailable):
            raise problem
        alert_of(machine, problem, run_id=self.run_id)
        first = str(problem).partition("\n")[0]
        self.warnings.append(f"ran against a cold Keycloak of its own, as the warm one could not be had: {first}")
        _LOG.warning(f"keycloak: the warm one cannot be had ({first}); bringing up one of the run's own")
        domain = own_domain(self.run_id, self.settings.zone)
        self.lock_app(domain)
        owned = Owned(self.run_id, "keycloak", stack_name(domain), domain, str(self.state.lock(domain)))
        self.owned = (*self.owned, owned)
        self.diary.own(self.owned)
        found = bring_up_own(machine, domain)
        self._machine = with_own_keycloak(machine, domain)
        return found

    def _remove_own_keycloak(self) -> None:
        machine = self._machine
        if machine is None or not machine.own_keycloak:
            return
        with self.diary.step("remove own keycloak"):
            stack = stack_name(machine.own_keycloak)
            remove_own(machine, stack)
            self.owned = tuple(owned for owned in self.owned if owned.stack != stack)
            self.diary.own(self.owned)

    def take_slot(self) -> None:
        """Hold one of the machine's slots for as long as the run lives; wait for one if all are taken, in turn.

        Raises:
            LockBusy: none came free in time.
            InfrastructureFault: no slot's file can be opened; one that cannot is passed over.
        """
        paths = [self.state.slots / f"{number}.lock" for number in range(self.settings.slots)]
        slot = hold_first_free(paths, queue=self.state.any_slot, wait=self.settings.lock_wait, owner=self._owner())
        try:
            self.holds.enter_context(slot)
        except LockBusy as error:
            raise LockBusy("all slots of this machine are taken", seen=error.seen) from error
        except OSError as error:
            raise InfrastructureFault(
                "no slot of this machine can be locked", where=str(self.state.slots), seen=str(error)
            ) from error

    def lock_app(self, domain: str) -> None:
        """Hold the app's lock for as long as the run lives.

        Raises:
            LockBusy: another run held it all the time.
        """
        self.holds.enter_context(self.lock_of(domain))

    def hold_ports(self, ports: Iterable[tuple[int, str]]) -> None:
        """Hold ports of the machine for as long as the run lives, a hundred under one lock; wait while a run has them.

        Raises:
            LockBusy: another run had them all the time.
        """
        firsts = {(port - port % _BLOCK, protocol) for port, protocol in ports}
        names = {f"ports-{first}-{first + _BLOCK - 1}-{protocol}" for first, protocol in firsts}
        for name in sorted(names - self._ports):
            lock = hold(self.state.locks / f"{name}.lock", wait=self.settings.lock_wait, owner=self._owner())
            self.holds.enter_context(lock)
            self._ports.add(name)

    def lock_of(self, domain: str) -> AbstractContextManager[Held]:
        """The lock of the app at ``domain``, to be entered."""
        return hold(self.state.lock(domain), wait=self.settings.lock_wait, owner=self._owner())

    def deployment(self, domain: str, *, store: CanonicalStore | None = None) -> Deployment:
        """The app at ``domain``, whose lock is held; what a dead run left of it is removed.

        The run says on disk that it owns the app before anything of it is made.
        """
        app = Deployment(
            self.open_machine(),
            self.spec,
            self.trees,
            domain,
            self.diary,
            self.head,
            self.sentinels,
            store=store,
            hold_ports=self.hold_ports,
        )
        owned = Owned(self.run_id, self.spec.name, app.stack, domain, str(self._lock(domain)))
        if remove_owned(self.open_machine(), owned):
            _LOG.info(f"cleaned up {domain}, left by a run that was killed")
        self.owned = (*self.owned, owned)
        self.diary.own(self.owned)
        return app

    def note_before(self) -> None:
        """Remember what exists, before anything of the app is deployed."""
        with self.diary.step("snapshot before"):
            self._before = self._everything()

    def check_nothing_left(self, app: Deployment, *, left: tuple[str, ...] = ()) -> None:
        """Compare what exists with what did before the app was deployed; remove what is provably the run's.

        ``left`` is what was found already.

        Raises:
            LeftBehind: something is left that is the run's, removed or not.
            NotShown: an app with the engine's socket was not alone, and something is left that may be its own.
        """
        found: tuple[Left, ...] = ()
        if app.killed:
            self.warnings.append(
                f"{', '.join(app.killed)} did not end when asked to, and was killed: what it had not written is lost"
            )
        if self._before is not None:
            with self.diary.step("diff"):
                (before, others), (after, now) = self._before, self._everything()
                own, reaches = self._own_stacks(), app.reaches_engine
                shared = not self.open_machine().engine.facts.private
                found = left_behind(before, after, own=own, reaches_engine=reaches, others=others | now, shared=shared)
                problems = remove_left(self.open_machine().engine, found)
                self.warnings += [f"could not be removed: {problem}" for problem in problems]
        ours = tuple(str(one) for one in found if one.ours)
        unknown = tuple(str(one) for one in found if not one.ours)
        self.leftovers = (*left, *ours)
        if unknown and not app.reaches_engine:
            self.warnings.append(f"there is something new that the run did not make: {', '.join(unknown)}")
        if self.leftovers:
            advice = "what could be was removed" if ours else ""
            seen = ", ".join(self.leftovers)
            raise LeftBehind("the teardown left something", where=app.domain, seen=seen, advice=advice)
        if unknown and app.reaches_engine:
            raise NotShown(
                "what the app may have left cannot be told from what others made",
                where=app.domain,
                seen=", ".join(unknown),
                advice="run it alone; then remove what is not wanted",
            )

    def _everything(self) -> tuple[HostInventory, Others]:
        """What exists, and who else is there; asked on both sides of it, since others begin and end meanwhile."""
        own = frozenset(one.stack for one in self.owned)
        others = inspect_others(self.state, run_id=self.run_id, own=own)
        engine = self.open_machine().engine
        inventory = inspect_inventory(engine, self.state, keycloak=self._keycloak, run_id=self.run_id)
        zone = self.settings.zone
        apps = {stack_name(app_domain(app, zone)) for app in ("traefik", "keycloak")}
        warm = Others(frozenset(apps) | (own - self._own_stacks()))
        return inventory, others | warm | inspect_others(self.state, run_id=self.run_id, own=own)

    def _own_stacks(self) -> frozenset[str]:
        """Those of the app itself; not that of a Keycloak of the run's own, which goes later."""
        last = self._machine.own_keycloak if self._machine else ""
        return frozenset(app.stack for app in self.owned if app.domain != last)

    def disown(self, app: Deployment) -> None:
        """Nothing of the app is deployed any more, as was just seen."""
        self._forget(app.stack)

    def take_down(self) -> None:
        """Remove what is still deployed after a settle that did not get that far; a canonical's data stays.

        A Keycloak of the run's own goes last, with :meth:`close`: realms are given back to it. What cannot be removed
        now stays on record, and the next start removes it.
        """
        last = self._machine.own_keycloak if self._machine else ""
        for app in [one for one in self.owned if one.domain != last] if self._machine else ():
            try:
                remove_owned(self.open_machine(), app)
            except CcciError as error:
                self.warnings.append(f"{app.domain} is still deployed, the next run removes it: {error}")
            else:
                self._forget(app.stack)

    def may_keep(self, app: Deployment) -> bool:
        """Whether a red run leaves ``app`` deployed: it was asked to, and there is something that would go on."""
        alone = not (self._machine and self._machine.own_keycloak)  # a Keycloak of the run's own goes with it
        return self.settings.keep == "failed" and not self.interrupted and alone and bool(app.left())

    def keep(self, app: Deployment, reason: str) -> dict[str, str]:
        """Leave ``app`` deployed, with its realm, until ``ccci release``; facts that say how to get at it."""
        site, folder = self.open_machine().site, self.spec.folder
        kept = KeptApp(
            domain=app.domain,
            url=site.zone.url(app.domain),
            recipe=self.spec.name,
            folder=str(folder),
            run_id=self.run_id,
            since=now_text(),
            reason=reason.partition("\n")[0],
            realm=app.lease,
        )
        path = keep_app(self.state, kept)
        if app.lease in self.leases:
            self.leases.remove(app.lease)
        people = f"; who can sign in, and with which passwords, stands in {path}" if app.lease else ""
        inside = f"docker -H {site.engine.host} ps --filter label=com.docker.stack.namespace={app.stack}"
        return {KEPT_APP: f"{kept.url}{people}; {inside}; until ccci release {folder}", "left": app.domain}

    def perform_tests(self, app: Deployment, version: Head) -> AppTests | None:
        """Perform the author's tests on ``app``, where ``version`` is deployed; ``None`` where there are none to."""
        if not self.tests.nodeids or not self.spec.tests.on_base or self.spec.waived("custom"):
            return None
        site = self.open_machine().site
        attachment = Attachment(
            recipe=self.spec.name,
            run_id=self.run_id,
            mode=self.settings.mode,
            version=head_fact(version),
            host=site.engine.host,
            stack=app.stack,
            domain=app.domain,
            url=site.zone.url(app.domain),
            route=site.zone.route,
            state=self.state.root,
            realm=app.lease,
        )
        with self.diary.step(f"tests on {version.version}"):
            done = perform_tests(self.tests, attachment, work=self.diary.path)
        if done.problem:
            self.warnings.append(f"the author's tests could not be run on {version.version}: {done.problem}")
        return done

    def lease_for(self, app: Deployment) -> RealmLease | None:
        """A realm for the app, where the recipe needs one."""
        need = self.spec.needs.keycloak
        if need is None:
            return None
        lease = self.lease(app.domain, need, kept=app.store is not None)
        app.machine = self.open_machine()  # another one where the run had to bring up a Keycloak of its own
        return lease

    def lease(self, domain: str, need: KeycloakNeed, *, kept: bool) -> RealmLease:
        """Lease a realm for the app at ``domain``; given back when the run ends, whatever happened."""
        url, keycloak = self.open_machine().site.zone.url(domain), self.bring_up_keycloak()
        with self.diary.step("lease realm"):
            lease = realms.lease(
                keycloak,
                self.state,
                recipe=self.spec.name,
                run_id=self.run_id,
                domain=domain,
                zone=self.open_machine().site.zone.name,
                kept=kept,
                redirect_uris=[f"{url}{path}" for path in need.redirect_paths],
                post_logout_uris=[f"{url}{path}" for path in need.post_logout_paths],
                public=need.public,
                lock=self._lock(domain),
                bound=self.settings.realms,
            )
        self.leases.append(lease)
        return lease

    def give_back(self, lease: RealmLease | None) -> None:
        """Give a lease back, and see that its realm is gone.

        Raises:
            LeftBehind: it is still there.
        """
        if lease is not None and lease in self.leases:
            with self.diary.step("give realm back"):
                self._give_back(lease)

    def remove_app(self, app: Deployment) -> None:
        """Undeploy the app; its lease is given back meanwhile, so that the run hardly waits for it.

        Raises:
            LeftBehind: the realm is still there.
        """
        lease = app.lease
        if lease is None or lease not in self.leases:
            app.undeploy()
            return
        with ThreadPoolExecutor(1) as pool:
            back = pool.submit(self._give_back, lease)
            app.undeploy()
            with self.diary.step("give realm back"):
                back.result()

    def _give_back(self, lease: RealmLease) -> None:
        # Given back or not, it is not tried again: the record of what is left stays, and the next start reaps it.
        self.leases.remove(lease)
        realms.give_back(self.bring_up_keycloak(), self.state, lease)
        if self.bring_up_keycloak().realm(lease.realm) is not None:
            raise LeftBehind(f"realm {lease.realm} is still there")

    def close(self) -> tuple[str, ...]:
        """Give everything back, each by itself; what could not be is returned as text."""
        problems: list[str] = []
        down = outage(self._machine, keycloak=True) if self._machine and self.leases else None
        for lease in tuple(self.leases):
            if down:  # in vain, and it would be waited for: the record of the lease stays, and the next start reaps it
                problems.append(f"realm {lease.realm} could not be given back, the next run does it: {down}")
            else:
                _try(partial(self.give_back, lease), problems)
        _try(self._remove_own_keycloak, problems)
        _try(self.holds.close, problems)
        return tuple(problems)

    def _forget(self, stack: str) -> None:
        self.owned = tuple(owned for owned in self.owned if owned.stack != stack)
        self.diary.own(self.owned)

    def _lock(self, domain: str) -> Path:
        """The lock as whoever cleans up after us finds it, also where our state directory is a scratch one."""
        return self.state.lock(domain).resolve()

    def _owner(self) -> dict[str, str]:
        return {"run": self.run_id, "recipe": self.spec.name, "mode": self.settings.mode}


def _try(act: Callable[[], object], problems: list[str]) -> None:
    try:
        act()
    except CcciError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(str(InfrastructureFault("closing the run", seen=str(error))))
