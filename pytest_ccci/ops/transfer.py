"""A known-good as one file: out of this machine, and into another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import ArchiveError, UsageError
from pytest_ccci.locks import Tell
from pytest_ccci.ops.upkeep import locked, require_known
from pytest_ccci.recipe.names import canonical_domain
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.archive import Head
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.unpacking import Incoming

__all__ = ["Imported", "export_known_good", "import_known_good", "read_secrets"]


@dataclass(frozen=True)
class Imported:
    """What an import did. ``replaced`` is the release that was known-good before, ``quarantine`` what still holds."""

    head: Head
    replaced: str
    quarantine: str


def export_known_good(
    settings: Settings, state: StateDir, recipe: str, file: Path, *, release: str, passphrase: str, tell: Tell
) -> Head:
    """Write the known-good of ``recipe``, or the kept one of ``release``, as ``file``, which must not exist yet.

    Raises:
        UsageError: there is no such known-good, or the file is there.
        StoreDamaged: the known-good is damaged; nothing was written.
    """
    require_known(state, recipe)
    if file.exists():
        raise UsageError("that file is there already", where=str(file), advice="give another name, or remove it")
    if not file.parent.is_dir():
        raise UsageError("there is no such folder", where=str(file.parent))
    with locked(settings, state, recipe, "export the known-good", tell):
        store = CanonicalStore(state.canonical(recipe), recipe)
        if store.record() is None:
            raise UsageError(f"{recipe} has no known-good to export", where=str(store.layout.root))
        return store.export(file, release=release, passphrase=passphrase, tell=tell)


def import_known_good(
    settings: Settings,
    state: StateDir,
    source: Incoming,
    *,
    secrets: Mapping[str, str],
    replace: bool,
    tell: Tell,
) -> Imported:
    """Make what is in ``source`` the known-good of its recipe; one that is there gives way only to ``replace``.

    Raises:
        UsageError: there is a known-good, or the zone is another.
        ArchiveError: the file is damaged, incomplete, or none; nothing was changed.
    """
    head = source.head
    domain = canonical_domain(head.recipe, settings.zone)
    if domain != head.domain:
        raise UsageError(
            f"this known-good belongs to {head.domain}; here it would be {domain}, which its data does not know",
            advice="import it on a machine of the same zone, or with that --ccci-zone",
        )
    _require_secrets(head.secret_names, secrets)
    with locked(settings, state, head.recipe, "import a known-good", tell), _no_trace(state, head.recipe):
        folder = state.canonical(head.recipe)
        store = CanonicalStore(folder, head.recipe)
        store.recover()
        now = store.state()
        if (now.record or now.quarantined) and not replace:
            what = now.record.release if now.record else "quarantined"
            raise UsageError(
                f"{head.recipe} has a known-good already ({what})",
                where=str(folder),
                advice="--replace puts this one in its place; `ccci export` keeps the old one as a file first",
            )
        # As many as are kept now: an import takes the first place as a promotion does, and drops no more than one.
        kept = CanonicalStore(folder, head.recipe, keep=1 + len(now.earlier))
        kept.receive(source, secrets=secrets, tell=tell)
        return Imported(head, now.record.release if now.record else "", now.quarantined or "")


def _require_secrets(names: Iterable[str], secrets: Mapping[str, str]) -> None:
    if missing := sorted(set(names) ^ set(secrets)):
        raise ArchiveError(
            f"without its secrets a known-good cannot be brought up: {', '.join(missing)} missing or too much",
            advice="export it --with-secrets, or give them with --secrets FILE (JSON, values by name)",
        )


def read_secrets(path: Path) -> dict[str, str]:
    """Secrets by name, from a JSON file.

    Raises:
        UsageError: it is none.
    """
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError("the secrets cannot be read", where=str(path), seen=str(error)) from error
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise UsageError("the secrets are no JSON object of texts by name", where=str(path))
    return raw


@contextmanager
def _no_trace(state: StateDir, recipe: str) -> Iterator[None]:
    """Where nothing was kept before, a refused import leaves nothing."""
    folder = state.canonical(recipe)
    fresh = not folder.exists()
    try:
        yield
    except BaseException:
        if fresh:
            Fs().rmtree(folder)
        raise
