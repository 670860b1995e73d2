"""Where everything that outlives a run is kept: one directory, ours alone, outside any source tree."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pytest_ccci.errors import StateDamaged, StateDirError

__all__ = [
    "KEPT",
    "FileSystem",
    "StateDir",
    "check_mount",
    "device_of",
    "file_system_of",
    "is_kept",
    "load_mount",
    "load_state",
    "note_mount",
    "open_state",
    "parse_state",
    "write_atomic",
]

T = TypeVar("T")


KEPT = ".kept"
"""How a file ends, beside an app's lock, that says: its run is over, and the app stays for somebody to look at."""


def is_kept(lock: Path) -> bool:
    """Whether the app whose lock file this is stays deployed although nobody holds it."""
    return lock.with_suffix(KEPT).exists()


@dataclass(frozen=True)
class StateDir:
    """The paths below the state directory."""

    root: Path

    def names(self) -> frozenset[str]:
        """What we keep directly in it, by name."""
        places = (getattr(self, name) for name, kind in vars(type(self)).items() if isinstance(kind, property))
        return frozenset({"infra", *(place.relative_to(self.root).parts[0] for place in places)})

    @property
    def locks(self) -> Path:
        """One lock file per app domain, and beside it what says that a red app is kept for a look."""
        return self.root / "locks"

    def kept(self, domain: str) -> Path:
        """Says that the app at ``domain`` stays deployed for somebody to look at; beside its lock file."""
        return self.locks / f"{domain}{KEPT}"

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
    def index(self) -> Path:
        """The index of all runs, made from their results: what pages and ``ccci report`` ask."""
        return self.runs / "index.sqlite"

    @property
    def history(self) -> Path:
        """One line per run that was pruned: what the index knows of it."""
        return self.runs / "history.jsonl"

    @property
    def pages(self) -> Path:
        """Pages to look at: ``index.html`` of the machine, a folder per recipe. A run's own is beside its result."""
        return self.root / "pages"

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
    def engines(self) -> Path:
        """What was found out of each engine by trying, one JSON file per engine, version and kernel."""
        return self.root / "engines"

    @property
    def images(self) -> Path:
        """What local image builds fetched."""
        return self.root / "images"

    @property
    def image_notes(self) -> Path:
        """When each image was used last, and whether it came by us: `ccci prune` removes no others."""
        return self.root / "image-notes"

    @property
    def disk_told(self) -> Path:
        """When an operator was told of each file system on which too little is free."""
        return self.root / "disk.json"

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
    def sweeps(self) -> Path:
        """One directory per sweep: its record and what its runs printed."""
        return self.root / "sweeps"

    @property
    def sweep_lock(self) -> Path:
        """Held by the sweep that is going on."""
        return self.sweeps / "sweep.lock"

    def swept(self, recipe: str) -> Path:
        """How the last test of ``recipe`` by a sweep ended, and its last green one."""
        return self.sweeps / "recipes" / f"{recipe}.json"

    @property
    def trigger(self) -> Path:
        """What ``ccci trigger`` keeps: each command ever given, how far the forge was polled, what runs printed."""
        return self.root / "trigger"

    @property
    def commands(self) -> Path:
        """One JSON file per command that was given in a comment: what became of it, and what of that was delivered."""
        return self.trigger / "commands"

    @property
    def polled(self) -> Path:
        """How far the forge was polled."""
        return self.trigger / "polled.json"

    @property
    def trigger_lock(self) -> Path:
        """Held by the ``ccci trigger serve`` that is at work."""
        return self.trigger / "trigger.lock"

    @property
    def mount_marker(self) -> Path:
        """Which file system was mounted at ``canonical/`` when it was last written to: it is not used without."""
        return self.root / "canonical-mount.json"

    def infra(self, app: str) -> Path:
        """What is kept about the live-warm app ``app``."""
        return self.root / "infra" / app


