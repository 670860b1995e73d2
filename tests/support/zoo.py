"""The zoo's rows: small recipes with one thing planted, what a run of each must come to, and whether it did."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml
from realruns import Outcome

from pytest_ccci.errors import Verdict
from pytest_ccci.results.verdict import deciding

__all__ = [
    "FALSIFIED",
    "ZOO",
    "Expected",
    "Row",
    "Seen",
    "differences",
    "falsified",
    "filled",
    "load_rows",
    "merge",
    "seen_of",
    "write",
]

ZOO = Path(__file__).resolve().parents[1] / "zoo"
GOOD = ZOO / "good"
RELEASES = (("1-1.0.0+1.0", "base"), ("2-1.1.0+1.1", "head"))
FALSIFIED = ("crash-at-start", "the-good-one")
"""Rows whose expectation is turned round by the switch: a zoo that is still green would be green whatever happens."""


@dataclass(frozen=True)
class Expected:
    """What a run comes to: its verdict, the tier that decides it, and who is blamed for it.

    Of several tiers with ``|`` between them any may be the one, where only time tells.
    """

    verdict: str
    tier: str = "-"
    blame: str = "-"

    def is_met_by(self, seen: Expected) -> bool:
        """Whether a run that came to ``seen`` is what is expected."""
        return seen.tier in self.tier.split("|") and replace(seen, tier=self.tier) == self

    def __str__(self) -> str:
        return " ".join(part for part in (self.verdict, self.tier, self.blame) if part != "-")


@dataclass(frozen=True)
class Row:
    """One recipe of the zoo: the good one, with one thing changed.

    Args:
        planted: what is changed, in words.
        words: what the printed output must say; ``never``: what it must not say, nor anything that the run left.
        base, head, both: merge patches (RFC 7386) for the compose.yml of the version before, of the one that is
            tested, or of both; in them the labels of ``app`` are a mapping.
        files: merge patches for files: by version (``base``, ``head``, ``both``) and name the text, or null.
        toml: a merge patch for recipe.toml.
        args: more words for pytest's command line.
        author: files beside recipe.toml: the author's tests and hooks, by name, or null.
        alone: nothing else may be in flight, on an engine that nobody else uses.
        not_yet: why the product does not come to the expected verdict today.
    """

    name: str
    planted: str
    expect: Expected
    words: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    both: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    toml: Mapping[str, Any] = field(default_factory=dict)
    author: Mapping[str, str | None] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    alone: bool = False
    not_yet: str = ""


@dataclass(frozen=True)
class Seen:
    """What a run came to, what it printed (in one line), what else it left in its folder, and what on the engine."""

    came_to: Expected
    rc: int
    printed: str
    kept: str = ""
    left: tuple[str, ...] = ()


def load_rows(file: Path) -> tuple[Row, ...]:
    """The rows of one of the tables. An unknown key is refused: it would change nothing."""
    known = {each.name for each in fields(Row)}
    rows = []
    for name, raw in yaml.safe_load(file.read_text(encoding="utf-8")).items():
        unknown = set(raw) - known
        if unknown:
            raise ValueError(f"{file.name}: {name}: unknown {', '.join(sorted(unknown))}")
        texts = {key: tuple(raw[key]) for key in ("words", "never", "args") if key in raw}
        rows.append(Row(name=name, **{**raw, **texts, "expect": Expected(*raw["expect"])}))
    return tuple(rows)


def falsified(row: Row) -> Row:
    """The row with an expectation that its run cannot meet."""
    wrong = Expected("fail", "upgrade", "recipe") if row.expect.verdict == "pass" else Expected("pass")
    return replace(row, expect=wrong)


def filled(row: Row, known: Mapping[str, str]) -> Row:
    """The row with what only the test knows in its words."""
    return replace(row, words=tuple(_fill(text, known) for text in row.words))


def merge(target: Any, patch: Any) -> Any:
    """``target`` changed by ``patch`` as RFC 7386 says: mappings are merged, null removes, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def write(row: Row, folder: Path, known: Mapping[str, str]) -> Path:
    """Write the recipe of ``row`` into ``folder``; ``known`` fills in what only the test knows, as ``@NAME@``."""
    for release, which in RELEASES:
        _write_version(row, folder / "releases" / release, which, {**known, "RELEASE": release.partition("-")[2]})
    toml = merge(tomllib.loads((GOOD / "recipe.toml").read_text(encoding="utf-8")), row.toml)
    _put(folder / "recipe.toml", "".join(f"{key} = {_toml(value)}\n" for key, value in toml.items()), known)
    tests = (GOOD / "test_app.py").read_text(encoding="utf-8")
    for name, text in merge({"test_app.py": tests}, row.author).items():
        _put(folder / name, text, known)
    return folder


