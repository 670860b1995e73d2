"""The scenes that come in sizes: kills at every step, and a crowd that leases realms."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ccci.ops.crowd import cold_start, run_crowd
from pytest_ccci.ops.proofground import Ground
from pytest_ccci.ops.prooftrials import POINTS, run_trials
from pytest_ccci.ops.shown import Shown
from pytest_ccci.waiting import Stopwatch

__all__ = ["SIZED", "crowded", "killed"]

SIZED = ("kill", "leases")
"""Their names."""


def killed(ground: Ground, size: int, *, points: Sequence[tuple[str, str]] = POINTS) -> Shown:
    """Kill a reconcile ``size`` times, at all steps by turns: one healthy app with its data is left each time."""
    shown = Shown("kill")
    report = run_trials(ground, size, points=points)
    shown.claim(f"{report.done} trials, one healthy app with its data after each", not report.losses, report.losses)
    shown.claim("they were made", report.done == size > 0, report.done)
    reached = min(size, len(points))
    shown.claim(f"over {reached} of {len(POINTS)} steps", len(report.steps) == reached, dict(report.steps))
    shown.claim("most met a living reconcile", report.killed * 2 > report.done, f"{report.killed} of {report.done}")
    shown.numbers += [f"{report.killed} of {report.done} were killed, the others had ended before"]
    shown.numbers += [f"{end}: {count}" for end, count in sorted(report.ends.items())]
    shown.seconds = report.seconds
    return shown


def crowded(ground: Ground, *, size: int, rounds: int, cold: bool = True) -> Shown:
    """Let ``size`` processes lease at once, ``rounds`` times; with ``cold`` start a Keycloak cold, to compare."""
    shown, watch = Shown("leases"), Stopwatch()
    ground.any_keycloak()
    crowd = run_crowd(ground.site, ground.settings, size=size, rounds=rounds)
    seconds = cold_start(ground.site) if cold else 0.0
    wanted = size * rounds
    shown.claim(f"{size} processes, {rounds} rounds: no error", not crowd.errors, crowd.errors[:3])
    shown.claim("every lease was had", len(crowd.leases) == wanted, f"{len(crowd.leases)} of {wanted}")
    shown.claim("nothing is left over", not crowd.left, crowd.left)
    shown.claim("never more realms than the bound", crowd.most <= ground.settings.realms, crowd.most)
    shown.numbers += [line for line in crowd.lines(seconds) if line]
    shown.seconds = watch.seconds
    return shown
