"""How xdist's workers tell the controller about their runs: one file of lines each, followed by a thread.

A file and not xdist's channel, because it is still there when a worker was killed, and when nobody reads the channel
any more (after Ctrl-C) but a run is still settling.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Follower", "Sender"]

_EVERY = 0.2


class Sender:
    """A worker's end."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}.jsonl"
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        """Append one event."""
        with self._lock, self._path.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(event) + "\n")


class Follower:
    """The controller's end: hands every event on, from a thread of its own until ``stop``."""

    def __init__(self, take: Callable[[dict[str, Any]], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ccci-relay-"))
        self._take = take
        self._read: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ccci-relay", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Hand on everything that has been written so far."""
        with self._lock:
            for path in sorted(self.folder.glob("*.jsonl")):
                for event in self._news(path):
                    self._take(event)

    def stop(self) -> None:
        """Hand on the rest and end. The folder goes too."""
        self._stop.set()
        self._thread.join()
        self.drain()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _follow(self) -> None:
        while not self._stop.wait(_EVERY):
            self.drain()

    def _news(self, path: Path) -> list[dict[str, Any]]:
        start = self._read.get(path, 0)
        with path.open("rb") as source:
            source.seek(start)
            whole, newline, _ = source.read().rpartition(b"\n")
        self._read[path] = start + len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]
