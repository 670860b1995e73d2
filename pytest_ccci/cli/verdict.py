"""``ccci verdict``: whether the facts in results.json bear the verdict that stands there."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_ccci.cli.arguments import Commands, add_command
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import StoreDamaged, Verdict
from pytest_ccci.results.verdict import recompute
from pytest_ccci.results.write import load_result
from pytest_ccci.settings import Settings

__all__ = ["add", "run"]

_TONE = {Verdict.PASS: "good", Verdict.UNVERIFIED: "warn"}


def add(commands: Commands) -> None:
    """Declare it."""
    about = "recompute the verdict of runs from the facts in their results.json; ends with 0 where all of them pass"
    command = add_command(commands, "verdict", run, about=about, settings=("state_dir",), json=True)
    command.set_defaults(only_reads=True)
    command.add_argument("results", nargs="+", type=Path, metavar="FILE", help="a results.json, or the run's folder")


def run(args: argparse.Namespace, _settings: Settings, terminal: Terminal) -> int:
    """Recompute. 0: all of them pass; 1: one does not, or cannot be read."""
    rows = [_row(path / "results.json" if path.is_dir() else path) for path in args.results]
    if args.json:
        terminal.json(rows)
    else:
        for row in rows:
            what = " ".join(row[key] for key in ("recipe", "mode", "head") if row[key])
            terminal.say(f"{row['verdict']:<11}{what or row['file']}", _TONE.get(Verdict(row["verdict"]), "bad"))
            if row["why"]:
                terminal.say(f"           {row['why']}")
    return 0 if all(row["verdict"] == Verdict.PASS for row in rows) else 1


def _row(file: Path) -> dict[str, str]:
    row = {"file": str(file), "verdict": str(Verdict.ERROR), "why": "", "recipe": "", "mode": "", "head": ""}
    try:
        result = load_result(file)
    except StoreDamaged as error:
        return {**row, "why": f"{error.what}: {error.seen}"}
    verdict, why = recompute(result)
    head = result.head.version if result.head else ""
    return {**row, "verdict": str(verdict), "why": why, "recipe": result.recipe, "mode": result.mode, "head": head}
