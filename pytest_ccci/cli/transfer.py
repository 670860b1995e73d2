"""``ccci export`` and ``ccci import``: a known-good as one file."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from pytest_ccci.cli.arguments import PLACE, Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import UsageError
from pytest_ccci.ops.canonicals import export_known_good, import_known_good, read_secrets
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import open_state
from pytest_ccci.store.disk import shown
from pytest_ccci.store.encryption import require_passphrase
from pytest_ccci.store.unpacking import Incoming, open_archive

__all__ = ["add_transfer", "run_export", "run_import"]

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
        tell=terminal.tell,
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
        done = import_known_good(settings, state, source, secrets=secrets, replace=args.replace, tell=terminal.tell)
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
    return read_secrets(args.secrets) if args.secrets else {}


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
