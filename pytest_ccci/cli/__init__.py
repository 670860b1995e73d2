"""The ``ccci`` command. Exit status: 0 well, 1 red or failed, 2 it was asked wrongly; reconcile has more of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from pytest_ccci.cli import (
    answer,
    bisect,
    bundle,
    canonical,
    demo,
    infra,
    lint,
    place,
    prove,
    reach,
    release,
    report,
    setup,
    status,
    sweep,
    trigger,
    verdict,
)
from pytest_ccci.cli.arguments import settings_of
from pytest_ccci.cli.infra import send_alerts
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import CcciError, UsageError

__all__ = ["main", "parser"]

_COMMANDS = (
    setup.add_setup,
    demo.add,
    status.add_status,
    status.add_doctor,
    lint.add,
    reach.add,
    trigger.add_trigger,
    trigger.add_delivery,
    trigger.add_comment,
    verdict.add,
    report.add_explain,
    report.add_report,
    report.add_serve,
    report.add_index,
    bundle.add_bundle,
    bundle.add_replay,
    sweep.add,
    place.add,
    place.add_dispatch,
    answer.add,
    infra.add_reconcile,
    infra.add_gate,
    canonical.add_verify,
    prove.add,
    bisect.add,
    canonical.add_restore,
    canonical.add_transfer,
    canonical.add_reseed,
    release.add,
    setup.add_prune,
    infra.add_alerts,
    setup.add_engine,
)
_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status. An error of ours is shown as its text.

    Whatever came of it, alerts that nobody has seen are sent on at the end, where addresses are set; a command
    that only reads sends none.
    """
    args = parser().parse_args(argv)
    terminal = Terminal()
    try:
        settings = settings_of(args)
    except CcciError as error:
        terminal.problem(str(error))
        return _MISUSED
    with terminal.progress(shown=not getattr(args, "json", False)):
        status = _run(lambda: args.run(args, settings, terminal), terminal)
    if status != _INTERRUPTED and not getattr(args, "only_reads", False):
        with terminal.progress(shown=False):
            _run(lambda: send_alerts(settings, terminal), terminal)
    return status


def _run(act: Callable[[], int], terminal: Terminal) -> int:
    try:
        return act()
    except CcciError as error:
        terminal.problem(str(error))
        return _MISUSED if isinstance(error, UsageError) else _FAILED
    except KeyboardInterrupt:
        terminal.problem("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        terminal.mute()  # whoever read it has gone, which is their right
        return _FAILED


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="ccci", description="Looks after the machine on which pytest-ccci tests Co-op Cloud recipes."
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    return top
