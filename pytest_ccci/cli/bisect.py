"""``ccci bisect``: the first commit that a quick run from the known-good calls bad."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.cli.arguments import MACHINE, Commands, add_command, passed_on
from pytest_ccci.cli.terminal import Terminal
from pytest_ccci.errors import CcciError, RefError, StoreDamaged, UsageError
from pytest_ccci.ops.bisect import Judgement, Step, answer, judgement_of, next_commit, steps_left
from pytest_ccci.ops.run_pytest import run_pytest
from pytest_ccci.recipe.repository import Head, Mirror, open_mirror
from pytest_ccci.recipe.spec import RecipeSpec, load_spec
from pytest_ccci.run.known_good import kept_goods
from pytest_ccci.run.prepare import network
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.record import KnownGood

__all__ = ["Search", "add", "base_for", "run"]

_TONE = {"good": "good", "bad": "bad", "skip": "warn"}


def add(commands: Commands) -> None:
    """Declare it."""
    about = "find the first bad commit of a recipe, by quick runs from the known-good"
    command = add_command(commands, "bisect", run, about=about, settings=(*MACHINE, "fast_health"))
    command.add_argument("recipe", type=Path, metavar="DIR", help="the recipe's folder")
    command.add_argument("--good", required=True, metavar="REF", help="a commit, branch or tag that is good")
    command.add_argument("--bad", required=True, metavar="REF", help="one that builds on it and is bad")


@dataclass
class Search:
    """One search along the first parents from ``good`` to ``bad``."""

    mirror: Mirror
    base: KnownGood
    good: Head
    bad: Head
    line: tuple[str, ...]
    tried: Callable[[str], Step]
    terminal: Terminal
    steps: list[Step] = field(default_factory=list)

    @property
    def said(self) -> dict[str, Judgement]:
        """What was said of the commits of the line."""
        return {step.commit: step.judgement for step in self.steps}

    def run(self) -> int:
        """Try both ends, then halve; the exit status."""
        if self.good.commit == self.base.commit:
            why = f"it is the known-good of {self.base.release}"
            self.steps.append(Step(self.good.commit, "good", why))
        elif not self._end(self.good.commit, "good"):
            return 1
        if not self._end(self.bad.commit, "bad"):
            return 1
        while (commit := next_commit(self.line, self.said)) is not None:
            self._try(commit, f"about {steps_left(self.line, self.said)} steps left")
        return self._last_screen()

    def _end(self, commit: str, wanted: Judgement) -> bool:
        """Whether an end is what it was said to be: all that follows stands on it."""
        step = self._try(commit, f"the end that is to be {wanted}")
        if step.judgement == wanted:
            return True
        self._table()
        self.terminal.problem(
            f"{self._shown(commit)} is to be {wanted}, and is {step.judgement}: {step.why or 'green'}"
        )
        return False

    def _try(self, commit: str, about: str) -> Step:
        self.terminal.title(f"{self._shown(commit)} · {about}")
        step = self.tried(commit)
        self.steps.append(step)
        how = f" ({step.mode})" if step.mode not in {"", "quick"} else ""
        text = f"{commit[:10]} is {step.judgement}{how}" + (f": {step.why}" if step.why else "")
        self.terminal.say(text, _TONE[step.judgement])
        return step

    def _last_screen(self) -> int:
        self._table()
        known = answer(self.line, self.said)
        if known.found:
            step = next((each for each in self.steps if each.commit == known.found), None)
            self.terminal.say(f"the first bad commit is {known.found}  {self.mirror.subject(known.found)}", "bad")
            if step is not None:
                self.terminal.say(f"  because     {step.why}", "bad")
                self.terminal.say(f"  again with  {step.reproduce}")
            return 0
        self.terminal.say(f"the first bad commit is one of {len(known.candidates)}:", "warn")
        for commit in known.candidates:
            note = "  skipped: its run was no verdict" if commit in known.skipped else ""
            self.terminal.say(f"  {self._shown(commit)}{note}", "warn")
        return 1

    def _table(self) -> None:
        self.terminal.say()
        self.terminal.table(
            ("commit", "is", "mode", "seconds", "run", "why"),
            [
                (
                    self._shown(step.commit),
                    (step.judgement, _TONE[step.judgement]),
                    step.mode,
                    f"{step.seconds:.1f}" if step.run_id else "",
                    step.run_id,
                    step.why,
                )
                for step in self.steps
            ],
        )
        self.terminal.say()

    def _shown(self, commit: str) -> str:
        return f"{commit[:10]} {self.mirror.subject(commit)[:60]}"


def run(args: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    """Search. 0: the first bad commit was found; 1: it was not, or an end is not what it was said to be."""
    spec, state = load_spec(args.recipe), open_state(settings.state_dir)
    mirror = open_mirror(spec, cache=state.recipes, env=network(settings.environment))
    good, bad = mirror.resolve(args.good), mirror.resolve(args.bad)
    line = _line(mirror, good, bad)
    goods = kept_goods(state, spec.name) if spec.canonical else ()
    base = base_for(goods, good, mirror)
    newest = base == goods[0]
    terminal.say(
        f"{spec.name}: {len(line)} commits after {good.version}, from the known-good of {base.release}; "
        f"about {steps_left(line, {})} steps after both ends",
        "title",
    )

    def tried(commit: str) -> Step:
        words = [] if newest else [f"--ccci-base={base.release}"]
        return _tried(args, spec, state, terminal, commit=commit, words=words)

    return Search(mirror, base, good, bad, line, tried, terminal).run()


def base_for(goods: tuple[KnownGood, ...], good: Head, mirror: Mirror) -> KnownGood:
    """The newest kept known-good that ``good`` builds on: every commit of the line can be upgraded to from it.

    Raises:
        StoreDamaged: none is kept.
        RefError: all that are kept are newer.
    """
    if not goods:
        raise StoreDamaged(
            "there is no known-good to start from",
            where=mirror.name,
            advice="a green cold run of the latest release makes one, where recipe.toml says canonical = true",
        )
    for each in goods:
        if each.commit == good.commit or mirror.is_ancestor(each.commit, good):
            return each
    raise RefError(
        f"{good.version} does not build on any known-good that is kept, and data does not go back",
        where=mirror.name,
        seen=f"kept: {', '.join(each.release for each in goods)}",
        advice="name a later --good; keep = 3 in recipe.toml keeps earlier known-goods from now on",
    )


def _line(mirror: Mirror, good: Head, bad: Head) -> tuple[str, ...]:
    if good.commit == bad.commit or not mirror.is_ancestor(good, bad):
        raise UsageError(
            f"{bad.ref} does not build on {good.ref}",
            where=mirror.name,
            seen=f"good: {good.commit[:12]}, bad: {bad.commit[:12]}",
            advice="the bad one must come after the good one",
        )
    return mirror.first_parents(good, bad)


def _tried(
    args: argparse.Namespace, spec: RecipeSpec, state: StateDir, terminal: Terminal, *, commit: str, words: list[str]
) -> Step:
    try:
        child = run_pytest(
            state,
            spec.folder,
            ["--quick", "--ccci-ref", commit, *words, "-q"],
            settings=passed_on(args),
            coloured=terminal.coloured,
            line=terminal.raw,
        )
    except CcciError as error:
        return Step(commit, "skip", f"no verdict on the commit: {error.what}")
    result = child.result
    judgement, why = judgement_of(result)
    return Step(commit, judgement, why, result.seconds, result.mode, result.run_id, result.reproduce)
