"""``ccci demo``: the main job, told as it goes, by the same pytest that users run."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command, passed_on
from pytest_ccci.cli.setup import make_ready
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.demo import ACTS, Act, Expectation, Kept, judge_act
from pytest_ccci.ops.run_pytest import ChildRun, run_pytest
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.report import version_text
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.waiting import Stopwatch

__all__ = ["add", "run"]


def add(commands: Commands) -> None:
    """Declare it."""
    about = "the main job on a recipe: cold, known-good, quick, and back after a bad pull request"
    command = add_command(commands, "demo", run, about=about, settings=(*MACHINE, "fast_health"))
    command.add_argument(
        "--recipe",
        type=Path,
        default=Path("recipes/lasuite-docs"),
        metavar="DIR",
        help="the recipe's folder; it needs a branch pr/broken-migration (default: %(default)s)",
    )


@dataclass(frozen=True)
class _Played:
    """One act as it went."""

    act: Act
    child: ChildRun | None
    before: Kept
    after: Kept
    expectations: tuple[Expectation, ...]

    @property
    def held(self) -> bool:
        return all(one.held for one in self.expectations)


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Make the machine ready, play the acts, tell what came of them."""
    watch = Stopwatch()
    spec = load_spec(args.recipe)
    make_ready(settings, args.recipe, terminal)
    state = open_state(settings.state_dir)
    played: list[_Played] = []
    for number, act in enumerate(ACTS, start=1):
        terminal.title(f"{number} of {len(ACTS)} · {act.about}")
        played.append(_play(act, args, state, spec.name, terminal))
        if not played[-1].held:
            break  # what follows stands on it
    return _last_screen(spec.name, played, watch.seconds, terminal)


def _play(act: Act, args: argparse.Namespace, state: StateDir, recipe: str, terminal: Terminal) -> _Played:
    before = _kept(state, recipe)
    words = [f"--{act.mode}", "--ccci-ref", act.ref]
    try:
        child = run_pytest(
            state, args.recipe, words, settings=passed_on(args), coloured=terminal.coloured, line=terminal.raw
        )
        after = _kept(state, recipe)
    except CcciError as error:
        failed = Expectation("the run leaves a result and a known-good that can be read", held=False, seen=str(error))
        return _Played(act, None, before, Kept(), (failed,))
    facts = judge_act(act, result=child.result, rc=child.rc, before=before, after=after)
    return _Played(act, child, before, after, facts)


def _kept(state: StateDir, recipe: str) -> Kept:
    """The known-good as it is on disk now, all of it read."""
    folder = state.canonical(recipe)
    if not (folder / "canonical.json").is_file():
        return Kept()
    store = CanonicalStore(folder, recipe)
    record = store.record()
    if record is None:
        return Kept()
    return Kept(record.release, record.snapshot_id, store.fingerprint(), whole=not store.verify(read_data=True))


def _last_screen(recipe: str, played: list[_Played], seconds: float, terminal: Terminal) -> int:
    terminal.title(f"{recipe} · the main job in {seconds:.0f} s")
    columns = ("run", "verdict", "seconds", "known-good after it", "snapshot", "byte-identical")
    terminal.table(columns, [_row(one) for one in played])
    terminal.say()
    for one in played:
        _tell_act(one, terminal)
    for act in ACTS[len(played) :]:
        terminal.say(f"{_called(act)}: not run, because what it stands on did not hold", "bad")
    held = len(played) == len(ACTS) and all(one.held for one in played)
    terminal.say()
    if held:
        terminal.say("Everything above was read again from results, records and snapshots: all of it held.", "good")
        terminal.say("Look around: ccci status · ccci verify --read-data. Undo: ccci engine stop --remove")
        return 0
    terminal.say("NOT everything held: the lines in capitals say what did not.", "bad")
    return 1


def _row(one: _Played) -> tuple[str | tuple[str, str], ...]:
    ran = _called(one.act)
    if one.child is None:
        return (ran, ("no result", "bad"), "", "", "", "")
    result = one.child.result
    before, after = one.before.snapshot_id or "none", one.after.snapshot_id or "none"
    return (
        ran,
        (str(result.verdict), "good" if one.held else "bad"),
        f"{result.seconds:.1f}",
        f"{one.after.release or 'none'} ({result.known_good.action})",
        after if before == after else f"{before} → {after}",
        _same(one),
    )


def _same(one: _Played) -> str | tuple[str, str]:
    if one.before == one.after:
        return "yes", "good"
    return "there was none" if not one.before.release else "no"


def _tell_act(one: _Played, terminal: Terminal) -> None:
    terminal.say(_called(one.act), "good" if one.held else "bad")
    if one.child:
        terminal.say(f"  {'upgrade':<9}{_moved(one.child.result)}")
    for fact in one.expectations:
        mark = "held" if fact.held else "NOT HELD"
        terminal.say(f"  {mark:<9}{fact.text}  [{fact.seen}]", "plain" if fact.held else "bad")
    if one.child:
        terminal.say(f"  {'evidence':<9}{one.child.results_file}", "dim")


def _moved(result: RunResult) -> str:
    return f"{version_text(result.base)} → {version_text(result.head)}"


def _called(act: Act) -> str:
    return f"--{act.mode} {act.ref}"
