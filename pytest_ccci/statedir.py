"""Where everything that outlives a run is kept: one directory, ours alone, outside any source tree."""

from __future__ import annotations

import errno
import functools
import os
import tempfile
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pytest_ccci.errors import StateDamaged, StateDirError

__all__ = ["StateDir", "load_state", "open_state", "parse_state", "write_atomic"]

T = TypeVar("T")


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


def load_state(
    path: Path, kind: type[T], *, advice: str, check: Callable[[T], object] = lambda _value: None
) -> T | None:
    """The value that the JSON file at ``path`` holds; ``None`` where there is no file.

    Args:
        path: the file.
        kind: what it holds, in full: a dataclass, a mapping, a list. Keys that are not known are left out.
        advice: the way out for an operator whose file is damaged.
        check: raises ``ValueError`` for a value that is of that kind and cannot be used all the same.

    Raises:
        StateDamaged: it cannot be read, or holds something else.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        seen = error.strerror or str(error)
        raise StateDamaged("a state file cannot be read", where=str(path), seen=seen, advice=advice) from error
    return parse_state(raw, kind, where=str(path), advice=advice, check=check)


def parse_state(
    raw: bytes, kind: type[T], *, where: str, advice: str, check: Callable[[T], object] = lambda _value: None
) -> T:
    """The same for what was read already."""
    from pydantic import ValidationError  # noqa: PLC0415  heavy, and only needed once a recipe is collected

    try:
        value: T = _adapter(cast(Hashable, kind)).validate_json(raw, strict=True)
        check(value)
    except ValidationError as error:
        # Never the value itself: it may be a secret.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        seen = ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)
        raise StateDamaged("a state file is damaged", where=where, seen=seen[:300], advice=advice) from None
    except ValueError as error:
        raise StateDamaged("a state file is damaged", where=where, seen=str(error)[:300], advice=advice) from error
    return value


@functools.lru_cache
def _adapter(kind: Hashable) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415  see parse_state

    return TypeAdapter(cast(Any, kind))


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
