"""Pages to look at, as HTML: of a run, of a recipe, of all recipes; and badges. Values in, text out.

Whatever comes from a recipe is data. Each value is escaped, bounded, and shown with its control characters in the open
(`inert`), by the environment of the templates and not by each of them; no page has or allows a script.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_ccci.results.comparison import Difference
from pytest_ccci.results.index import LatestRun, RunRow
from pytest_ccci.results.model import AT_REST, COUNTED, FEWER, KEPT_APP, NOT_COUNTED, RefFact, RunResult
from pytest_ccci.results.report import known_good_told
from pytest_ccci.results.verdict import deciding, in_order, ready_tag, run_verdict
from pytest_ccci.store.disk import shown

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "Flaky",
    "RunContext",
    "badge_json",
    "badge_svg",
    "commit_link",
    "dashboard_page",
    "flaky",
    "folder_of",
    "inert",
    "medians",
    "missing_page",
    "page_of",
    "recipe_page",
    "run_page",
]

_TEXT = 2000
_LOG_CHARS = 64 << 10
_LOG_LINE = 1000
_MOST = 200
_LONGEST_NAME = 100
_ROWS = 30

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNSEEN = re.compile(
    "[\x80-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|\+00:00)?$", re.ASCII)
_SIGNS = {"pass": "✓", "fail": "✗", "error": "!", "unverified": "?", "skip": "–"}  # noqa: RUF001  a dash is meant
_BLAME = {
    "pass": "Every tier that applies was shown.",
    "fail": "Blame: the recipe.",
    "error": "Blame: the machine or pytest-ccci, not the recipe.",
    "unverified": "Blame: nobody. Something should have been shown, and was not.",
    "skip": "It does not apply.",
}
_COLOURS = {"pass": "#1a7040", "fail": "#b3261e", "error": "#b3261e", "unverified": "#8a5300"}
_SHIELDS = {"pass": "brightgreen", "fail": "red", "error": "red", "unverified": "yellow"}


# -- text that is data


def inert(text: str, most: int = _TEXT) -> str:
    """``text`` bounded to ``most`` characters, with what a reader or terminal would obey or not see in the open.

    An escape character becomes ``^[``, a mark that turns the direction of text ``⟨U+202E⟩``.
    """
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    rest = len(text) - most
    if rest > 0:
        text = text[:most]
    text = _CONTROL.sub(_caret, text.replace("\r\n", "\n"))
    text = _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
    return f"{text} … ({rest} more characters)" if rest > 0 else text


def _caret(found: re.Match[str]) -> str:
    """As ``cat -v`` shows it, which every font has."""
    return f"^{chr(ord(found[0]) ^ 0x40)}"


def _log(text: str) -> str:
    """The end of a log: its lines bounded, and all of it."""
    left = len(text) - _LOG_CHARS
    if left > 0:
        text = text[-_LOG_CHARS:]
    lines = [inert(line, _LOG_LINE) for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join([f"… ({left} characters before this)"] * (left > 0) + lines)


def _moment(text: str) -> str:
    found = _MOMENT.match(text)
    return f"{found[1]} {found[2]}{' UTC' if found[3] else ''}" if found else inert(text, 40)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 120 else f"{value // 60:.0f} min {value % 60:.0f} s"  # noqa: PLR2004  two minutes


def _size(value: str | float) -> str:
    return shown(len(value.encode("utf-8", "replace")) if isinstance(value, str) else int(value))


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "a moment"


# -- where things are


def folder_of(recipe: str) -> str:
    """The name of the folder of a recipe's page: no path leads out of it, whatever the recipe is called."""
    name = quote(recipe.encode("utf-8", "replace"), safe="")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if name and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def page_of(run_id: str) -> str:
    """The address of a run's page, seen from the state directory."""
    return f"runs/{quote(run_id.encode('utf-8', 'replace'), safe='')}/index.html"


_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d{1,5})?", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){2,8}", re.ASCII)
_FULL_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
_BY_SSH = re.compile(
    r"(?:ssh://)?git@(github\.com|gitlab\.com|codeberg\.org|git\.coopcloud\.tech)[:/](?!/)(.+)", re.ASCII
)
"""Forges of which we know that they serve at https what they serve at ssh."""
_ON_GITHUB = 2


