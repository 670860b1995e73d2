"""The one record that says which snapshot is the known-good, and the marks beside it (drift, quarantine)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.redact import SECRETS
from pytest_ccci.store.fs import Fs

__all__ = [
    "CanonicalRecord",
    "Facts",
    "KnownGood",
    "Mark",
    "load_record",
    "parse_record",
    "render_record",
    "with_sum",
    "without_sum",
    "write_durably",
]


class Facts(BaseModel):
    """How a known-good came to be and what is in it, wherever it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    release: str
    commit: str
    domain: str
    run_id: str
    since: str = Field(description="when it was promoted, ISO 8601 with zone")
    volumes: tuple[str, ...] = Field(strict=False)
    manifest_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: int
    size: int
    images: Mapping[str, str] = Field(default_factory=dict)
    app_version: str = ""


class KnownGood(Facts):
    """Everything a canonical can be returned to, and how it came to be."""

    snapshot_id: str
    complete_digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class CanonicalRecord(KnownGood):
    """The known-good of a recipe, and earlier ones that are kept on purpose, newest first."""

    schema_version: Literal[1] = 1
    recipe: str
    earlier: tuple[KnownGood, ...] = Field(default=(), strict=False)

    @property
    def all_goods(self) -> tuple[KnownGood, ...]:
        """The known-good and the earlier ones, newest first."""
        return (self, *self.earlier)

    def as_known_good(self) -> KnownGood:
        """This one without what belongs to the record as a whole."""
        return KnownGood.model_validate(self.model_dump(include=set(KnownGood.model_fields)))


def render_record(record: CanonicalRecord) -> bytes:
    """The record as it is written."""
    return with_sum("record", record)


def with_sum(name: str, what: BaseModel) -> bytes:
    """``what`` as JSON under ``name``, with a check sum over it."""
    content = what.model_dump(mode="json")
    return json.dumps({"sha256": _sum(content), name: content}, indent=1, sort_keys=True).encode("ascii") + b"\n"


def without_sum(name: str, raw: bytes) -> dict[str, object]:
    """What :func:`with_sum` wrote.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it is something else, or its check sum does not match.
    """
    outer = json.loads(raw)
    if outer["sha256"] != _sum(outer[name]):
        raise ValueError("its check sum does not match")
    return dict(outer[name])


def parse_record(raw: bytes, *, where: str) -> CanonicalRecord:
    """The record in ``raw``.

    Raises:
        StoreDamaged: it is not whole, was changed, or is of a version we do not know.
    """
    try:
        return CanonicalRecord.model_validate(without_sum("record", raw))
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        raise StoreDamaged(
            "the record of the known-good cannot be used",
            where=where,
            seen=str(error)[:300],
            advice="the snapshots are untouched; `ccci reseed` makes a new known-good",
        ) from error


def load_record(path: Path) -> CanonicalRecord | None:
    """The record on disk, or None where none was ever written.

    Raises:
        StoreDamaged: there is one that cannot be used.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreDamaged(
            "the record of the known-good cannot be read",
            where=str(path),
            seen=str(error.strerror),
            advice="put canonical.json back; the snapshots are untouched, and `ccci reseed` makes a new known-good",
        ) from error
    return parse_record(raw, where=str(path))


def _sum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")).hexdigest()


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
        write_durably(self._fs, self._path, json.dumps(SECRETS.scrub_all(facts), indent=1).encode("ascii") + b"\n")

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
        except (OSError, ValueError, RecursionError) as error:
            return {"why": f"the mark itself cannot be read ({error})"}
        if not isinstance(facts, dict):
            return {"why": "the mark itself is damaged"}
        return {str(key): str(value) for key, value in facts.items()}
