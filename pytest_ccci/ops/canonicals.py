"""What an operator does to a canonical: restore, verify, export, import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pytest_ccci.engine.deploy import undeploy
from pytest_ccci.engine.discovery import find_engine
from pytest_ccci.engine.objects import app_inventory, require_stopped
from pytest_ccci.errors import ArchiveError, CcciError, StoreDamaged, UsageError
from pytest_ccci.locks import hold
from pytest_ccci.recipe.names import canonical_domain, stack_name
from pytest_ccci.redact import SECRETS
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.archive import Head, Incoming
from pytest_ccci.store.canonical import CanonicalStore, RestoreReport
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.record import KnownGood, load_record
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = [
    "Checked",
    "Imported",
    "Restored",
    "damaged",
    "export_known_good",
    "import_known_good",
    "load_secrets",
    "locked",
    "recipes_with_canonical",
    "require_known",
    "restore",
    "verify",
    "verify_all",
]

_UNDEPLOY = 120.0
_SHOWN = 5


@dataclass(frozen=True)
class Restored:
    """What an operator's restore did: lines of what it found, the store's report, and what was lifted.

    ``earlier``: not the newest known-good is live now.
    """

    recovered: tuple[str, ...]
    undeployed: tuple[str, ...]
    report: RestoreReport
    was_quarantined: str
    earlier: bool = False


def recipes_with_canonical(state: StateDir) -> tuple[str, ...]:
    """The recipes of which something is kept."""
    if not state.canonicals.is_dir():
        return ()
    return tuple(sorted(path.name for path in state.canonicals.iterdir() if path.is_dir()))


def restore(settings: Settings, state: StateDir, recipe: str, *, release: str = "") -> Restored:
    """Put the live volumes of ``recipe`` back to its known-good, all of which is read and checked; lift a quarantine.

    With ``release`` to the kept one of that release: then they stay marked as drifted, and a quarantine stays too,
    since it says nothing of the newest.

    Raises:
        UsageError: there is no canonical of that recipe, or no known-good of that release is kept.
        LockBusy: a run uses it.
        StoreDamaged: the known-good is damaged; nothing was restored.
    """
    require_known(state, recipe)
    with locked(settings, state, recipe, "restore the known-good") as domain:
        store = CanonicalStore(state.canonical(recipe), recipe)
        recovered = store.recover()
        before, record = store.state(), store.record()
        if record is None:
            raise StoreDamaged(
                f"{recipe} has no known-good to restore",
                where=str(store.layout.root),
                advice="a green cold run of the latest release makes one",
            )
        store.secrets(release=release)  # asked for first: a release that is not kept is refused before anything stops
        engine, stack = find_engine(settings, state), stack_name(domain)
        there = tuple(sorted(app_inventory(engine, stack).things))
        if there:
            undeploy(engine, stack, volumes=True, deadline=Deadline(_UNDEPLOY))
        stopped = partial(require_stopped, engine, stack)
        report = store.restore(stopped=stopped, read_data=True, release=release)
        differences = store.verify(read_data=True, release=release)
        if differences:
            raise damaged(recipe, store, [str(one) for one in differences])
        lifted = before.quarantined if report.snapshot_id == record.snapshot_id else None
        if lifted:
            store.release_quarantine()
        return Restored(recovered, there, report, lifted or "", earlier=report.snapshot_id != record.snapshot_id)


def require_known(state: StateDir, recipe: str) -> None:
    """Refuse a recipe of which nothing is kept."""
    known = recipes_with_canonical(state)
    if recipe not in known:
        raise UsageError(
            f"there is no canonical of {recipe!r}",
            where=str(state.canonicals),
            seen=f"there are: {', '.join(known) or 'none'}",
            advice="name the recipe as its folder is named",
        )


@contextmanager
def locked(settings: Settings, state: StateDir, recipe: str, doing: str) -> Iterator[str]:
    """Hold the lock of the canonical's app; gives its domain."""
    try:
        record = load_record(state.canonical(recipe) / "canonical.json")
    except StoreDamaged:
        record = None
    domain = record.domain if record else canonical_domain(recipe, settings.zone)
    owner = {"recipe": recipe, "doing": doing}
    with hold(state.lock(domain), wait=settings.lock_wait, owner=owner):
        yield domain


def damaged(recipe: str, store: CanonicalStore, differences: list[str]) -> StoreDamaged:
    """The error that tells how a known-good differs from its manifest."""
    return StoreDamaged(
        f"the known-good of {recipe} does not match its manifest: {len(differences)} differences",
        where=str(store.layout.root),
        seen="; ".join(differences[:_SHOWN]),
        advice="ccci reseed with the recipe's folder makes a new one",
    )


