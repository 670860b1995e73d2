"""Where everything that outlives a run is kept: one directory, ours alone, outside any source tree."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import StateDirError

__all__ = ["StateDir", "open_state", "write_atomic"]


@dataclass(frozen=True)
class StateDir:
    """The paths below the state directory (``DESIGN`` of the project, "State")."""

    root: Path

    @property
    def locks(self) -> Path:
        """One lock file per app domain."""
        return self.root / "locks"

    @property
    def slots(self) -> Path:
        """One lock file per run that may be in flight at once."""
        return self.root / "slots"

    @property
    def any_slot(self) -> Path:
        """The name of the queue of those who wait for any slot; no lock of its own."""
        return self.slots / "a slot"

    @property
    def recipes(self) -> Path:
        """Bare mirrors of recipe repositories."""
        return self.root / "recipes"

    @property
    def runs(self) -> Path:
        """One directory per run. Archives and work trees go at its end (red: up to 1 GiB stays until `ccci prune`)."""
        return self.root / "runs"

    @property
    def proofs(self) -> Path:
        """One directory per proof that ``ccci prove`` made: its evidence."""
        return self.root / "proofs"

    @property
    def alerts(self) -> Path:
        """One JSON file per thing an operator must see."""
        return self.root / "alerts"

    @property
    def holds(self) -> Path:
        """One JSON file per infra app whose update is held."""
        return self.root / "holds"

    @property
    def leases(self) -> Path:
        """One JSON file per realm lease."""
        return self.root / "leases"

    @property
    def engine(self) -> Path:
        """The private engine: socket, data, exec root, pid, log."""
        return self.root / "engine"

    @property
    def images(self) -> Path:
        """What local image builds fetched."""
        return self.root / "images"

    @property
    def ca(self) -> Path:
        """The zone's certificate authority and certificates."""
        return self.root / "ca"

    def lock(self, domain: str) -> Path:
        """The lock of the app at ``domain``."""
        return self.locks / f"{domain}.lock"

    def run(self, run_id: str) -> Path:
        """The directory of one run."""
        return self.runs / run_id

    def canonical(self, recipe: str) -> Path:
        """The canonical of ``recipe``: record, snapshots, live volumes."""
        return self.root / "canonical" / recipe

    @property
    def canonicals(self) -> Path:
        """All canonicals."""
        return self.root / "canonical"

    @property
    def store_image(self) -> Path:
        """The file system of the canonicals, where ``ccci setup --store-size`` made one; mounted at the next use."""
        return self.root / "store.img"

    def infra(self, app: str) -> Path:
        """What is kept about the live-warm app ``app``."""
        return self.root / "infra" / app


def open_state(root: Path) -> StateDir:
    """Make the state directory if needed (0700), and prove that it can be written.

    A store of its own for canonicals is mounted, if there is one that is not.

    Raises:
        StateDirError: it cannot be made, written or mounted; says why and what to do.
    """
    advice = "give another one with --ccci-state-dir, or make this one writable and free some space"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if root.stat().st_uid == os.geteuid():
            root.chmod(0o700)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".probe-") as probe:
            probe.write(b"x" * 65536)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise StateDirError(
            "the state directory cannot be written", where=str(root), seen=_seen(error, root), advice=advice
        ) from error
    state = StateDir(root.resolve())
    for path in (state.locks, state.slots, state.recipes, state.runs, state.alerts, state.holds, state.leases):
        path.mkdir(exist_ok=True, mode=0o700)
    if state.store_image.exists():
        from pytest_ccci.storeimage import attach  # noqa: PLC0415  locks are heavy, and few have a store of its own

        attach(state.root)
    return state


def _seen(error: OSError, root: Path) -> str:
    seen = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{seen}: a file is in the way"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        facts = os.statvfs(root if root.exists() else root.parent)
        return f"{seen}: {facts.f_bavail * facts.f_frsize / 2**20:.1f} MiB and {facts.f_favail} files are free"
    return seen


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at ``path`` by ``data`` so that a reader, also after a power cut, sees the old or the new."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as sink:
            os.fchmod(sink.fileno(), mode)
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
