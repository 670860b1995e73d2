"""What is being changed: lines that are durable before the change they announce is begun."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.fs import Fs

__all__ = ["Journal", "Operation"]

_LONG = 64 << 10
_ADVICE = (
    "a canonical's: `ccci reseed` sets it aside and makes a new known-good; "
    "Traefik's or Keycloak's: rename it, volumes and snapshots are untouched"
)


@dataclass(frozen=True)
class Operation:
    """A change that was begun: its name, its facts, and the steps that are known to be done."""

    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()


Row = dict[str, object]


class Journal:
    """An append-only file of JSON lines with check sums; one change at a time."""

    def __init__(self, path: Path, *, fs: Fs) -> None:
        self._path = path
        self._fs = fs

    def begin(self, name: str, **facts: str) -> None:
        """Announce a change. Durable when this returns, so nothing of the change may precede it."""
        self._shorten()
        fresh = not self._path.exists()
        self._add({"begin": name, "facts": facts})
        if fresh:
            self._fs.fsync_dir(self._path.parent)

    def step(self, name: str) -> None:
        """Note that one step is done and durable."""
        self._add({"step": name})

    def done(self) -> None:
        """Note that the change is finished or undone."""
        self._add({"done": True})

    def pending(self) -> Operation | None:
        """The change that was begun and not finished, if any.

        A last line that was cut off in the middle was never announced, so it does not count.

        Raises:
            StoreDamaged: a line in the middle is not one of ours; nobody can say what was going on.
        """
        current: Operation | None = None
        for row in self._rows():
            if "begin" in row:
                facts = row.get("facts")
                known = facts if isinstance(facts, dict) else {}
                current = Operation(str(row["begin"]), {str(key): str(value) for key, value in known.items()})
            elif "step" in row and current is not None:
                current = Operation(current.name, current.facts, (*current.steps, str(row["step"])))
            elif "done" in row:
                current = None
            else:
                raise StoreDamaged(
                    "a journal line means nothing here", where=str(self._path), seen=str(row)[:80], advice=_ADVICE
                )
        return current

    def made(self) -> frozenset[str]:
        """The snapshot that was made last, if nothing was ever promoted after it: then no record can name it."""
        found: frozenset[str] = frozenset()
        promoting = False
        for row in self._rows():
            if "begin" in row:
                facts = row.get("facts")
                promoting = row["begin"] == "promote"
                if row["begin"] in {"snapshot", "promote"} and isinstance(facts, dict):
                    found = frozenset({str(facts.get("id", ""))})
            elif "done" in row and promoting:
                found = frozenset()
        return found

    def _rows(self) -> list[Row]:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._damaged("the journal cannot be read", error.strerror or str(error)) from error
        whole = raw[: raw.rfind(b"\n") + 1]
        lines = whole.splitlines()
        rows = [_parse(line) for line in lines]
        # A power cut may leave the last line's room without its content.
        while rows and rows[-1] is None:
            rows.pop()
        if None in rows:
            raise StoreDamaged(
                "the journal is damaged", where=str(self._path), seen=repr(lines[rows.index(None)][:80]), advice=_ADVICE
            )
        return [row for row in rows if row is not None]

    def _damaged(self, what: str, seen: str) -> StoreDamaged:
        return StoreDamaged(what, where=str(self._path), seen=seen[:80], advice=_ADVICE)

    def _add(self, row: Mapping[str, object]) -> None:
        self._mend()
        before = self._path.stat().st_size if self._path.exists() else 0
        body = json.dumps(row, separators=(",", ":"), sort_keys=True).encode("ascii")
        try:
            self._fs.append(self._path, b"%08x %s\n" % (zlib.crc32(body), body))
            self._fs.fsync_file(self._path)
        except OSError:
            with suppress(OSError):
                self._fs.truncate(self._path, before)
            raise

    def _mend(self) -> None:
        """Cut off a line that a death left half-written, so that the next one does not stick to it."""
        if not self._path.exists():
            return
        raw = self._path.read_bytes()
        good = sum(len(line) + 1 for line in raw.split(b"\n")[:-1])
        lines = raw[:good].splitlines(keepends=True)
        while lines and _parse(lines[-1].rstrip(b"\n")) is None:
            good -= len(lines.pop())
        if good != len(raw):
            self._fs.truncate(self._path, good)

    def _shorten(self) -> None:
        """Start over when all is done and the file has grown long."""
        if self._path.exists() and self._path.stat().st_size > _LONG and self.pending() is None:
            self._fs.truncate(self._path, 0)


def _parse(line: bytes) -> Row | None:
    check, _, body = line.partition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        row = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