@dataclass(frozen=True)
class Checked:
    """Whether a known-good is whole. ``problem`` is empty when nothing else was seen.

    ``read_data``: every content was read. ``whole_since``: when that was last so, and nothing differed. ``reached`` is
    off where the time was up before.
    """

    recipe: str
    release: str = ""
    snapshot_id: str = ""
    files: int = 0
    size: int = 0
    seconds: float = 0.0
    read_data: bool = False
    problem: str = ""
    quarantine: str = ""
    whole_since: str = ""
    reached: bool = True


def verify_all(
    settings: Settings, state: StateDir, recipes: Sequence[str], *, read_data: bool, budget: float | None
) -> tuple[Checked, ...]:
    """Verify every known-good of ``recipes``, earlier ones too.

    With a ``budget`` of seconds contents are read, of what was read longest ago first: at least of one known-good, and
    of no further one when the time is up.

    Raises:
        UsageError: there is no canonical of one of them.
        LockBusy: a run uses one.
    """
    deadline = None if budget is None else Deadline(budget)
    found: list[Checked] = []
    for _last, recipe, release, whole in sorted(row for name in recipes for row in _due(state, name)):
        if deadline is not None and deadline.passed and found:
            found.append(Checked(recipe, release, reached=False, whole_since=whole))
            continue
        read = read_data or deadline is not None
        found.append(verify(settings, state, recipe, release=release, read_data=read))
    return tuple(sorted(found, key=lambda one: recipes.index(one.recipe)))


def verify(settings: Settings, state: StateDir, recipe: str, *, read_data: bool, release: str = "") -> Checked:
    """Compare the known-good of ``recipe`` (or the kept one of ``release``) with its manifest, under the app's lock.

    Nothing of what is kept changes.

    Raises:
        UsageError: there is no canonical of that recipe.
        LockBusy: a run uses it.
    """
    require_known(state, recipe)
    watch = Stopwatch()
    with locked(settings, state, recipe, "verify the known-good"):
        store = CanonicalStore(state.canonical(recipe), recipe)
        checked = Checked(recipe, release, read_data=read_data)
        try:
            checked = _compared(store, checked)
        except CcciError as error:
            checked = replace(checked, problem=str(error))
        return replace(checked, seconds=watch.seconds, quarantine=store.state().quarantined or "")


def _compared(store: CanonicalStore, checked: Checked) -> Checked:
    record = store.record()
    if record is None:
        return replace(checked, problem="there is no known-good")
    good: KnownGood = next((one for one in record.all_goods if one.release == checked.release), record)
    seen = replace(checked, release=good.release, snapshot_id=good.snapshot_id, files=good.files, size=good.size)
    if seen.read_data:
        found = store.read_whole(release=good.release)
    else:
        found = store.verify(read_data=False, release=good.release)
    seen = replace(seen, whole_since=store.last_read(release=good.release).whole)
    problem = str(damaged(seen.recipe, store, [str(one) for one in found])) if found else ""
    return replace(seen, problem=problem)


def _due(state: StateDir, recipe: str) -> Iterator[tuple[str, str, str, str]]:
    """When each known-good of a recipe was last read, recipe, release, and when all of it was; never comes first."""
    require_known(state, recipe)
    store = CanonicalStore(state.canonical(recipe), recipe)
    try:
        record = store.record()
    except StoreDamaged:
        record = None
    if record is None:
        yield "", recipe, "", ""
    for good in record.all_goods if record else ():
        read = store.last_read(release=good.release)
        yield read.last, recipe, good.release, read.whole


@dataclass(frozen=True)
class Imported:
    """What an import did. ``replaced`` is the release that was known-good before, ``quarantine`` what still holds."""

    head: Head
    replaced: str
    quarantine: str


def export_known_good(
    settings: Settings, state: StateDir, recipe: str, file: Path, *, release: str, passphrase: str
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
    with locked(settings, state, recipe, "export the known-good"):
        store = CanonicalStore(state.canonical(recipe), recipe)
        if store.record() is None:
            raise UsageError(f"{recipe} has no known-good to export", where=str(store.layout.root))
        return store.export(file, release=release, passphrase=passphrase)


def import_known_good(
    settings: Settings, state: StateDir, source: Incoming, *, secrets: Mapping[str, str], replace: bool
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
    with locked(settings, state, head.recipe, "import a known-good"), _no_trace(state, head.recipe):
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
        kept.receive(source, secrets=secrets)
        return Imported(head, now.record.release if now.record else "", now.quarantined or "")


def _require_secrets(names: Iterable[str], secrets: Mapping[str, str]) -> None:
    if missing := sorted(set(names) ^ set(secrets)):
        raise ArchiveError(
            f"without its secrets a known-good cannot be brought up: {', '.join(missing)} missing or too much",
            advice="export it --with-secrets, or give them with --secrets FILE (JSON, values by name)",
        )


def load_secrets(path: Path) -> dict[str, str]:
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
    SECRETS.learn(*raw.values())
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
