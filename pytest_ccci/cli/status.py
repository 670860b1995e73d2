"""``ccci status`` and ``ccci doctor``: how the machine stands, and what to do where it is not fit."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal, age
from pytest_ccci.cli.trigger import read_secret, team_named
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.dispatch import AWAY, MachineState, load_machines
from pytest_ccci.ops.doctor import Check, inspect_machine
from pytest_ccci.ops.status import CanonicalRow, EngineRow, InfraRow, KeptRow, Situation, inspect_situation
from pytest_ccci.ops.sweep_record import LastSweep
from pytest_ccci.ops.trigger.forge_setup import ForgeSetup, inspect_forge
from pytest_ccci.ops.trigger.gitea import Gitea, check_forge
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, check_mount
from pytest_ccci.store.disk import shown

__all__ = ["add_doctor", "add_status", "run_doctor", "run_status"]

_TONE = {"healthy": "good", "unhealthy": "bad", "not deployed": "dim", "unknown": "warn"}


def add_status(commands: Commands) -> None:
    """Declare it."""
    command = add_command(
        commands,
        "status",
        run_status,
        about="engine, infra, canonicals with their known-good, runs in flight, alerts, disk; changes nothing",
        settings=(*MACHINE, "keep_free"),
        json=True,
    )
    command.set_defaults(only_reads=True)
    command.add_argument("recipe", nargs="?", help="only the canonical of this recipe")
    command.add_argument(
        "--all",
        type=Path,
        metavar="DIR",
        help="of each machine, by what ccci status --json printed there, kept as DIR/<machine>.json",
    )


def run_status(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Show it. Red only when something that should be used cannot be: a quarantine, an unhealthy app."""
    if args.all:
        return _show_machines(load_machines(args.all), args.recipe, terminal, json=args.json)
    found = inspect_situation(settings)
    if args.recipe:
        rows = tuple(row for row in found.canonicals if row.recipe == args.recipe)
        if not rows:
            check_mount(StateDir(Path(found.state_dir)))
            raise UsageError(f"there is no canonical of {args.recipe!r}", where=found.state_dir)
        found = dataclasses.replace(found, canonicals=rows)
    if args.json:
        terminal.json(dataclasses.asdict(found))
    elif args.recipe:
        _detail(found.canonicals[0], terminal)
    else:
        _show(found, terminal)
    return 1 if _red(found) else 0


def _show_machines(machines: tuple[MachineState, ...], recipe: str | None, terminal: Terminal, *, json: bool) -> int:
    """A row for each machine, or each that keeps ``recipe``. 1: one is away, or has too little room."""
    now = datetime.now(UTC)
    shown_ones = [one for one in machines if not recipe or recipe in one.keeps]
    away = {one.name for one in shown_ones if one.is_away(now, AWAY)}
    if json:
        facts = [
            {**dataclasses.asdict(one), "keeps": sorted(one.keeps), "away": one.name in away} for one in shown_ones
        ]
        terminal.json({"machines": facts})
    else:
        terminal.table(
            ("machine", "heard of", "slots taken", "free", "keeps"),
            [
                (
                    one.name,
                    (f"AWAY, {age((now - one.heard).total_seconds())}", "bad")
                    if one.name in away
                    else f"{age((now - one.heard).total_seconds())} ago",
                    f"{one.taken} of {one.slots}",
                    (f"{shown(one.free)}: TOO LITTLE", "bad") if one.low else shown(one.free),
                    ", ".join(sorted(one.keeps)) or "nothing",
                )
                for one in shown_ones
            ],
        )
    return 1 if away or any(one.low for one in shown_ones) else 0


def _red(found: Situation) -> bool:
    lost = found.unmounted or any(row.quarantine for row in found.canonicals)
    return bool(lost) or any(row.state == "unhealthy" or row.stuck for row in found.infra)


def _show(found: Situation, terminal: Terminal) -> None:
    for name, value, source in found.settings:
        terminal.say(f"{name} = {value} ({source})", "dim")
    for problem in found.unread:
        terminal.say(f"cannot be read: {problem}", "warn")
    if found.unmounted:
        terminal.say(found.unmounted, "bad")
    _engine(found.engine, terminal)
    terminal.title("infra")
    terminal.table(
        ("app", "state", "version", "last good", "address"),
        [
            (row.name, (row.state, _TONE[row.state]), row.version, row.last_good, f"https://{row.domain}")
            for row in found.infra
        ],
    )
    for row in found.infra:
        _infra(row, terminal)
    _canonicals(found.canonicals, terminal)
    _in_flight(found, terminal)
    if found.last_sweep is not None:
        _sweep(found.last_sweep, terminal)
    _alerts(found, terminal)
    if found.damaged:
        terminal.title("damaged files")
    for problem in found.damaged:
        terminal.say(problem, "bad")
    disk = found.disk
    images = "" if disk.images is None else f", images {shown(disk.images)}"
    terminal.title("disk")
    terminal.say(f"{found.state_dir}: {shown(disk.state)} used, {shown(disk.free)} free{images}")
    for one in disk.file_systems:
        terminal.say(f"{one}{': TOO LITTLE' if one.low else ''}", "bad" if one.low else "plain")


