"""``ccci restore``, ``reseed``, ``verify``, ``export`` and ``import``: the known-goods."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import sys
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, PLACE, Commands, add_command, duration, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.canonicals import (
    Checked,
    export_known_good,
    import_known_good,
    load_secrets,
    recipes_with_canonical,
    restore,
    verify_all,
)
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.run.known_good import load_canonical
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.archive import Incoming, open_archive, require_passphrase
from pytest_ccci.store.disk import shown

__all__ = [
    "add_reseed",
    "add_restore",
    "add_transfer",
    "add_verify",
    "run_export",
    "run_import",
    "run_reseed",
    "run_restore",
    "run_verify",
]


def add_restore(commands: Commands) -> None:
    """Declare it."""
    about = "put a recipe's canonical back to its known-good, verify it, and lift a quarantine"
    command = add_command(commands, "restore", run_restore, about=about, settings=MACHINE)
    command.add_argument("recipe", help="the recipe's name, as its folder is called")
    command.add_argument(
        "--release", default="", metavar="R", help="the kept known-good of that release (default: the newest)"
    )


def run_restore(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it."""
    state = open_state(settings.state_dir)
    done = restore(settings, state, args.recipe, release=args.release)
    for line in done.recovered:
        terminal.say(f"recovered    {line}")
    terminal.say(f"undeployed   {', '.join(done.undeployed) or 'nothing, none of it was deployed'}")
    report = done.report
    terminal.say(
        f"restored     {report.release}, snapshot {report.snapshot_id}: {report.files} entries, {shown(report.size)} "
        f"in {report.seconds:.1f} s by {report.backend}",
        "good",
    )
    terminal.say("verified     every content read anew and equal to the manifest", "good")
    if done.earlier:
        terminal.say("drifted      what is live is not the newest known-good: the next run puts that one back", "warn")
    if done.was_quarantined:
        terminal.say(f"quarantine   lifted; it was there because {done.was_quarantined}", "warn")
        terminal.say("             the next quick run shows whether the app comes up on it")
    return 0


def add_reseed(commands: Commands) -> None:
    """Declare it."""
    about = "seed a recipe's canonical afresh, by a green cold run of its latest release"
    command = add_command(commands, "reseed", run_reseed, about=about, settings=MACHINE)
    command.add_argument("recipe", type=Path, metavar="DIR", help="the recipe's folder")


