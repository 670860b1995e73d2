"""What a forge is told of a run: the state of a commit, and a comment. Pure, and safe with whatever an app logged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_ccci.errors import Verdict
from pytest_ccci.redact import printable
from pytest_ccci.results.model import RefFact, RunResult, TierResult
from pytest_ccci.results.verdict import ORDER, ready_tag, recompute

__all__ = ["CONTEXT", "CommitStatus", "comment_of", "status_of"]

CONTEXT = "ccci/cold"
"""The only context there is: a quick run has no status, since a forge can be set to gate on any."""
_LONGEST = 140
"""Characters of a description that every forge keeps."""
_CELL = 300
_STATES: dict[str, Literal["success", "failure", "error"]] = {Verdict.PASS: "success", Verdict.FAIL: "failure"}
_FULL_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class CommitStatus:
    """The state of a commit, as forges name it. Never *skipped*, with which a required check lets a merge pass."""

    commit: str
    state: Literal["success", "failure", "error"]
    description: str
    context: str = CONTEXT


def status_of(result: RunResult) -> CommitStatus | None:
    """The status of the tested commit; ``None`` for a quick run, or where no commit is what was tested.

    Only a whole, green, cold run whose facts bear its verdict is a success. What is no verdict on the recipe is an
    error.
    """
    head = result.head
    if (result.requested_mode, result.mode) != ("cold", "cold") or head is None or head.dirty:
        return None
    if not _FULL_SHA.fullmatch(head.commit):
        return None
    verdict, why = recompute(result)
    missing = [tier for tier in ORDER if tier not in result.asked]
    state, words = _STATES.get(verdict, "error"), why if verdict == Verdict.FAIL else f"{verdict}: {why}"
    if verdict == Verdict.PASS:
        words = f"{_step(result)}, {result.seconds:.0f} s"
    if verdict == Verdict.PASS and missing:
        state, words = "error", f"not the whole run: without {', '.join(missing)}"
    return CommitStatus(head.commit, state, printable(words, _LONGEST))


def comment_of(result: RunResult, *, link: str = "") -> str:
    """A comment in Markdown. Words of the app and its logs are code in it: they mention nobody and link nowhere."""
    what = f"{_code(result.recipe)}, {_code(_step(result))}"
    rows = [
        f"<!-- ccci run {re.sub(r'[^A-Za-z0-9-]', '', result.run_id)} -->",
        f"**{result.verdict}**: {result.mode} run of {what}, {result.seconds:.1f} s{_linked(link)}",
        "",
        *([f"Asked for {_code(result.requested_mode)}: {_code(result.mode_reason)}", ""] if result.mode_reason else []),
        "| tier | verdict | seconds | why |",
        "| --- | --- | --- | --- |",
        *(_row(tier) for tier in result.tiers),
        *(_tests(result)),
    ]
    if tag := ready_tag(result):
        rows += ["", f"Ready to be tagged {_code(tag)}."]
    if result.reproduce:
        rows += ["", f"To do it again: {_code(result.reproduce)}"]
    return "\n".join(rows) + "\n"


def _step(result: RunResult) -> str:
    head = _version(result.head)
    return f"{_version(result.base)} to {head}" if result.base else f"{head}, installed fresh"


def _version(fact: RefFact | None) -> str:
    return fact.version if fact else "nothing"


def _row(tier: TierResult) -> str:
    why = tier.reason.strip().partition("\n")[0]
    return f"| {tier.tier} | {tier.verdict} | {tier.seconds:.1f} | {_code(why) if why else ''} |"


def _tests(result: RunResult) -> Iterator[str]:
    bad = [test for test in result.custom if test.verdict not in {Verdict.PASS, Verdict.SKIP}]
    if result.custom:
        good = len(result.custom) - len(bad)
        yield ""
        yield f"The author's tests: {good} of {len(result.custom)} well."
    for test in bad[:10]:
        yield f"- {test.verdict}: {_code(test.nodeid)}: {_code(test.reason.strip().partition(chr(10))[0])}"
    if bad[10:]:
        yield f"- and {len(bad) - 10} more"


def _code(text: str) -> str:
    """``text`` as code on one line, also within a table: nothing in it is Markdown, HTML or a mention."""
    plain = printable(text, _CELL).replace("`", "'").replace("\\", "/").replace("|", "\\|").strip()
    return f"`{plain or '-'}`"


def _linked(link: str) -> str:
    return f", [log]({link})" if re.fullmatch(r"https://[A-Za-z0-9.:-]+/[A-Za-z0-9._~/?=&%+-]*", link, re.ASCII) else ""
