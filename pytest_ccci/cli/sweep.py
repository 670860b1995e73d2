"""``ccci sweep``: what is due of the enrolled recipes, tested by itself."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from pytest_ccci.cli.arguments import INFRA, Commands, add_command, count, duration, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import Verdict
from pytest_ccci.ops.sweep import Sweep
from pytest_ccci.ops.sweep_record import SweepRecord
from pytest_ccci.ops.timer import (
    CRON,
    Schedule,
    cron_line,
    install,
    kind_here,
    passed_environment,
    program,
    secrets_file,
    units,
    verify,
)
from pytest_ccci.settings import OPTIONS, Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown

__all__ = ["add", "run"]

_TONE = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.ERROR: "bad", Verdict.UNVERIFIED: "bad"}


def add(commands: Commands) -> None:
    """Declare it."""
    about = (
        "reconcile infra, then test what is due of the enrolled recipes by cold runs, verify and prune; ends with 0 "
        "where nothing asks for a person"
    )
    command = add_command(commands, "sweep", run, about=about, settings=(*INFRA, "keep_runs", "keep_free"), json=True)
    command.add_argument(
        "folders", nargs="*", type=Path, metavar="DIR", help="recipes, or folders of recipes (default: recipes)"
    )
    command.add_argument("--only", action="append", default=[], metavar="NAME", help="no other recipe, due or not")
    command.add_argument("--max-tests", type=count, metavar="N", help="test at most so many; the others next time")
    command.add_argument(
        "--dry-run", action="store_true", help="only say what is due, and why, on the infra as it is now"
    )
    command.add_argument(
        "--install-timer",
        action="store_true",
        help="do not sweep now, but each day: install a systemd service and timer, or a line for cron where there is "
        "no systemd; with --dry-run only print them",
    )
    command.add_argument("--at", default="03:00", metavar="HH:MM", help="when, with --install-timer (default: 03:00)")
    command.add_argument(
        "--patience", type=duration, default=3600.0, metavar="TIME", help="how long one run may take (default: 1h)"
    )
    command.add_argument(
        "--budget",
        type=duration,
        default=600.0,
        metavar="TIME",
        help="how long contents of known-goods are read, what was read longest ago first (default: 10m)",
    )


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Sweep. 0: all is well, or nothing was due; 1: something asks for a person; 2: it was asked wrongly."""
    if args.install_timer:
        return _install_timer(args, settings, terminal)
    sweep = Sweep(
        settings,
        open_state(settings.state_dir),
        args.folders or [Path("recipes")],
        passed_on=passed_on(args),
        only=args.only,
        most=args.max_tests,
        patience=args.patience,
        budget=args.budget,
    )
    record = sweep.foresee() if args.dry_run else sweep.perform()
    if args.json:
        terminal.json(dataclasses.asdict(record))
    else:
        _show(record, terminal, dry=args.dry_run)
    return 0 if record.green else 1


def _install_timer(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Have the same called each day, with the same settings."""
    kind, home = kind_here(), Path(settings.environment.get("HOME") or "/root")
    words = [program(), "sweep", *(str(folder.resolve()) for folder in args.folders or [Path("recipes")])]
    words += [f"--only={name}" for name in args.only]
    words += [f"--max-tests={args.max_tests}"] if args.max_tests else []
    words += [f"--patience={args.patience:.0f}s", f"--budget={args.budget:.0f}s"]
    words += [f"{o.flag}={getattr(args, o.ini)}" for o in OPTIONS if getattr(args, o.ini, None) and not o.secret]
    words += ["-c", str(Path(args.config_file).resolve())] if getattr(args, "config_file", None) else []
    schedule = Schedule(tuple(words), Path.cwd(), passed_environment(settings.environment), clock=args.at)
    if kind == "cron" and not (os.geteuid() == 0 and CRON.is_dir()):
        terminal.say("there is neither systemd nor /etc/cron.d here to write to; this is the line for `crontab -e`:")
        terminal.say(cron_line(schedule))
        return 0
    files = units(schedule, kind, home=home)
    if args.dry_run:
        for unit in files:
            terminal.say(f"# {unit.path}", "title")
            terminal.say(unit.text.rstrip())
        problem = verify(files)
        terminal.say(problem or "dry run: nothing was written", "bad" if problem else "plain")
        return 1 if problem else 0
    for line in install(files, kind):
        terminal.say(line, "good")
    if kind != "cron":
        terminal.say(f"secrets such as CCCI_ALERT_URLS are read from {secrets_file(kind, home)}, if it is there")
    if kind == "user":
        terminal.say("it runs while you are logged in; at all times after: loginctl enable-linger", "warn")
    return 0


def _show(record: SweepRecord, terminal: Terminal, *, dry: bool) -> None:
    for step in record.infra:
        problem = step.problem.partition("\n")[0]
        terminal.say(f"{step.app:<12}{step.outcome:<14}{step.release}{': ' if problem else ''}{problem}")
    _show_decided(record, terminal, dry=dry)
    todo = {one.recipe: one.why for one in record.decided if one.due}
    for recipe in record.tested:
        _show_tested(record, recipe, todo.get(recipe, ""), terminal)
    _show_kept(record, terminal)
    for problem in record.problems:
        terminal.say(problem, "bad")
    terminal.say(_last_line(record, len(todo) - len(record.left), dry=dry), "good" if record.green else "bad")


def _show_decided(record: SweepRecord, terminal: Terminal, *, dry: bool) -> None:
    for one in record.decided:
        if one.recipe in record.left:
            terminal.say(f"{one.recipe:<28}left          {one.why}; more was due than --max-tests lets", "warn")
        elif not one.due:
            terminal.say(f"{one.recipe:<28}not due       {one.why}", "dim")
        elif dry:
            terminal.say(f"{one.recipe:<28}due           {one.why}")


def _show_kept(record: SweepRecord, terminal: Terminal) -> None:
    for found in record.verified:
        if found.problem:
            terminal.say(f"{found.recipe:<28}known-good    {found.problem}", "bad")
    if record.verified:
        whole = sum(one.read_data and one.reached and not one.problem for one in record.verified)
        terminal.say(f"verified: {len(record.verified)} known-goods, {whole} of them read and whole")
    if record.pruned:
        terminal.say(f"pruned: {shown(record.pruned)}")


def _show_tested(record: SweepRecord, recipe: str, why: str, terminal: Terminal) -> None:
    verdict = record.verdict(recipe)
    terminal.say(f"{recipe:<28}{verdict:<14}{why}", _TONE.get(Verdict(verdict), "bad") if verdict in _TONE else "bad")
    for one in record.attempts:
        if one.recipe == recipe:
            known = f", known-good {one.known_good}" if one.known_good else ""
            what = f"{one.verdict} in {one.seconds:.0f} s{known}{': ' if one.reason else ''}{one.reason}"
            terminal.say(f"{'':<28}{one.release}: {what}")
            if one.verdict != Verdict.PASS:
                terminal.say(f"{'':<28}{one.log}")


def _last_line(record: SweepRecord, due: int, *, dry: bool) -> str:
    if dry:
        return f"{due} would be tested" if due else "nothing is due"
    if not record.tested:
        return "nothing was due" if record.green else "nothing was tested"
    green = sum(record.verdict(recipe) == Verdict.PASS for recipe in record.tested)
    return f"{green} of {len(record.tested)} recipes green"
