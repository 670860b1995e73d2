"""What exists after a run and did not before: whose it is, and whether it may be removed.

The decision is :func:`left_behind`, over values; the engine and the state directory are read and cleaned around it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from docker.errors import NotFound

from pytest_ccci.engine.client import Engine, engine_errors
from pytest_ccci.engine.objects import Thing, engine_things
from pytest_ccci.errors import CcciError
from pytest_ccci.locks import is_held, who
from pytest_ccci.recipe.names import stack_name
from pytest_ccci.run.run_dir import open_diaries
from pytest_ccci.statedir import StateDir
from pytest_ccci.warm.keycloak import Keycloak
from pytest_ccci.warm.realms import load_owners

__all__ = ["HostInventory", "Left", "Others", "inspect_inventory", "inspect_others", "left_behind", "remove_left"]


@dataclass(frozen=True)
class HostInventory:
    """Everything that a run could leave, at one moment, and which runs and updates had been begun until then."""

    things: frozenset[Thing]
    events: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Others:
    """What does not belong to the run: ``stacks`` and ``realms`` of others; ``holders``, who else is in flight now."""

    stacks: frozenset[str] = frozenset()
    realms: frozenset[str] = frozenset()
    holders: frozenset[str] = frozenset()

    def __or__(self, other: Others) -> Others:
        """Everybody of both."""
        return Others(self.stacks | other.stacks, self.realms | other.realms, self.holders | other.holders)


@dataclass(frozen=True)
class Left:
    """One thing that is left. ``ours`` when it is provably the run's, by the ``evidence``."""

    thing: Thing
    ours: bool
    evidence: str

    def __str__(self) -> str:
        return f"{self.thing.kind} {self.thing.name} ({self.evidence})"


def left_behind(
    before: HostInventory,
    after: HostInventory,
    *,
    own: frozenset[str],
    reaches_engine: bool,
    others: Others,
    shared: bool = False,
) -> tuple[Left, ...]:
    """What is in ``after``, was not in ``before`` and is not known to be somebody else's; sorted.

    ``own`` are the run's stacks; ``others`` are who else was there at either moment. Only an app that
    ``reaches_engine`` can make what carries no name of its own. Where it does, and nothing else was in flight, the
    thing is the run's; where something else was, or where the engine is ``shared`` with others,
    that cannot be told.
    """
    stacks = others.stacks - own
    begun = after.events - before.events
    anybody = {"others may use this engine, which is not our own"} if shared else set()
    busy = "; ".join(sorted({f"{name} was in flight" for name in others.holders} | begun | anybody))
    realms_before = any(thing.kind == "realm" for thing in before.things)
    found = []
    for thing in after.things - before.things:
        if thing.stack in stacks or any(thing.name.startswith(f"{stack}_") for stack in stacks):
            continue
        if thing.kind == "realm" and (thing.name in others.realms or not realms_before):
            continue
        mine = thing.stack in own or any(thing.name.startswith(f"{stack}_") for stack in own)
        if mine:
            found.append(Left(thing, ours=True, evidence="of this app's stack"))
        elif thing.kind in {"realm", "mount", "file"}:
            found.append(Left(thing, ours=False, evidence=f"{_made(thing)}, by whom is not known"))
        elif not reaches_engine and thing.stack:
            continue  # another app's, such as a task that Swarm started anew: this app cannot have made it
        elif not reaches_engine:
            evidence = f"{_made(thing)}, not by the app: it has not the engine's socket"
            found.append(Left(thing, ours=False, evidence=evidence))
        elif thing.stack:  # however alone the app was: nothing that bears another app's name is removed for it
            found.append(Left(thing, ours=False, evidence=f"{_made(thing)}, of the stack {thing.stack}"))
        elif busy:
            found.append(Left(thing, ours=False, evidence=f"{_made(thing)}, while {busy}"))
        else:
            evidence = f"{_made(thing)}, while nothing else was in flight, and the app has the engine's socket"
            found.append(Left(thing, ours=True, evidence=evidence))
    return tuple(sorted(found, key=lambda left: (left.thing.kind, left.thing.name)))


