"""Cleans up after runs that were killed: what they said they own is removed, under the lock that says they are dead."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.objects import app_inventory, remove_volumes
from pytest_ccci.errors import LockBusy
from pytest_ccci.locks import hold
from pytest_ccci.run.diary import Diary, Owned, open_diaries
from pytest_ccci.run.machine import Machine
from pytest_ccci.waiting import Deadline

__all__ = ["reap_dead_runs", "remove_owned"]

_UNDEPLOY = 120.0


def reap_dead_runs(machine: Machine, *, ours: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Remove what dead runs left deployed; return a line per app.

    ``ours`` are run ids of this process: alive, whatever their locks say. A run is dead when its lock is free.
    """
    done = []
    for folder, owned in open_diaries(machine.state):
        if folder.name in ours:
            continue
        left = []
        for app in owned:
            # A lock that somebody holds: alive, or the next run of that app, which clears its own stage.
            with suppress(LockBusy), hold(Path(app.lock), wait=0, owner={"doing": f"clean up after {app.run_id}"}):
                if remove_owned(machine, app):
                    done.append(f"cleaned up {app.domain}, left by run {app.run_id}, which was killed")
                continue
            left.append(app)
        Diary(folder).own(tuple(left))
    return tuple(done)


def remove_owned(machine: Machine, app: Owned) -> bool:
    """Remove what exists of ``app``; whether there was anything. A canonical's directories stay."""
    volumes = frozenset(app.volumes)
    if not app_inventory(machine.engine, app.stack, volumes=volumes).things:
        return False
    undeploy(machine.engine, app.stack, volumes=True, deadline=Deadline(_UNDEPLOY), tell=machine.tell)
    remove_volumes(machine.engine, tuple(volumes))
    return True
