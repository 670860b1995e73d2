"""Small files whose presence says something: drift, quarantine. Written so that they are whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_ccci.store.files import Fs

__all__ = ["Mark", "write_durably"]


def write_durably(fs: Fs, path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at ``path``: after a death at any point, a reader sees the old or the new, whole."""
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        fs.unlink(fresh)
    fs.write_file(fresh, data, mode=mode)
    fs.fsync_file(fresh)
    fs.rename(fresh, path)
    fs.fsync_dir(path.parent)


class Mark:
    """A fact that holds as long as its file is there, whatever the file says (one that cannot be read counts)."""

    def __init__(self, path: Path, *, fs: Fs) -> None:
        self._path = path
        self._fs = fs

    def set(self, **facts: str) -> None:
        """Mark, durably."""
        write_durably(self._fs, self._path, json.dumps(facts, indent=1).encode("ascii") + b"\n")

    def clear(self) -> None:
        """Take the mark away, durably. No mark is fine."""
        if self._path.exists():
            self._fs.unlink(self._path)
            self._fs.fsync_dir(self._path.parent)

    def read(self) -> Mapping[str, str] | None:
        """The mark's facts; None where there is no mark."""
        try:
            facts = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return {"why": f"the mark itself cannot be read ({error})"}
        if not isinstance(facts, dict):
            return {"why": "the mark itself is damaged"}
        return {str(key): str(value) for key, value in facts.items()}