def seen_of(outcome: Outcome, *, runs: Path, left: Iterable[str]) -> Seen:
    """What the only run of ``outcome`` came to; its folder is below ``runs``."""
    result = outcome.result
    decides = deciding(result.tiers, result.custom, leftovers=result.leftovers)
    tier, reason = (decides.tier, decides.reason) if decides else ("-", "")
    kept = [path for path in sorted((runs / result.run_id).rglob("*")) if path.is_file() and "trees" not in path.parts]
    return Seen(
        Expected(str(result.verdict), tier, _blamed(result.verdict, reason)),
        outcome.rc,
        " ".join(outcome.out.split()),
        "\n".join(path.read_bytes().decode("utf-8", "replace") for path in kept if path.suffix != ".tar"),
        tuple(left),
    )


def differences(row: Row, seen: Seen) -> tuple[str, ...]:
    """In what the run was not what its row expects; empty when it was."""
    found = [] if row.expect.is_met_by(seen.came_to) else [f"it came to {seen.came_to}, not to {row.expect}"]
    if (seen.rc == 0) != (seen.came_to.verdict == "pass"):
        found.append(f"pytest ended with {seen.rc}, the run with {seen.came_to.verdict}")
    found += [f"nothing printed says: {words}" for words in row.words if " ".join(words.split()) not in seen.printed]
    found += [f"it shows: {words}" for words in row.never if words in seen.printed or words in seen.kept]
    return (*found, *(f"left on the engine: {name}" for name in seen.left))


def _blamed(verdict: Verdict, reason: str) -> str:
    """Who is blamed: the machine, nobody (it was only not shown), a service of the recipe by name, or the recipe."""
    if verdict in {Verdict.ERROR, Verdict.UNVERIFIED}:
        return "machine" if verdict == Verdict.ERROR else "nobody"
    named = re.search(r"\bservice (\w+)(?![\w-])", reason)
    return "-" if verdict == Verdict.PASS else f"service {named[1]}" if named else "recipe"


def _write_version(row: Row, place: Path, which: str, known: Mapping[str, str]) -> None:
    files: dict[str, Any] = {path.name: path.read_text(encoding="utf-8") for path in GOOD.iterdir()}
    for name in ("recipe.toml", "test_app.py"):
        del files[name]
    files["compose.yml"] = _compose(files["compose.yml"], row.both, row.base if which == "base" else row.head)
    for changed in ("both", which):
        files = merge(files, row.files.get(changed, {}))
    shutil.rmtree(place, ignore_errors=True)
    for name, text in files.items():
        _put(place / name, text, known)


def _compose(good: str, *patches: Mapping[str, Any]) -> str:
    """The good compose file with ``patches``, in which the app's labels are a mapping, and then a list again.

    Docker fills in variables in a mapping's values only, and most of these have one in their name.
    """
    compose = yaml.safe_load(good)
    deploy = compose["services"]["app"]["deploy"]
    deploy["labels"] = dict(label.split("=", 1) for label in deploy["labels"])
    for patch in patches:
        compose = merge(compose, patch)
    deploy = compose["services"]["app"]["deploy"]
    deploy["labels"] = [f"{name}={value}" for name, value in deploy["labels"].items()]
    # What the test fills in is written bare: a port must be a number.
    return re.sub(r"'(@\w+@)'", r"\1", yaml.safe_dump(compose, sort_keys=False))


def _put(path: Path, text: str, known: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_fill(text, known), encoding="utf-8")


def _fill(text: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        text = text.replace(f"@{name}@", value)
    return text


def _toml(value: Any) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