def _made(thing: Thing) -> str:
    return f"made during the run{f' at {thing.created}' if thing.created else ''}"


def inspect_inventory(engine: Engine, state: StateDir, *, keycloak: Keycloak | None, run_id: str) -> HostInventory:
    """Inspect the engine, Keycloak's realms where the run has one, host mounts and the top of the state directory.

    Traefik's routes are labels of services and containers: they are here with those.

    Raises:
        InfrastructureFault: engine or Keycloak does not answer.
    """
    things = set(engine_things(engine))
    if keycloak is not None:
        things |= {Thing("realm", str(realm["realm"])) for realm in keycloak.realms()}
    things |= {Thing("mount", path) for path in _mounts_below(state.root, but=state.engine)}
    known = state.names()
    with suppress(OSError):
        entries = (path for path in state.root.iterdir() if not path.name.startswith(".") and path.name not in known)
        things |= {Thing("file", str(path)) for path in entries}
    return HostInventory(frozenset(things), _events(state, run_id))


def inspect_others(state: StateDir, *, run_id: str, own: frozenset[str]) -> Others:
    """Who else has something here now: by held locks and slots, and by the records of runs and of leases.

    The run's ``own`` stacks are passed over.
    """
    stacks, holders = set[str](), set[str]()
    for path in (*sorted(state.locks.glob("*.lock")), *sorted(state.slots.glob("*.lock"))):
        holder = who(path)  # a lock without a word of its holder is not tried: that would disturb who wants it
        if not holder or holder.get("run") == run_id or stack_name(path.stem) in own:
            continue
        with suppress(OSError):
            if is_held(path):
                stacks |= {stack_name(path.stem)} if path.parent == state.locks else set()
                holders.add(f"run {holder['run']}" if holder.get("run") else path.stem)
    for folder, owned in open_diaries(state):
        if folder.name != run_id:
            stacks |= {app.stack for app in owned}
    realms = frozenset(owner.realm for owner in load_owners(state))
    return Others(frozenset(stacks), realms, frozenset(holders))


def remove_left(engine: Engine, left: tuple[Left, ...]) -> tuple[str, ...]:
    """Remove what is provably the run's, users before what they use; what could not be is returned as text."""
    api = engine.client.api
    acts: dict[str, Callable[[Thing], object]] = {
        "service": lambda thing: api.remove_service(thing.id),
        "container": lambda thing: api.remove_container(thing.id, force=True, v=True),
        "network": lambda thing: api.remove_network(thing.id),
        "volume": lambda thing: api.remove_volume(thing.name),
        "secret": lambda thing: api.remove_secret(thing.id),
        "config": lambda thing: api.remove_config(thing.id),
    }
    problems = []
    for kind, act in acts.items():
        for thing in (one.thing for one in left if one.ours and one.thing.kind == kind):
            try:
                with engine_errors(f"removing {kind} {thing.name}"), suppress(NotFound):
                    act(thing)
            except CcciError as error:
                problems.append(str(error))
    return tuple(problems)


def _events(state: StateDir, run_id: str) -> frozenset[str]:
    """Runs that were ever begun and outcomes of reconciles, so that one between two moments is noticed."""
    events = set()
    with suppress(OSError):
        others = [path for path in state.runs.iterdir() if path.name != run_id and path.is_dir()]
        events |= {f"run {path.name} was begun" for path in others}
        events |= {f"run {path.name} ended" for path in others if (path / "results.json").exists()}
    for path in (state.root / "infra").glob("*/outcome.json"):
        with suppress(OSError):
            events.add(f"{path.parent.name} was reconciled ({path.stat().st_mtime_ns})")
    return frozenset(events)


def _mounts_below(root: Path, *, but: Path) -> frozenset[str]:
    try:
        rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return frozenset()
    places = (Path(row.split(" ")[4]) for row in rows)
    return frozenset(str(p) for p in places if p.is_relative_to(root) and p != root and not p.is_relative_to(but))
