"""Are the known-goods whole? All of them, or as far as a time budget goes: what was read longest ago comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_ccci.errors import CcciError, StoreDamaged
from pytest_ccci.locks import Tell
from pytest_ccci.ops.upkeep import damaged, locked, require_known
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.record import KnownGood
from pytest_ccci.waiting import Deadline, Stopwatch

__all__ = ["Checked", "verify", "verify_all"]


@dataclass(frozen=True)
class Checked:
    """Whether a known-good is whole. ``problem`` is empty when nothing else was seen.

    ``read_files`` and ``read_size`` are what was read of contents; ``complete`` when that was every one, and
    ``whole_since`` when the last round over all of them ended. ``reached`` is off where the time was up before.
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
    read_files: int = 0
    read_size: int = 0
    complete: bool = False
    whole_since: str = ""
    reached: bool = True


def verify_all(
    settings: Settings, state: StateDir, recipes: Sequence[str], *, read_data: bool, budget: float | None, tell: Tell
) -> tuple[Checked, ...]:
    """Verify every known-good of ``recipes``, earlier ones too; with a ``budget`` contents for that many seconds.

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
        done = verify(settings, state, recipe, release=release, read_data=read_data, deadline=deadline, tell=tell)
        found.append(done)
    return tuple(sorted(found, key=lambda one: recipes.index(one.recipe)))


def verify(
    settings: Settings,
    state: StateDir,
    recipe: str,
    *,
    read_data: bool,
    tell: Tell,
    release: str = "",
    deadline: Deadline | None = None,
) -> Checked:
    """Compare the known-good of ``recipe`` (or the kept one of ``release``) with its manifest, under the app's lock.

    With a ``deadline`` contents are read until then, from where the last time ended. Nothing of what is kept changes.

    Raises:
        UsageError: there is no canonical of that recipe.
        LockBusy: a run uses it.
    """
    require_known(state, recipe)
    watch = Stopwatch()
    with locked(settings, state, recipe, "verify the known-good", tell):
        store = CanonicalStore(state.canonical(recipe), recipe)
        checked = Checked(recipe, release, read_data=read_data or deadline is not None)
        try:
            checked = _looked(store, checked, deadline)
        except CcciError as error:
            checked = replace(checked, problem=str(error))
        return replace(checked, seconds=watch.seconds, quarantine=store.state().quarantined or "")


def _looked(store: CanonicalStore, checked: Checked, deadline: Deadline | None) -> Checked:
    record = store.record()
    if record is None:
        return replace(checked, problem="there is no known-good")
    good: KnownGood = next((one for one in record.all_goods if one.release == checked.release), record)
    seen = replace(checked, release=good.release, snapshot_id=good.snapshot_id, files=good.files, size=good.size)
    if not seen.read_data:
        found = store.verify(read_data=False, release=good.release)
        seen = replace(seen, whole_since=store.last_read(release=good.release).whole)
    else:
        reading = store.read_some(deadline=deadline, release=good.release)
        found = reading.differences
        seen = replace(
            seen,
            read_files=reading.files,
            read_size=reading.size,
            complete=reading.complete,
            whole_since=reading.position.whole,
        )
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
