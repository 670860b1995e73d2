"""When we last used each image, and whether it came by us: what the least recently used one is told by."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from pytest_ccci.engine.images import ImageFact
from pytest_ccci.errors import StateDamaged
from pytest_ccci.run.run_dir import now_text
from pytest_ccci.statedir import StateDir, load_state, write_atomic

__all__ = ["ImageNote", "image_notes", "load_image_note", "note_used", "noted_digests"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageNote:
    """An image that a run or a live-warm app used.

    ``ours``: it was pulled or built by us, and was not there before. ``digest``: by which its registry knew it.
    """

    image_id: str
    refs: tuple[str, ...]
    engine: str
    used: str
    ours: bool
    digest: str = ""


def note_used(state: StateDir, engine_id: str, facts: Iterable[ImageFact]) -> None:
    """Note that these images are used now. What cannot be noted is not removed later, so that nothing is raised."""
    for fact in facts:
        path = _note(state, fact.image_id)
        try:
            before = load_image_note(path)
        except StateDamaged:
            before = None
        same = before if before is not None and before.engine == engine_id else None
        refs = tuple(sorted({fact.ref, *(same.refs if same else ())}))
        ours = fact.origin != "present" or (same is not None and same.ours)
        note = ImageNote(fact.image_id, refs, engine_id, now_text(), ours, fact.digest or (same.digest if same else ""))
        try:
            write_atomic(path, json.dumps(asdict(note)).encode(), durable=False)
        except OSError as error:
            _LOG.debug(f"the use of {fact.ref} is not noted: {error}")


def noted_digests(state: StateDir, images: Mapping[str, str]) -> dict[str, str]:
    """The digests of ``images`` (ids by reference), by reference, as far as they are noted."""
    found = {}
    for ref, image_id in images.items():
        try:
            note = load_image_note(_note(state, image_id))
        except StateDamaged:
            continue
        if note is not None and note.image_id == image_id and note.digest:
            found[ref] = note.digest
    return found


def _note(state: StateDir, image_id: str) -> Path:
    return state.image_notes / f"{image_id.removeprefix('sha256:')[:32]}.json"


def load_image_note(path: Path) -> ImageNote | None:
    """The note in ``path``; ``None`` where there is none.

    Raises:
        StateDamaged: it cannot be used.
    """
    return load_state(path, ImageNote, advice="remove it: that image is then left alone", check=_check)


def _check(note: ImageNote) -> None:
    if datetime.fromisoformat(note.used).tzinfo is None:
        raise ValueError(f"{note.used} names no zone")


def image_notes(state: StateDir, engine_id: str) -> tuple[tuple[Path, ImageNote], ...]:
    """The notes of images on that engine, with their files; those that cannot be read are left out."""
    found = []
    for path in sorted(state.image_notes.glob("*.json")):
        try:
            note = load_image_note(path)
        except StateDamaged:
            continue
        if note is not None and note.engine == engine_id:
            found.append((path, note))
    return tuple(found)
