"""The one record that says which snapshot is the known-good, parsed strictly and check-summed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_ccci.errors import StoreDamaged

__all__ = ["CanonicalRecord", "KnownGood", "parse_record", "read_record", "render_record"]


class KnownGood(BaseModel):
    """Everything a canonical can be returned to, and how it came to be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    release: str
    commit: str
    domain: str
    run_id: str
    since: str = Field(description="when it was promoted, ISO 8601 with zone")
    snapshot_id: str
    volumes: tuple[str, ...] = Field(strict=False)
    manifest_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    complete_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    files: int
    size: int
    images: Mapping[str, str] = Field(default_factory=dict)
    app_version: str = ""


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
    """The record as it is written: its content with a check sum over it."""
    content = record.model_dump(mode="json")
    return json.dumps({"sha256": _sum(content), "record": content}, indent=1, sort_keys=True).encode("ascii") + b"\n"


def parse_record(raw: bytes, *, where: str) -> CanonicalRecord:
    """The record in ``raw``.

    Raises:
        StoreDamaged: it is not whole, was changed, or is of a version we do not know.
    """
    try:
        outer = json.loads(raw)
        _same_sum(outer)
        return CanonicalRecord.model_validate(outer["record"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise StoreDamaged(
            "the record of the known-good cannot be used",
            where=where,
            seen=str(error)[:300],
            advice="the snapshots are untouched; `ccci reseed` makes a new known-good",
        ) from error


def read_record(path: Path) -> CanonicalRecord | None:
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
            "the record of the known-good cannot be read", where=str(path), seen=str(error.strerror)
        ) from error
    return parse_record(raw, where=str(path))


def _same_sum(outer: Mapping[str, object]) -> None:
    if outer["sha256"] != _sum(outer["record"]):
        raise ValueError("its check sum does not match")


def _sum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")).hexdigest()