def _infra(row: InfraRow, terminal: Terminal) -> None:
    if row.problem and row.state == "unhealthy":
        terminal.say(f"{row.name}: {row.problem}", "bad")
    if row.updating:
        terminal.say(f"{row.name}: an update is under way, or was cut off: {row.updating}", "warn")
    if row.stuck:
        terminal.say(f"{row.name}: waits for a person, its rollback failed: {row.stuck.partition(chr(10))[0]}", "bad")
    if row.hold is not None and row.held_for is not None:
        terminal.say(f"{row.name}: HELD for {age(row.held_for)} at {row.hold.current}: {row.hold.release}", "warn")
        for reason in row.hold.reasons:
            terminal.say(f"  {reason}")


def _engine(row: EngineRow, terminal: Terminal) -> None:
    terminal.say("engine", "title")
    if row.problem:
        terminal.say(row.problem, "warn")
        return
    vip = {True: "service VIPs work", False: "no service VIPs", None: "service VIPs not tried yet"}[row.vip]
    kind = "private" if row.private else row.source
    facts = f"API {row.api_version}, CLI {row.cli_version}, {row.storage}, gateway {row.gateway or 'none yet'}, {vip}"
    terminal.say(f"Docker {row.version} ({kind}) at {row.host}", "good")
    terminal.say(facts)


def _canonicals(rows: tuple[CanonicalRow, ...], terminal: Terminal) -> None:
    terminal.title("canonicals")
    if not rows:
        terminal.say("none; a green cold run of an enrolled recipe's latest release makes one", "dim")
        return
    columns = ("recipe", "known-good", "snapshot", "since", "state", "snapshot size", "live", "store", "in use by")
    terminal.table(columns, [_row(row) for row in rows])
    several = [row for row in rows if len(row.kept) > 1]
    if several:
        terminal.title("kept known-goods")
        _kept(several, terminal)
    for row in rows:
        if row.quarantine:
            terminal.say(f"{row.recipe}: QUARANTINED: {row.quarantine}", "bad")


def _kept(rows: Iterable[CanonicalRow], terminal: Terminal) -> None:
    """Every known-good that is kept. What only one snapshot holds comes free when it goes."""
    columns = ("recipe", "release", "since", "snapshot", "size", "shared", "its own")
    terminal.table(columns, [_kept_row(row.recipe, good) for row in rows for good in row.kept])


def _kept_row(recipe: str, good: KeptRow) -> tuple[str, ...]:
    shared, own = (("not told here" if size is None else shown(size)) for size in (good.shared, good.exclusive))
    return recipe, good.release, good.since[:16].replace("T", " "), good.snapshot_id, shown(good.size), shared, own


def _row(row: CanonicalRow) -> tuple[str | tuple[str, str], ...]:
    return (
        row.recipe,
        row.release or ("none", "warn"),
        row.snapshot_id,
        row.since[:16].replace("T", " "),
        _state(row),
        shown(row.snapshot_size),
        shown(row.live_size),
        row.backend,
        (row.holder.run or row.holder.doing) if row.holder else "",
    )


def _state(row: CanonicalRow) -> tuple[str, str]:
    if row.quarantine:
        return "quarantined", "bad"
    if row.in_progress:
        return f"{row.in_progress} {'in progress' if row.holder else 'cut off: finished at the next use'}", "warn"
    return ("drifted", "plain") if row.drift else ("as snapshot", "good")


def _detail(row: CanonicalRow, terminal: Terminal) -> None:
    terminal.say(row.recipe, "title")
    terminal.say(f"known-good  {row.release or 'none'}  {row.commit}")
    _kept([row], terminal)
    terminal.say(f"live        {shown(row.live_size)}, {f'drifted: {row.drift}' if row.drift else 'as the snapshot'}")
    terminal.say(f"domain      {row.domain}")
    terminal.say(f"store       {row.backend}: {row.backend_why}")
    terminal.say(f"directory   {row.directory}")
    terminal.say(f"in use by   {row.holder or 'nobody'}")
    if row.quarantine:
        terminal.say(f"QUARANTINED {row.quarantine}", "bad")
        terminal.say(f"to do       ccci restore {row.recipe}, or ccci reseed with the recipe's folder", "bad")