def run_reseed(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Run it; green only when the record, read again, is a fresh seed."""
    spec = load_spec(args.recipe)
    if not spec.canonical:
        raise UsageError(
            f"{spec.name} is not enrolled, so that no known-good is kept of it",
            where=str(spec.file),
            advice="set canonical = true there",
        )
    state = open_state(settings.state_dir)
    child = run_pytest(
        state,
        args.recipe,
        ["--cold", "--ccci-ref=latest", "--ccci-reseed=true"],
        settings=passed_on(args),
        coloured=terminal.coloured,
        line=terminal.raw,
    )
    change, now = child.result.known_good, load_canonical(state, spec.name)
    fresh = change.action == "seeded" and change.snapshot_after != change.snapshot_before
    if child.rc == 0 and fresh and now.exists and now.snapshot_id == change.snapshot_after:
        terminal.say(f"seeded afresh: {now.release}, snapshot {now.snapshot_id}, re-read from disk", "good")
        return 0
    why = now.problem or change.reason or f"the run ended {child.result.verdict}"
    terminal.problem(f"not seeded afresh, the known-good is {now.release or change.after or 'none'}: {why}")
    return 1


def add_verify(commands: Commands) -> None:
    """Declare it."""
    about = "compare known-goods with their manifests, all or for a time; changes nothing of them"
    command = add_command(commands, "verify", run_verify, about=about, settings=(*PLACE, "lock_wait"), json=True)
    command.add_argument("recipe", nargs="?", help="only that of this recipe (default: all)")
    command.add_argument(
        "--read-data",
        action="store_true",
        help="read every content anew, also where the kernel shows that it was not touched",
    )
    command.add_argument(
        "--budget",
        type=duration,
        metavar="TIME",
        help="read contents for this long (5m), known-good by known-good, what was read longest ago first",
    )


def run_verify(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Do it; red when one is not whole."""
    state = open_state(settings.state_dir)
    names = (args.recipe,) if args.recipe else recipes_with_canonical(state)
    found = verify_all(settings, state, names, read_data=args.read_data, budget=args.budget)
    if args.json:
        terminal.json([dataclasses.asdict(one) for one in found])
    else:
        _show(found, terminal)
    return 1 if any(one.problem for one in found) else 0


def _show(found: tuple[Checked, ...], terminal: Terminal) -> None:
    if not found:
        terminal.say("there is no canonical yet", "dim")
    for one in found:
        if one.problem:
            terminal.say(f"{one.recipe}: {one.problem}", "bad")
        elif not one.reached:
            last = f"last read and whole: {one.whole_since}" if one.whole_since else "never read as a whole"
            terminal.say(f"{one.recipe}: {one.release} was not looked at, the time was up ({last})", "warn")
        else:
            size = f"{one.files} entries, {shown(one.size)}"
            terminal.say(f"{one.recipe}: {one.release} {_state(one)} ({size}, {one.seconds:.1f} s)", "good")
        if one.quarantine:
            terminal.say(f"{one.recipe}: but it is quarantined: {one.quarantine}", "warn")


def _state(one: Checked) -> str:
    if one.read_data:
        return "is whole: every content read"
    return "is whole: untouched files by the kernel's word, the others read"


_SETTINGS = (*PLACE, "lock_wait")


def add_transfer(commands: Commands) -> None:
    """Declare them."""
    about = "write a recipe's known-good as one file (a zstd tar); its secrets only when asked for, encrypted"
    export = add_command(commands, "export", run_export, about=about, settings=_SETTINGS)
    export.add_argument("recipe")
    export.add_argument("file", type=Path, metavar="FILE", help="must not exist yet")
    export.add_argument("--release", default="", metavar="R", help="an earlier known-good that is kept")
    export.add_argument("--with-secrets", action="store_true", help="with the app's secrets, encrypted by a passphrase")
    about = "make an exported known-good this machine's, after all of it is checked"
    into = add_command(commands, "import", run_import, about=about, settings=_SETTINGS)
    into.add_argument("file", type=Path, metavar="FILE")
    into.add_argument("--replace", action="store_true", help="also where there is a known-good of that recipe")
    into.add_argument(
        "--secrets", type=Path, metavar="JSON", help="the app's secrets, values by name, where the file has none"
    )
    for command in (export, into):
        command.add_argument("--passphrase-file", type=Path, metavar="PATH", help="its first line is the passphrase")


def run_export(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Write it."""
    passphrase = _passphrase(args.passphrase_file, twice=True) if args.with_secrets else ""
    state = open_state(settings.state_dir)
    head = export_known_good(
        settings,
        state,
        args.recipe,
        args.file.absolute(),
        release=args.release,
        passphrase=passphrase,
    )
    size = shown(args.file.stat().st_size)
    terminal.say(f"{head.recipe} {head.release}: {shown(head.size)} of volumes in {args.file}, {size}", "good")
    if head.with_secrets:
        terminal.say("its secrets are in it, encrypted; everything else can be read by whoever has the file", "warn")
    elif head.secret_names:
        terminal.say(f"without its secrets ({', '.join(head.secret_names)}): an import must be given them", "warn")
    return 0


def run_import(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Take it in."""
    state = open_state(settings.state_dir)
    with open_archive(args.file) as source:
        secrets = _secrets(args, source)
        done = import_known_good(settings, state, source, secrets=secrets, replace=args.replace)
    instead = f", in the place of {done.replaced}" if done.replaced else ""
    terminal.say(f"{done.head.recipe}: {done.head.release} of {done.head.since} is the known-good{instead}", "good")
    if done.quarantine:
        terminal.say(f"it is still quarantined ({done.quarantine}): ccci restore {done.head.recipe} lifts that", "warn")
    return 0


def _secrets(args: argparse.Namespace, source: Incoming) -> dict[str, str]:
    if source.head.with_secrets:
        if args.secrets:
            raise UsageError("that file has its own secrets", where=str(args.file), advice="leave --secrets out")
        return source.secrets(_passphrase(args.passphrase_file, twice=False))
    return load_secrets(args.secrets) if args.secrets else {}


def _passphrase(file: Path | None, *, twice: bool) -> str:
    """From a file, or asked for; never from the command line, where everybody on the machine can read it."""
    if file is not None:
        try:
            return require_passphrase(file.read_text(encoding="utf-8").partition("\n")[0])
        except (OSError, ValueError) as error:
            raise UsageError("the passphrase cannot be read", where=str(file), seen=str(error)) from error
    if not sys.stdin.isatty():
        raise UsageError("a passphrase is needed, and there is nobody to ask", advice="give --passphrase-file")
    text = require_passphrase(getpass.getpass("passphrase: "))
    if twice and getpass.getpass("once more:  ") != text:
        raise UsageError("the two are not the same; nothing was written")
    return text
