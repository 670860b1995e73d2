"""What is in flight: locks that are held, and by whom. The lock decides, never an age or a pid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from pytest_ccci.errors import DeadlineExceeded, LockBusy
from pytest_ccci.locks import hold, is_marked, turn, waiting, who
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.waiting import Deadline, until

__all__ = ["Holder", "holder_of", "holders", "nothing_in_flight", "runs_in_flight", "waiting_runs", "with_end"]

_EVERY = 0.5


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, in their own words."""

    lock: str
    run: str = ""
    recipe: str = ""
    mode: str = ""
    doing: str = ""
    pid: str = ""
    since: str = ""
    ends: str = ""
    """When it is expected to end, told from earlier runs of its kind; empty where there is none."""

    def __str__(self) -> str:
        what = " ".join(part for part in (self.recipe, self.mode, self.run and f"run {self.run}", self.doing) if part)
        ends = f", expected to end at {self.ends[11:16]} UTC" if self.ends else ""
        return f"{what or 'somebody'} (pid {self.pid or '?'}, since {self.since or '?'}{ends})"


def holder_of(lock: Path) -> Holder | None:
    """Who holds ``lock`` now; ``None`` when nobody does. Takes no lock, so that nobody is disturbed."""
    if not is_marked(lock):
        return None
    return _holder(lock, who(lock))


def _holder(lock: Path, facts: Mapping[str, str]) -> Holder:
    known = {name: facts[name] for name in Holder.__dataclass_fields__ if name in facts}
    return Holder(**{**known, "lock": lock.stem})


def holders(state: StateDir) -> tuple[Holder, ...]:
    """All apps' locks that are held."""
    found = (holder_of(path) for path in sorted(state.locks.glob("*.lock")))
    return tuple(holder for holder in found if holder is not None)


def runs_in_flight(state: StateDir) -> tuple[Holder, ...]:
    """One holder per run that is in flight: those of the slots, and apps' locks of runs without one."""
    slots = tuple(h for h in (holder_of(path) for path in sorted(state.slots.glob("*.lock"))) if h is not None)
    known = {holder.run for holder in slots}
    return (*slots, *(holder for holder in holders(state) if holder.run and holder.run not in known))


def waiting_runs(state: StateDir) -> tuple[Holder, ...]:
    """Who waits for a slot, in the order of their coming: so they get one."""
    return tuple(_holder(state.any_slot, facts) for facts in waiting(state.any_slot))


def with_end(holder: Holder, seconds: Sequence[float]) -> Holder:
    """``holder`` with its expected end: the median of what earlier runs of its recipe and mode took."""
    if not (seconds and holder.since):
        return holder
    end = datetime.fromisoformat(holder.since) + timedelta(seconds=median(seconds))
    return replace(holder, ends=end.astimezone(UTC).isoformat(timespec="seconds"))


@contextmanager
def nothing_in_flight(
    state: StateDir, settings: Settings, *, doing: str, wait: float = 0, ours: str = ""
) -> Iterator[None]:
    """Keep runs from starting, by all slots of the machine; only while nothing else is in flight.

    What is in flight is waited for, for at most ``wait`` seconds; meanwhile nothing new starts. ``ours`` is the id of a
    run of this process, which does not count.

    Raises:
        LockBusy: a run is in flight; says which.
    """
    deadline = Deadline(wait)
    paths = {state.slots / f"{number}.lock" for number in range(settings.slots)} | set(state.slots.glob("*.lock"))
    with ExitStack() as held:
        try:
            # In turn with the runs that wait for a slot; those that come later wait behind us.
            held.enter_context(turn(state.any_slot, wait=deadline.left, owner={"doing": doing}))
            for path in sorted(paths):
                if ours and is_marked(path) and who(path).get("run") == ours:
                    continue
                held.enter_context(hold(path, wait=deadline.left, owner={"doing": doing}))
        except LockBusy as error:
            raise _busy(doing, error.seen) from error
        try:
            until(lambda: not _others(state, ours), deadline=deadline, what="everything to end", every=_EVERY)
        except DeadlineExceeded as error:
            busy = "; ".join(f"{holder.lock}: {holder}" for holder in _others(state, ours))
            raise _busy(doing, busy or "it ended just now") from error
        yield


def _others(state: StateDir, ours: str) -> list[Holder]:
    return [holder for holder in holders(state) if not ours or holder.run != ours]


def _busy(doing: str, seen: str) -> LockBusy:
    advice = "let it end, or stop it: a lock is free as soon as its process is gone"
    return LockBusy(f"cannot {doing} now: something is in flight", seen=seen, advice=advice)