def _in_flight(found: Situation, terminal: Terminal) -> None:
    terminal.title("in flight")
    slots = sum(holder.lock.isdigit() for holder in found.runs)
    terminal.say(f"{slots} of {found.slots} slots taken", "dim")
    for holder in found.runs:
        terminal.say(str(holder))
    for number, holder in enumerate(found.waiting, 1):
        terminal.say(f"waits, {number}. in turn: {holder}", "warn")
    kept = {app.domain for app in found.kept_apps}
    leases = [lease for lease in found.leases if lease.domain not in kept]
    for lease in leases:
        alive = {True: "alive", False: "dead: reaped at the next run", None: f"on {lease.host}"}[lease.alive]
        terminal.say(f"realm {lease.realm} of run {lease.run_id} since {lease.since}, {alive}")
    if not found.runs and not found.waiting and not leases:
        terminal.say("nothing", "dim")
    if found.kept_apps:
        terminal.title("kept for a look")
    for app in found.kept_apps:
        terminal.say(f"{app.domain} since {app.since}: {app.reason}", "warn")
        terminal.say(f"  ccci release {app.folder} removes it")


def _sweep(last: LastSweep, terminal: Terminal) -> None:
    terminal.title("last sweep")
    since = age((datetime.now(UTC) - datetime.fromisoformat(last.started)).total_seconds())
    red = f": {'; '.join(last.red)}" if last.red else ""
    tone = {"green": "good", "going on": "plain"}.get(last.state, "bad")
    terminal.say(f"{last.state}, begun {since} ago, {last.tested} recipes tested{red}", tone)
    if last.overdue:
        terminal.say("OVERDUE: none began since; see the timer or cron that calls ccci sweep", "bad")


def _alerts(found: Situation, terminal: Terminal) -> None:
    if found.alerts:
        terminal.title("alerts")
    for alert in found.alerts:
        when = str(alert["time"])
        since = age((datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()) if when else "?"
        terminal.say(f"{alert['kind']}  {alert['app']}  {since} ago  {alert['notes'] or ''}".rstrip(), "bad")


_CHECK_TONE = {"ok": "good", "note": "warn", "bad": "bad"}


def add_doctor(commands: Commands) -> None:
    """Declare it."""
    about = "check this machine, or how a forge is set up for commands in comments (--forge), and say what to do"
    command = add_command(commands, "doctor", run_doctor, about=about, settings=(*MACHINE, "keep_free"), json=True)
    forge = command.add_argument_group("a Forgejo or Gitea, instead of this machine")
    forge.add_argument("--forge", metavar="URL", help="the address of its front page")
    forge.add_argument("--token-file", type=Path, metavar="FILE", help="holds the bot's token, in one line")
    forge.add_argument("--team", metavar="ORG/TEAM", help="the team whose members may test")
    forge.add_argument("--bot", metavar="LOGIN", help="the account that answers")
    forge.add_argument(
        "--repository",
        action="append",
        default=[],
        metavar="ORG/NAME",
        help="look at this one; may be given more than once; default: all of the organisation",
    )
    forge.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="FILE",
        help="holds a token of an administrator of the repositories, who alone sees protected tags and webhooks; "
        "with read:repository and read:organization; for this check only",
    )
    forge.add_argument("--hook", default="", metavar="URL", help="where the forge delivers to")


def run_doctor(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Check; red when something stops runs, or when a bot could publish a release."""
    checks = _forge(args) if args.forge else inspect_machine(settings)
    if args.json:
        terminal.json([dataclasses.asdict(check) for check in checks])
    else:
        for check in checks:
            terminal.say(f"{check.level:<5} {check.name:<18} {check.seen}", _CHECK_TONE[check.level])
            if check.advice and check.level != "ok":
                indent = f"\n{'':<30}"
                terminal.say(f"      {'':<18} try: {check.advice.replace(chr(10), indent)}")
    return 1 if any(check.level == "bad" for check in checks) else 0


def _forge(args: argparse.Namespace) -> tuple[Check, ...]:
    """How a forge is set up."""
    missing = [f"--{name}" for name in ("token-file", "team", "bot") if not getattr(args, name.replace("-", "_"))]
    if missing:
        raise UsageError(f"--forge also needs {', '.join(missing)}")
    check_forge(args.forge)
    organisation, team = team_named(args.team)
    setup = ForgeSetup(organisation, team, args.bot, tuple(args.repository), args.hook)
    admin = Gitea(args.forge, read_secret(args.admin_token_file)) if args.admin_token_file else None
    return inspect_forge(Gitea(args.forge, read_secret(args.token_file)), setup, admin=admin)
