"""Every kind of file in the state directory that decides something, with its reader: a new one is added here.

``ccci status`` and ``ccci doctor`` show what is damaged; the tests damage each in every way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.engine.vip_probe import load_probe
from pytest_ccci.errors import CcciError
from pytest_ccci.ops.disk import load_told
from pytest_ccci.ops.sweep_record import load_sweep, load_swept
from pytest_ccci.ops.trigger.store import load_command, load_polled
from pytest_ccci.results.index import load_history, load_index
from pytest_ccci.results.write import load_result
from pytest_ccci.run.image_notes import load_image_note
from pytest_ccci.run.kept_apps import load_kept
from pytest_ccci.run.run_dir import load_owned
from pytest_ccci.statedir import StateDir, load_mount
from pytest_ccci.store.canonical import load_notes
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.journal import Journal
from pytest_ccci.store.record import load_record
from pytest_ccci.warm.alerts import load_alert, load_hold
from pytest_ccci.warm.infra_recipe import known_secrets, last_good
from pytest_ccci.warm.keycloak_marker import load_marker
from pytest_ccci.warm.realms import load_lease
from pytest_ccci.warm.reconcile import last_outcome
from pytest_ccci.warm.update import in_progress, stuck, tried

__all__ = ["READERS", "Reader", "damaged_files"]


@dataclass(frozen=True)
class Reader:
    """One kind of file: where such files are, below the state directory, and what reads one.

    ``read`` returns, or raises a ``CcciError`` that names the file and the way out.
    """

    pattern: str
    read: Callable[[StateDir, Path], object]


def _infra(read: Callable[[StateDir, str], object]) -> Callable[[StateDir, Path], object]:
    return lambda state, path: read(state, path.parent.name)


READERS = (
    Reader("canonical-mount.json", lambda _state, path: load_mount(path)),
    Reader("infra/*/last_good.json", _infra(last_good)),
    Reader("infra/*/tried.json", _infra(tried)),
    Reader("infra/*/stuck.json", _infra(stuck)),
    Reader("infra/*/outcome.json", _infra(last_outcome)),
    Reader("infra/*/secrets.json", _infra(known_secrets)),
    Reader("infra/*/marker.json", _infra(load_marker)),
    Reader("infra/*/update.jsonl", _infra(in_progress)),
    Reader("infra/*/store/journal.jsonl", lambda _state, path: Journal(path, fs=Fs()).pending()),
    Reader("infra/*/store/canonical.json", lambda _state, path: load_record(path)),
    Reader("infra/*/store/verified.json", lambda _state, path: load_notes(path)),
    Reader("locks/*.kept", lambda _state, path: load_kept(path)),
    Reader("canonical/*/journal.jsonl", lambda _state, path: Journal(path, fs=Fs()).pending()),
    Reader("canonical/*/canonical.json", lambda _state, path: load_record(path)),
    Reader("canonical/*/verified.json", lambda _state, path: load_notes(path)),
    Reader("holds/*.json", lambda state, path: load_hold(state, path.stem)),
    Reader("alerts/*.json", lambda _state, path: load_alert(path)),
    Reader("leases/*.json", lambda _state, path: load_lease(path)),
    Reader("sweeps/*/sweep.json", lambda _state, path: load_sweep(path)),
    Reader("sweeps/recipes/*.json", lambda _state, path: load_swept(path)),
    Reader("trigger/commands/*.json", lambda _state, path: load_command(path)),
    Reader("trigger/polled.json", lambda _state, path: load_polled(path)),
    Reader("engines/vip-*.json", lambda _state, path: load_probe(path)),
    Reader("disk.json", lambda _state, path: load_told(path)),
    Reader("image-notes/*.json", lambda _state, path: load_image_note(path)),
    Reader("runs/index.sqlite", lambda _state, path: load_index(path)),
    Reader("runs/history.jsonl", lambda _state, path: load_history(path)),
    Reader("runs/*/owned.json", lambda _state, path: load_owned(path)),
    Reader("runs/*/results.json", lambda _state, path: load_result(path)),
)


def damaged_files(state: StateDir) -> Iterator[CcciError]:
    """What cannot be used of what is kept. Reads only."""
    for reader in READERS:
        for path in sorted(state.root.glob(reader.pattern)):
            try:
                reader.read(state, path)
            except CcciError as error:
                yield error