def open_state(root: Path) -> StateDir:
    """Make the state directory if needed (0700), and prove that it can be written.

    Raises:
        StateDirError: it cannot be made or written, or the file system of the canonicals is not mounted.
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
    kept = (state.locks, state.slots, state.recipes, state.runs, state.pages, state.alerts, state.holds, state.leases)
    for path in kept:
        path.mkdir(exist_ok=True, mode=0o700)
    check_mount(state)
    return state


def _seen(error: OSError, root: Path) -> str:
    seen = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{seen}: a file is in the way"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        facts = os.statvfs(root if root.exists() else root.parent)
        return f"{seen}: {facts.f_bavail * facts.f_frsize / 2**20:.1f} MiB and {facts.f_favail} files are free"
    return seen


@dataclass(frozen=True)
class FileSystem:
    """A mounted file system: its kind (``xfs``), what is mounted (a device or a file), and its UUID or ``f_fsid``."""

    kind: str
    source: str
    id: str = ""


def device_of(path: Path) -> int | None:
    """The number of the device that ``path`` is on; ``None`` where there is nothing."""
    try:
        return path.stat().st_dev
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_mount(state: StateDir, *, device: Callable[[Path], int | None] = device_of) -> None:
    """Refuse an empty mount point: there ``canonical/`` looks as if nothing were kept, and what is written is lost.

    Raises:
        StateDirError: the marker says that a file system is mounted at ``canonical/``, and none is.
    """
    place, marker = state.canonicals, state.mount_marker
    if not marker.exists() or device(place) not in {None, device(state.root)}:
        return
    was = FileSystem("a file system", "/dev/DEVICE")
    with suppress(StateDamaged):  # that the marker is there says enough
        was = load_mount(marker) or was
    option = "" if was.source.startswith("/dev/") else "-o loop "
    raise StateDirError(
        "the file system of the canonicals is not mounted, so none of them can be seen or used",
        where=str(place),
        seen=f"it was {was.kind} of {was.source} {was.id}".rstrip(),
        advice=f"mount {option}{shlex.quote(was.source)} {shlex.quote(str(place))} (a line in /etc/fstab does so at "
        f"each start); or, where it was given up for good, rm {shlex.quote(str(marker))}",
    )


def note_mount(state: StateDir, *, device: Callable[[Path], int | None] = device_of) -> None:
    """Mark in the state directory that a file system of its own is mounted at ``canonical/``, if one is."""
    here = device(state.canonicals)
    if here is None or here == device(state.root):
        return
    place = state.canonicals.resolve()
    found = asdict(file_system_of(place, Path("/proc/self/mountinfo").read_text("utf-8", "replace")))
    backing = Path(f"/sys/dev/block/{os.major(here)}:{os.minor(here)}/loop/backing_file")
    if backing.is_file():
        found["source"] = backing.read_text("utf-8", "replace").strip()
    found["id"] = _uuid(here) or f"{os.statvfs(place).f_fsid:x}"
    data = json.dumps(found, indent=1).encode()
    if not state.mount_marker.exists() or state.mount_marker.read_bytes() != data:
        write_atomic(state.mount_marker, data)


def load_mount(marker: Path) -> FileSystem | None:
    """What the marker of a mount says; ``None`` where there is none.

    Raises:
        StateDamaged: it cannot be read.
    """
    advice = "mount the file system of the canonicals and remove this file: the next write makes it anew"
    return load_state(marker, FileSystem, advice=advice)


def file_system_of(path: Path, table: str) -> FileSystem:
    """The file system that ``path`` is on, by ``table`` of proc(5) mountinfo; the last one mounted there counts."""
    best, found = "", FileSystem("", "")
    for row in table.splitlines():
        head, _, rest = row.partition(" - ")
        place, (kind, source) = _plain(head.split()[4]), rest.split()[:2]
        if len(place) >= len(best) and path.is_relative_to(place):
            best, found = place, FileSystem(kind, _plain(source))
    return found


def _plain(text: str) -> str:
    """A word of mountinfo, its octal escapes of spaces and the like resolved."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _uuid(device: int) -> str:
    """The UUID that udev knows for a block device; empty where it knows none."""
    for link in Path("/dev/disk/by-uuid").glob("*"):
        if link.exists() and link.stat().st_rdev == device:
            return link.name
    return ""


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


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file at ``path`` by ``data`` so that a reader, also after a power cut, sees the old or the new.

    Not ``durable`` is for what can be made again: it does not wait for the disk, and a power cut may damage it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as sink:
            os.fchmod(sink.fileno(), mode)
            sink.write(data)
            sink.flush()
            if durable:
                os.fsync(sink.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
