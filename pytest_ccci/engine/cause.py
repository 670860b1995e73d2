"""Why a task died, in one line: chosen from its exit status, its log, its health check and the kernel's word."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["DeathFacts", "cause_line", "error_line"]

_LONGEST = 300
_READ = 64 * 1024
_LINES = 400
_SIGNALLED = 128
_EXITS = {126: "its command is not executable", 127: "its command was not found"}

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f]")
_CLOCK = re.compile(
    r"^[\[(]?(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
    r"|\d\d:\d\d:\d\d(?:[.,]\d+)?)[\])]?[\s:,-]*"
)
_FRAME = re.compile(r"^\s+(?:at |File \"|\.\.\. )|^goroutine \d|^\s*\^+\s*$|^\S+\(.*\)$|^\t")
_TRACEBACK = "Traceback (most recent call last):"
_NAMED = ("panic: ", "Caused by: ")
_STRONG = re.compile(
    r"^(?:panic: |fatal error: |Caused by: |Exception in thread |thread '.*' panicked)"
    r"|(?:^|[\s\[:])(?:FATAL|PANIC|EMERG|CRITICAL)\b|\blevel=(?:fatal|panic)\b",
)
_THROWN = re.compile(r"^(?:Uncaught |Unhandled )?(?:[A-Za-z_$][\w.$]*)?(?:Error|Exception)(?: \[\w+\])?(?::|$)")
_WEAK = re.compile(
    r"\b(?:errors?|exception|failed|failure|fatal|cannot|can't|could not|couldn't|unable to|denied|refused|invalid|"
    r"no such|not found|does not exist|not permitted|missing|required|unhandled|abort(?:ed|ing)?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DeathFacts:
    """What the engine knows of a container that died or is not well, and the end of what it printed.

    ``health_output`` is what the last check printed, where it failed; ``exit_code`` is ``None`` while it runs.
    """

    exit_code: int | None = None
    out_of_memory: bool = False
    unhealthy: bool = False
    health_output: str = ""
    log: str = ""


def cause_line(facts: DeathFacts) -> str:
    """The cause in one line: how it ended, then the best words there are for why; empty when nothing is known.

    The kernel's kill for want of memory comes before everything. A container that was stopped because its check failed
    is told by the check; one that ended by itself, by its log.
    """
    said, checked = error_line(facts.log), error_line(facts.health_output)
    if facts.out_of_memory:
        return _joined("out of memory: killed by the kernel", said and f"its last words: {said}")
    check = f"its health check failed: {checked or 'without a word'}" if facts.unhealthy else ""
    if facts.unhealthy and (not facts.exit_code or facts.exit_code > _SIGNALLED):
        return _joined(check, said and f"its log: {said}")
    return _joined(_ended(facts.exit_code), said or check)


def error_line(log: str) -> str:
    """The line of ``log`` that tells why a program failed, without colours and time; its last line where none does.

    Only the end is read (64 KiB), and a line that is longer than 300 characters is cut around what was found.
    """
    lines = [line for line in map(_plain, log[-_READ:].split("\n")[-_LINES:]) if line.strip()]
    best = _last(_exceptions(lines)) or _last(line for line in lines if _STRONG.search(line))
    best = best or _last(line for line in lines if _WEAK.search(line) and not _FRAME.match(line))
    best = best or _last(line for line in lines if not _FRAME.match(line)) or _last(lines)
    return _cut(" ".join(best.split())) if best else ""


def _exceptions(lines: list[str]) -> Iterator[str]:
    """The lines that name what was thrown: of Python after its traceback, of Node and Java before their frames.

    A Java exception is told by the innermost cause that follows it.
    """
    tracing = False
    for number, line in enumerate(lines):
        if line.endswith(_TRACEBACK):
            tracing = True
        elif tracing and not line[:1].isspace():
            tracing = False
            yield line
        elif line.startswith(_NAMED) or (_THROWN.match(line) and _FRAME.match("".join(lines[number + 1 : number + 2]))):
            yield line


def _plain(line: str) -> str:
    """``line`` as a person reads it: without colours, control characters, and the time at its beginning."""
    bare = _CONTROL.sub("", line.rstrip("\r").rpartition("\r")[2])
    return _CLOCK.sub("", bare, count=1).rstrip()


def _last(lines: Iterable[str]) -> str:
    found = ""
    for line in lines:
        found = line
    return found


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    found = _STRONG.search(text) or _WEAK.search(text)
    start = max(0, min(found.start() - _LONGEST // 3, len(text) - _LONGEST)) if found else 0
    piece = text[start : start + _LONGEST]
    return f"{'…' if start else ''}{piece}{'…' if start + _LONGEST < len(text) else ''}"


def _ended(code: int | None) -> str:
    if code is None:
        return ""
    if code > _SIGNALLED:
        try:
            return f"exit status {code} ({signal.Signals(code - _SIGNALLED).name})"
        except ValueError:
            pass
    why = _EXITS.get(code, "")
    return f"exit status {code}" + (f" ({why})" if why else "")


def _joined(first: str, second: str) -> str:
    return ": ".join(part for part in (first, second) if part)
