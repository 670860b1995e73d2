"""A store of its own for canonicals: XFS in a sparse file, mounted where they are kept. Optional; needs root.

A mount does not outlive a reboot, the file does. So whoever opens the state directory mounts it again, and whoever
opens a canonical finds it mounted or is refused: what is written into an empty mount point would be lost from sight.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

from pytest_ccci import process
from pytest_ccci.errors import DiskFull, InfrastructureFault, ProgramFailed, StateDirError, UsageError
from pytest_ccci.locks import Tell, hold

__all__ = ["SMALLEST", "attach", "create", "image_of", "is_mounted", "parse_size", "require_mounted"]

SMALLEST = 320 << 20
"""What mkfs.xfs accepts, rounded up."""
_NAME = "store.img"
_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MARGIN = 1 << 30
_PROGRAM = 300.0


def image_of(root: Path) -> Path:
    """The file that holds the store of the state directory ``root``, where there is one."""
    return root / _NAME


def is_mounted(canonicals: Path) -> bool:
    """Whether a file system is mounted where canonicals are kept."""
    return os.path.ismount(canonicals)


def require_mounted(canonicals: Path) -> None:
    """Refuse a mount point that nothing is mounted on.

    Raises:
        StateDirError: there is a store, and it is not mounted.
    """
    if image_of(canonicals.parent).exists() and not is_mounted(canonicals):
        raise _not_mounted(canonicals, "")


def attach(root: Path) -> None:
    """Mount the store of a state directory, if it has one and it is not mounted (after a reboot it is not).

    Raises:
        StateDirError: it cannot be mounted.
    """
    canonicals = root / "canonical"
    if not image_of(root).exists() or is_mounted(canonicals):
        return
    if os.geteuid() != 0:
        raise _not_mounted(canonicals, "only root can mount it")
    with hold(root / "locks" / "store.lock", wait=_PROGRAM, owner={"doing": "mount the store"}):
        if is_mounted(canonicals):
            return
        try:
            _mount(root, canonicals)
        except ProgramFailed as error:
            raise _not_mounted(canonicals, error.tail) from error


def create(root: Path, size: int, *, tell: Tell) -> bool:
    """Make a store of ``size`` bytes and mount it; whether there was something to do.

    Raises:
        UsageError: there are canonicals on the plain file system, or a store of another size.
        DiskFull: the file could not grow to its full size here.
        InfrastructureFault: it cannot be made or mounted; nothing of it is left.
    """
    canonicals, image = root / "canonical", image_of(root)
    with hold(root / "locks" / "store.lock", wait=_PROGRAM, owner={"doing": "make the store"}, tell=tell):
        if image.exists():
            _require_size(image, size)
        else:
            _require_empty(canonicals)
            _require_means(root, size)
            tell(f"making an XFS store of {_gib(size)} in {image}")
            _make(root, canonicals, size)
            return True
    attach(root)
    return False


def parse_size(text: str) -> int:
    """Bytes of a size such as ``20G``, ``512M``, ``1T`` (1024 each; a trailing ``iB`` or ``B`` is fine).

    Raises:
        ValueError: it is none, or too small for a store.
    """
    found = re.fullmatch(r"(\d+)([MGT])(i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no size such as 20G or 512M")
    size = int(found[1]) * _UNITS[found[2].upper()]
    if size < SMALLEST:
        raise ValueError(f"{text} is too small: XFS needs at least {SMALLEST >> 20}M")
    return size


def _make(root: Path, canonicals: Path, size: int) -> None:
    image = image_of(root)
    fresh = image.with_name(image.name + ".new")
    try:
        with ExitStack() as undo:
            undo.callback(fresh.unlink, missing_ok=True)
            undo.callback(image.unlink, missing_ok=True)
            with fresh.open("wb") as file:
                fresh.chmod(0o600)
                file.truncate(size)
            process.run(["mkfs.xfs", "-f", "-q", "-m", "reflink=1", fresh], timeout=_PROGRAM)
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.rename(image)
            _mount(root, canonicals)
            canonicals.chmod(0o700)
            undo.pop_all()
    except ProgramFailed as error:
        raise InfrastructureFault(
            "the store could not be made; nothing of it is left",
            where=str(image),
            seen=error.tail,
            advice="a kernel with XFS and loop devices is needed; without a store canonicals are copied",
        ) from error


def _mount(root: Path, canonicals: Path) -> None:
    canonicals.mkdir(mode=0o700, exist_ok=True)
    # discard: what is removed inside gives its room back outside.
    process.run(["mount", "-t", "xfs", "-o", "loop,discard", image_of(root), canonicals], timeout=_PROGRAM)


def _require_size(image: Path, size: int) -> None:
    there = image.stat().st_size
    if there != size:
        raise UsageError(
            f"there is a store of {_gib(there)} already, which stays as it is",
            where=str(image),
            advice="leave --store-size out; to have another, export what is in it, unmount it and remove the file",
        )


def _require_empty(canonicals: Path) -> None:
    kept = sorted(path.name for path in canonicals.iterdir()) if canonicals.is_dir() else []
    if kept:
        raise UsageError(
            "there are canonicals on the plain file system, which a store would cover",
            where=str(canonicals),
            seen=", ".join(kept),
            advice="ccci export each of them, move that folder away, run this again, and ccci import them",
        )


def _require_means(root: Path, size: int) -> None:
    if os.geteuid() != 0:
        raise UsageError("only root can make and mount a store", advice="run this as root, or without --store-size")
    facts = os.statvfs(root)
    missing = size + _MARGIN - facts.f_bavail * facts.f_frsize
    if missing > 0:
        # It takes no room before it is used, but a store that cannot grow fails like a broken disk.
        raise DiskFull(
            f"a store of {_gib(size)} would outgrow the disk it is on: {_gib(missing)} missing",
            where=str(root),
            advice="a smaller --store-size, or another state directory",
        )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _not_mounted(canonicals: Path, seen: str) -> StateDirError:
    return StateDirError(
        "the store of the canonicals is not mounted, so none of them can be seen or used",
        where=str(canonicals),
        seen=seen,
        advice=f"as root, any ccci command mounts it: mount -t xfs -o loop {image_of(canonicals.parent)} {canonicals}",
    )
