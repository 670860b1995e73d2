"""``ccci reach``: what a version of a recipe reaches outside of its app, and what of that is refused."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.lint import folder_spec
from pytest_ccci.recipe.reach import Judged
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.run.plan import decide
from pytest_ccci.run.prepare import history, network
from pytest_ccci.run.reach import ReachReport, judge_reach
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "what a version of a recipe reaches of this machine and of other apps, beside its base; ends with 1 where "
        "something is refused; needs no engine"
    )
    command = add_command(commands, "reach", run, about=about, settings=PLACE, json=True)
    command.set_defaults(only_reads=True)
    command.add_argument("recipe", type=Path, metavar="DIR", help="a folder with a recipe.toml, or a checkout")
    command.add_argument(
        "--ccci-ref", dest="head", default="tip", metavar="REF", help="the version that is judged (default: tip)"
    )
    command.add_argument(
        "--ccci-base",
        dest="base",
        default="",
        metavar="REF",
        help="the version that it is compared with: a commit, branch or tag (default: the newest release before it)",
    )
    command.add_argument(
        "--grant",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help="allow one thing, as the table names it, e.g. bind:/etc/localtime:ro; may be given more than once",
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Judge. 0: nothing is refused; 1: something is, or the version cannot be read; 2: it was asked wrongly."""
    spec = folder_spec(args.recipe)
    with tempfile.TemporaryDirectory(prefix="ccci-reach-") as scratch:
        mirror = open_mirror(spec, cache=Path(scratch), env=network(settings.environment))
        head = mirror.resolve(args.head)
        base = mirror.resolve(args.base) if args.base else _base(mirror, head)
        report = judge_reach(spec, mirror, head, base, zone=settings.zone, grants=args.grant)
    if report.needless:
        raise UsageError(
            f"{', '.join(map(repr, report.needless))} grants nothing that this version reaches",
            where=f"{report.recipe} {report.head}",
            seen=f"it reaches {', '.join(dict.fromkeys(one.reach.key for one in report.judged)) or 'nothing'}",
        )
    if args.json:
        terminal.json(
            {"recipe": report.recipe, "head": report.head, "base": report.base, "reach": list(map(_row, report.judged))}
        )
    else:
        _show(report, terminal)
    return 1 if report.refused else 0


def _base(mirror: Mirror, head: Head) -> Head | None:
    """The release from which a cold run would upgrade."""
    releases, ancestors = history(mirror, head)
    tag = decide("cold", head, releases=releases, ancestors=ancestors, known_good=None, enrolled=False).base
    return mirror.resolve(f"refs/tags/{tag}") if tag else None


def _row(each: Judged) -> dict[str, object]:
    return {**dataclasses.asdict(each.reach), "key": each.reach.key, "refused": each.refused, "why": each.why}


def _show(report: ReachReport, terminal: Terminal) -> None:
    rows = [
        (
            ("refused", "bad") if each.refused else ("allowed", "good"),
            each.reach.service or "-",
            each.reach.key,
            f"{each.reach.text}: {each.why}",
        )
        for each in report.judged
    ]
    if rows:
        terminal.table(("", "service", "what", "why"), rows)
    beside = f"beside {report.base}" if report.base else "which has no base"
    count = len(report.refused)
    told = f"{count} refused of {len(rows)}" if rows else "nothing outside of its app"
    terminal.say(f"{report.recipe} {report.head}, {beside}: {told}", "bad" if count else "good")