def commit_link(source: str, fact: RefFact | None) -> str:
    """The page of a commit at the forge that ``source``, a remote's address, is of; empty where there is none for sure.

    Of GitHub, Forgejo and Gitea it is ``/commit/<id>`` below owner and name, of GitLab, which also has groups in
    groups, ``/-/commit/<id>``. Nothing but https becomes a link, and no address with anything odd in it.
    """
    by_ssh = _BY_SSH.fullmatch(source)
    address = f"https://{by_ssh[1]}/{by_ssh[2]}" if by_ssh else source
    host, slash, path = address.removeprefix("https://").partition("/")
    path = f"/{path.removesuffix('/').removesuffix('.git')}"
    sound = address.startswith("https://") and slash and _HOST.fullmatch(host) and _PATH.fullmatch(path)
    if not sound or fact is None or fact.dirty or not _FULL_SHA.fullmatch(fact.commit):
        return ""
    gitlab = "gitlab" in host or path.count("/") > _ON_GITHUB
    return f"https://{host}{path}/{'-/' if gitlab else ''}commit/{fact.commit}"


# -- templates


@functools.cache
def _environment() -> Environment:
    from jinja2 import (  # noqa: PLC0415  heavy: at the end of a run
        Environment,
        FileSystemBytecodeCache,
        FileSystemLoader,
        StrictUndefined,
    )
    from markupsafe import Markup, escape  # noqa: PLC0415  the same

    def finalize(value: object) -> object:
        if type(value) is str:
            return inert(value)
        return value if isinstance(value, (Markup, int, float)) else inert(str(value))

    folder = Path(__file__).parent / "templates"
    compiled = _place_for_compiled(folder)
    made = Environment(
        autoescape=True,
        bytecode_cache=FileSystemBytecodeCache(str(compiled), "%s.jinja") if compiled else None,
        finalize=finalize,
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (folder / "style.css").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    made.globals |= {"style": Markup(style), "style_hash": f"sha256-{digest}"}  # noqa: S704  a file of ours
    filters: dict[str, Callable[..., object]] = {
        "text": lambda value, most=_TEXT: inert(str(value), most),
        # Longer than what other values may have.
        "log": lambda value: Markup(escape(_log(str(value)))),  # noqa: S704  escaped
        "moment": _moment,
        "day": lambda value: _moment(value)[:10],
        "seconds": _seconds,
        "size": _size,
        "age": _age,
        "sign": lambda verdict: _SIGNS.get(verdict, "·"),
    }
    made.filters |= filters
    return made


def _place_for_compiled(templates: Path) -> Path | None:
    """Where Python keeps what it compiled of this package; ``None`` where it keeps nothing, or we may not write."""
    if sys.dont_write_bytecode:
        return None
    place = Path(importlib.util.cache_from_source(str(templates / "page.py"))).parent
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
    return place if os.access(place, os.W_OK) else None


def _rendered(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


def _row(row: RunRow, kept: Callable[[str], bool]) -> dict[str, Any]:
    return {**vars(row), "page": page_of(row.run_id) if kept(row.run_id) else ""}


# -- a run


@dataclass(frozen=True)
class RunContext:
    """What is known beside the result of a run: earlier runs of its recipe and mode, and the last green one.

    ``differences`` is ``None`` where the results of the last green run are gone.
    """

    history: Sequence[RunRow] = ()
    green: RunRow | None = None
    differences: Sequence[Difference] | None = None
    longest: float = 0.0


def run_page(result: RunResult, known: RunContext, *, kept: Callable[[str], bool]) -> str:
    """The page of one run; ``kept`` says whether a run's page is there."""
    tiers = in_order(result.tiers, result.custom)
    _, why = run_verdict(result.tiers, result.custom, leftovers=result.leftovers)
    first = deciding(result.tiers, result.custom, leftovers=result.leftovers)
    usual = {(tier, name): middle for tier, name, middle, *_ in medians(known.history)}
    steps = [(tier, step) for tier in tiers for step in tier.steps]
    scale = max(result.seconds, known.longest, sum(tier.seconds for tier in tiers), 0.1)
    evidence = [*((tier.tier, each) for tier in tiers for each in tier.evidence), *(("", e) for e in result.evidence)]
    labels = (COUNTED, FEWER, AT_REST, NOT_COUNTED)
    tests_bad = sum(test.verdict not in {"pass", "skip"} for test in result.custom)
    tests = sorted(result.custom, key=lambda test: test.verdict in {"pass", "skip"})[:_MOST]
    return _rendered(
        "run.html",
        run=result,
        folder=quote(folder_of(result.recipe)),
        base_link=commit_link(result.source, result.base),
        head_link=commit_link(result.source, result.head),
        why=why if result.verdict != "pass" else "",
        why_more=first.reason.strip().partition("\n")[2] if first and result.verdict != "pass" else "",
        blame=_BLAME[result.verdict],
        tiers=tiers[:_MOST],
        tests=tests,
        tests_bad=tests_bad,
        bars=_bars(steps[:_MOST], usual, scale),
        bars_left=len(steps) - len(steps[:_MOST]),
        scale=scale,
        medians=bool(usual),
        known_good=known_good_told(result.known_good)[0],
        ready=ready_tag(result),
        counts=[(tier.tier, label, tier.facts[label]) for tier in tiers for label in labels if label in tier.facts],
        coverage=result.coverage[:_MOST],
        blocked=sum(path.blocks for path in result.coverage),
        green=known.green,
        green_page=page_of(known.green.run_id) if known.green and kept(known.green.run_id) else "",
        changes=_changes(known),
        findings=result.findings[:_MOST],
        evidence=evidence[:_MOST],
        evidence_left=len(evidence) - len(evidence[:_MOST]),
        images=result.images[:_MOST],
        environment=tuple(result.environment.items())[:_MOST],
        kept_apps=[tier.facts[KEPT_APP] for tier in tiers if KEPT_APP in tier.facts],
        history=[_row(row, kept) for row in known.history[:_ROWS]],
    )


def _changes(known: RunContext) -> object:
    if known.green is None:
        return "There is no earlier green run of this recipe in this mode."
    if known.differences is None:
        return [{"title": "Its results were pruned", "lines": ["only its row in the history is left"], "more": 0}]
    return [{"title": one.title, "lines": one.lines[:50], "more": len(one.lines[50:])} for one in known.differences]


def _bars(steps: Sequence[tuple[Any, Any]], usual: Mapping[tuple[str, str], float], scale: float) -> list[object]:
    """Each step where it is on the clock of the run, by per mille of ``scale``; steps of a tier follow each other."""
    bars: list[object] = []
    at, before, begun = 0.0, None, 0.0
    for tier, step in steps:
        if tier is not before:
            at = max(at, begun + (before.seconds if before else 0.0))
            before, begun = tier, at
        start, width = min(at / scale, 1.0), min(step.seconds / scale, 1.0)
        bars.append(
            {
                "tier": tier.tier,
                "name": step.name,
                "verdict": tier.verdict if step is tier.steps[-1] else "",
                "seconds": step.seconds,
                "median": usual.get((tier.tier, step.name)),
                "x": round(start * 1000, 1),
                "width": round(max(min(width, 1.0 - start) * 1000, 1.5), 1),
            }
        )
        at += max(step.seconds, 0.0)
    return bars


def medians(rows: Iterable[RunRow]) -> list[tuple[str, str, float, float | None, float]]:
    """``(tier, step, median, newest, longest)`` per step of the green runs among ``rows``, which are newest first."""
    greens = [row for row in rows if row.verdict == "pass"][:_ROWS]
    sums: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for number, row in enumerate(greens):
        own: dict[tuple[str, str], float] = {}
        for tier, name, took in row.steps:
            own[tier, name] = own.get((tier, name), 0.0) + took
        for key, took in own.items():
            sums.setdefault(key, []).append((number, took))
    found = []
    for (tier, name), taken in sums.items():
        values = [took for _, took in taken]
        newest = taken[0][1] if taken[0][0] == 0 else None
        found.append((tier, name, statistics.median(values), newest, max(values)))
    return found


# -- a recipe


@dataclass(frozen=True)
class Flaky:
    """Runs of one commit from one base in one mode on one machine, of which one came to another verdict."""

    mode: str
    head: str
    commit: str
    base: str
    rows: tuple[RunRow, ...]

    @property
    def verdicts(self) -> list[tuple[str, int]]:
        """How often each verdict came of it."""
        said = [row.verdict for row in self.rows]
        return [(verdict, said.count(verdict)) for verdict in dict.fromkeys(said)]

    @property
    def examples(self) -> list[RunRow]:
        """The newest two of each verdict."""
        return [row for verdict, _ in self.verdicts for row in [r for r in self.rows if r.verdict == verdict][:2]]


def flaky(rows: Iterable[RunRow]) -> list[Flaky]:
    """What is flaky: the same clean commit, base, mode, selection, engine and infra, and more than one verdict."""
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for row in rows:
        if row.head_commit and not row.dirty:
            groups.setdefault((row.mode, row.head_commit, row.base_commit, row.infra, row.asked), []).append(row)
    return [
        Flaky(same[0].mode, same[0].head, same[0].head_commit, same[0].base, tuple(same))
        for same in groups.values()
        if len({row.verdict for row in same}) > 1
    ]


def recipe_page(
    recipe: str,
    histories: Mapping[str, Sequence[RunRow]],
    promotions: Sequence[RunRow],
    *,
    kept: Callable[[str], bool],
) -> str:
    """The page of one recipe: ``histories`` by mode, newest first."""
    from markupsafe import Markup  # noqa: PLC0415  as in _environment

    modes = [_mode(name, rows, kept) for name, rows in histories.items() if rows]
    found = [
        {**vars(one), "verdicts": one.verdicts, "rows": [_row(row, kept) for row in one.examples]}
        for rows in histories.values()
        for one in flaky(rows)[:5]
    ]
    latest = next(iter(_latest(histories)), None)
    return _rendered(
        "recipe.html",
        recipe=recipe,
        badge=Markup(badge_svg(latest)),  # noqa: S704  made of escaped text by us
        modes=modes,
        promotions=[_row(row, kept) for row in promotions],
        flaky=found,
    )


def _latest(histories: Mapping[str, Sequence[RunRow]]) -> list[RunRow]:
    """The newest run; a cold one counts before quick ones, as it is the authority."""
    return [rows[0] for name, rows in sorted(histories.items()) if rows]


def _mode(name: str, rows: Sequence[RunRow], kept: Callable[[str], bool]) -> dict[str, object]:
    greens = [row.seconds for row in rows if row.verdict == "pass"][::-1]
    trend, middle, told = "", 0.0, ""
    if len(greens) > 1:
        most = max(*greens, 0.1) * 1.1
        across = 600 / (len(greens) - 1)
        trend = " ".join(f"{n * across:.1f},{80 - 80 * took / most:.1f}" for n, took in enumerate(greens))
        usual = statistics.median(greens)
        middle = round(80 - 80 * usual / most, 1)
        told = f"{len(greens)} green runs: median {_seconds(usual)}, newest {_seconds(greens[-1])}"
        if len(greens) >= 6:  # noqa: PLR2004  three on each side say something
            half = len(greens) // 2
            change = statistics.median(greens[half:]) / max(statistics.median(greens[:half]), 0.001) - 1
            told += f", the newer half {change:+.0%} against the older" if round(change, 2) else ""
    keys = ("tier", "name", "median", "newest", "most")
    return {
        "name": name,
        "rows": [_row(row, kept) for row in rows],
        "trend": trend,
        "middle": middle,
        "told": told,
        "greens": min(len(greens), _ROWS),
        "steps": [dict(zip(keys, values, strict=True)) for values in medians(rows)],
    }


# -- all recipes

_ORDER = {"fail": 0, "error": 0, "unverified": 1}


def dashboard_page(
    latest: Iterable[LatestRun | RunRow],
    *,
    kept: Callable[[str], bool],
    has_page: Callable[[str], bool],
    here: Any = None,
    slots: int = 0,
    usual: Mapping[tuple[str, str], float] | None = None,
    disk: Sequence[tuple[str, int]] = (),
    now: datetime | None = None,
) -> str:
    """The page of all recipes: those that are not green first.

    ``here`` is how the machine stands, without secrets; ``usual`` how long a run of a recipe in a mode takes; ``disk``
    when how many bytes were free, newest first.
    """
    now = now or datetime.now(UTC)
    by_recipe: dict[str, dict[str, LatestRun | RunRow]] = {}
    for row in latest:
        by_recipe.setdefault(row.recipe, {})[row.mode] = row
    canonicals = {row.recipe: row for row in here.canonicals} if here else {}
    modes = sorted({"cold", "quick"} | {mode for runs in by_recipe.values() for mode in runs})
    recipes = []
    for name in sorted({*by_recipe, *canonicals}):
        runs, good = by_recipe.get(name, {}), canonicals.get(name)
        worst = min((_ORDER.get(row.verdict, 2) for row in runs.values()), default=2)
        cells = [(mode, _cell(runs[mode], kept) if mode in runs else None) for mode in modes]
        known = (
            good.release if good else "",
            _since(good.since, now) if good else "",
            "quarantined" if good and good.quarantine else "drifted" if good and good.drift else "",
        )
        folder = quote(folder_of(name)) if has_page(name) else ""
        recipes.append((0 if good and good.quarantine else worst, name, folder, cells, known))
    recipes.sort(key=lambda one: one[:2])
    red = sum(worst < 2 for worst, *_ in recipes)  # noqa: PLR2004  as in _ORDER
    alerts = list(here.alerts) if here else []
    return _rendered(
        "dashboard.html",
        recipes=recipes,
        modes=modes,
        counts=f"{len(recipes)} recipes, {red} not green" if red else f"{len(recipes)} recipes, all green",
        here=here,
        alerts=alerts[::-1][:_MOST],
        alerts_left=len(alerts) - len(alerts[:_MOST]),
        flying=_flying(here.runs if here else (), slots, usual or {}, now),
        disk=_disk_trend(disk, here.disk.free, now) if here else None,
        now=now.isoformat(timespec="minutes"),
    )


def _flying(
    runs: Iterable[Any], slots: int, usual: Mapping[tuple[str, str], float], now: datetime
) -> list[dict[str, object]]:
    """Each run in flight with its slot and when it should end; then the slots that are free."""
    rows: list[dict[str, object]] = []
    for run in runs:
        took = usual.get((run.recipe, run.mode))
        ends = ""
        with suppress(ValueError, TypeError, OverflowError):
            left = took - (now - datetime.fromisoformat(run.since)).total_seconds() if took is not None else None
            if left is not None:
                ends = f"in about {_brief(left)}" if left > 0 else f"{_brief(-left)} later than usual"
        rows.append({"run": run, "slot": run.lock if run.lock.isdecimal() else "", "ends": ends})
    taken = {row["slot"] for row in rows}
    rows += [{"run": None, "slot": str(number), "ends": ""} for number in range(slots) if str(number) not in taken]
    return rows


def _brief(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else _age(seconds)  # noqa: PLR2004  a minute


_WEEK = timedelta(days=7)


def _disk_trend(disk: Sequence[tuple[str, int]], free: int, now: datetime) -> dict[str, str]:
    """A line of the free bytes of the last week, from nothing to the most there was, and what it says."""
    points: list[tuple[float, int]] = [(1.0, free)]
    oldest = now
    for at, size in disk:
        with suppress(ValueError, TypeError):
            moment = datetime.fromisoformat(at)
            if now - _WEEK <= moment <= now:
                points.append((1 - (now - moment) / _WEEK, size))
                oldest = min(oldest, moment)
    points.sort()
    most = max(1, *(size for _, size in points))
    told, line = "", ""
    if len(points) > 1:
        change = free - points[0][1]
        line = " ".join(f"{600 * x:.1f},{60 - 60 * size / most:.1f}" for x, size in points)
        how = f"{_size(abs(change))} {'more' if change > 0 else 'less'} than" if change else "as much as"
        told = f"{how} {_age((now - oldest).total_seconds())} ago"
    return {"line": line, "told": told}


def _cell(row: LatestRun | RunRow, kept: Callable[[str], bool]) -> tuple[str, ...]:
    """What is shown of a run: plain texts, since with ten thousand recipes each look into an object counts."""
    page = page_of(row.run_id) if kept(row.run_id) else ""
    return page, row.verdict, inert(row.head, 60), _moment(row.started)[:10], inert(row.reason, 160)


def _since(text: str, now: datetime) -> str:
    try:
        return f"{_age((now - datetime.fromisoformat(text)).total_seconds())} old"
    except (ValueError, TypeError):
        return ""


def missing_page() -> str:
    """What ``ccci serve`` shows where there is no page."""
    return _rendered("missing.html")


# -- badges


def _message(row: RunRow | None) -> str:
    return f"{row.verdict} · {inert(row.head, 40)}".removesuffix(" · ") if row else "no run"


def badge_json(row: RunRow | None) -> str:
    """What https://shields.io/badges/endpoint-badge asks for."""
    colour = _SHIELDS.get(row.verdict, "lightgrey") if row else "lightgrey"
    return json.dumps({"schemaVersion": 1, "label": "ccci", "message": _message(row), "color": colour})


def badge_svg(row: RunRow | None) -> str:
    """The same as a picture of its own."""
    from markupsafe import escape  # noqa: PLC0415  as in _environment

    message = _message(row)
    left, right = 40, 14 + round(6.4 * len(message))
    colour = _COLOURS.get(row.verdict, "#5c6470") if row else "#5c6470"
    text = 'fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="ccci: {escape(message)}"><title>ccci: {escape(message)}</title>'
        f'<rect width="{left + right}" height="20" rx="3" fill="{colour}"/>'
        f'<path d="M3 0h{left - 3}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#444"/>'
        f'<text x="{left / 2}" y="14" {text}>ccci</text>'
        f'<text x="{left + right / 2}" y="14" {text} textLength="{right - 14}">{escape(message)}</text></svg>'
    )
