"""The one door through which the store changes the file system, and its errors in words."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pytest_ccci.errors import CcciError, DiskFull, InfrastructureFault, StoreDamaged
from pytest_ccci.store.disk import free, shown

__all__ = ["CHUNK", "RECORDS", "Fs", "Place", "holes_skipped", "os_errors", "os_fault", "translated"]

_FREE = "free some space (`ccci prune` shows what can go); the known-good is kept"
_FULL = {errno.ENOSPC, errno.EDQUOT}
RECORDS = 64 * 1024
"""What any change writes at least: lines of a journal, a record, the blocks of new folders; in bytes."""


@contextmanager
def translated(what: str, *, where: Path, undo: Callable[[], object], needed: Callable[[], int]) -> Iterator[None]:
    """Run a change; when it fails, ``undo`` it as far as that goes now and say what failed.

    What cannot be undone now is undone by the next start from the journal. ``needed`` tells how many bytes the whole
    change takes, so that a full disk can be told with what is missing.
    """
    try:
        yield
    except OSError as error:
        _try(undo)
        raise _told(error, what, where, needed()) from error
    except BaseException:
        _try(undo)
        raise


@contextmanager
def os_errors(what: str, *, where: Path) -> Iterator[None]:
    """Say in our words what the operating system refuses; nothing is to be undone.

    Raises:
        DiskFull: there is no room; says how much is left.
        InfrastructureFault: anything else.
    """
    try:
        yield
    except OSError as error:
        raise os_fault(error, what, where) from error


def os_fault(error: OSError, what: str, where: Path) -> InfrastructureFault:
    """The same for an error that was caught already."""
    return _told(error, what, where, 0)


def _try(undo: Callable[[], object]) -> None:
    with suppress(OSError, CcciError):
        undo()


def _told(error: OSError, what: str, where: Path, needed: int) -> InfrastructureFault:
    seen = f"{os.strerror(error.errno) if error.errno else error}, at {error.filename or where}"
    if error.errno in _FULL:
        room, needed = free(where), max(needed, RECORDS)
        missing = max(needed - room, 0)
        limit = "the quota" if error.errno == errno.EDQUOT else "the disk"
        amount = f"{shown(missing)} more" if missing else f"at least {shown(needed)} in one go, or free inodes,"
        return DiskFull(
            f"{what} failed: {limit} is full; needed {shown(needed)}, {shown(room)} free: {amount} must be freed",
            where=str(where),
            seen=seen,
            advice=_FREE,
        )
    if error.errno == errno.EIO:
        return StoreDamaged(
            f"{what} failed: the disk reports an error",
            where=str(where),
            seen=seen,
            advice="look at the kernel's log; `ccci verify --read-data` shows whether the known-good is whole",
        )
    advice = (
        "the file system is read-only: see why (often a disk error), remount it" if error.errno == errno.EROFS else ""
    )
    return InfrastructureFault(f"{what} failed", where=str(where), seen=seen, advice=advice)


Place = str | os.PathLike[str]
"""Where something is. Text for what is done once per file, as a ``Path`` costs more than the step itself."""

CHUNK = 1 << 20
_HOLE = 64 << 10
_ZEROS = bytes(_HOLE)
_SECTOR = 512
_SHORTER = "the file became shorter while it was copied"
_FICLONE = 0x40049409
# A clone that the file system declines for this one file (another device, no-CoW attribute, a swap file): copy it.
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ETXTBSY, errno.EPERM, errno.ENOSYS}
_ROOMLESS = {errno.ENOTSUP, errno.EOPNOTSUPP}


class Fs:
    """The real file system, step by step. What is made must not exist; no link is followed."""

    def mkdir(self, path: Place, mode: int = 0o700) -> None:
        """Make one directory."""
        os.mkdir(path, mode)  # noqa: PTH102  see Place

    def write_file(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Write a file that does not exist yet. Durable only after :meth:`fsync_file` and :meth:`fsync_dir`."""
        with _Opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as handle:
            _write_all(handle, data)

    def append(self, path: Path, data: bytes) -> None:
        """Add to the end of a file, making it if needed."""
        with _Opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) as handle:
            _write_all(handle, data)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to ``size``."""
        with _Opened(path, os.O_WRONLY) as handle:
            os.ftruncate(handle, size)

    def fsync_file(self, path: Path) -> None:
        """Make the content of a file durable."""
        with _Opened(path, os.O_RDONLY) as handle:
            os.fsync(handle)

    def fsync_dir(self, path: Path) -> None:
        """Make the names in a directory durable."""
        with _Opened(path, os.O_RDONLY | os.O_DIRECTORY) as handle:
            os.fsync(handle)

    def sync_fs(self, path: Path) -> None:
        """Make everything durable on the file system that holds ``path``: one call instead of one per file."""
        with _Opened(path, os.O_RDONLY | os.O_DIRECTORY) as handle:
            _syncfs(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within the file system; replaces a file, never a directory that holds something."""
        old.rename(new)

    def link(self, old: Place, new: Place) -> None:
        """Give a file a second name."""
        os.link(old, new, follow_symlinks=False)

    def symlink(self, target: str, path: Place) -> None:
        """Make a symbolic link, whatever its target."""
        os.symlink(target, path)  # noqa: PTH211  a Path would tidy the target up

    def mknod(self, path: Place, mode: int, rdev: int = 0) -> None:
        """Make a FIFO, a socket's node or a device."""
        os.mknod(path, mode, rdev)

    def unlink(self, path: Place) -> None:
        """Remove one name of a file."""
        os.unlink(path)  # noqa: PTH108  see Place

    def rmdir(self, path: Place) -> None:
        """Remove an empty directory."""
        os.rmdir(path)  # noqa: PTH106  see Place

    def rmtree(self, path: Place) -> None:
        """Remove a directory and what is in it, one step at a time. Nothing there is fine."""
        if not os.path.lexists(path):
            return
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            self.unlink(path)
            return
        with suppress(PermissionError):
            os.chmod(path, 0o700)  # noqa: PTH101  see Place
        with os.scandir(path) as rows:
            inside = [(row.path, row.is_dir(follow_symlinks=False)) for row in rows]
        for place, folder in inside:
            self.rmtree(place) if folder else self.unlink(place)
        self.rmdir(path)

    def copy_data(self, source: Place, target: Place) -> None:
        """Copy a file's bytes into a new file; holes stay holes, and no block is shared."""
        with (
            _Opened(source, os.O_RDONLY | os.O_NOFOLLOW) as reader,
            _Opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writer,
        ):
            facts = os.fstat(reader)
            if facts.st_size <= min(_HOLE, facts.st_blocks * _SECTOR):
                # Small, and without holes: the usual one of very many.
                _write_all(writer, _read_all(reader, facts.st_size))
                return
            for start, end in holes_skipped(reader, facts.st_size):
                _send(reader, writer, start, end)
            os.ftruncate(writer, facts.st_size)

    def receive(self, path: Place, pieces: Iterable[bytes], *, size: int) -> None:
        """Write a new file of ``size`` bytes from what comes; stretches of zeros become holes."""
        with _Opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writer:
            at = 0
            for piece in pieces:
                _write_but_zeros(writer, piece, at)
                at += len(piece)
            os.ftruncate(writer, size)

    def clone_data(self, source: Place, target: Place) -> bool:
        """Let a new file share the blocks of another. False, and nothing made, when the file system declines."""
        with (
            _Opened(source, os.O_RDONLY | os.O_NOFOLLOW) as reader,
            _Opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writer,
        ):
            try:
                fcntl.ioctl(writer, _FICLONE, reader)
            except OSError as error:
                os.unlink(target)  # noqa: PTH108  see Place
                if error.errno in _NO_CLONE:
                    return False
                raise
        return True

    def set_owner(self, path: Place, uid: int, gid: int) -> None:
        """Give a file or link its owner."""
        os.chown(path, uid, gid, follow_symlinks=False)

    def set_xattr(self, path: Place, name: str, value: bytes) -> None:
        """Give a file or link one extended attribute (POSIX ACLs are such)."""
        os.setxattr(path, name, value, follow_symlinks=False)

    def set_mode(self, path: Place, mode: int) -> None:
        """Set the permission bits of what is no link."""
        os.chmod(path, mode)  # noqa: PTH101  see Place

    def set_times(self, path: Place, atime_ns: int, mtime_ns: int) -> None:
        """Set the times of a file or link."""
        os.utime(path, ns=(atime_ns, mtime_ns), follow_symlinks=False)


def holes_skipped(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """The stretches of an open file that hold data, as far as the file system tells; else the whole file."""
    at = 0
    while at < size:
        try:
            start = os.lseek(handle, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            if error.errno not in {errno.EINVAL, *_ROOMLESS}:
                raise
            yield at, size
            return
        end = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, min(end, size)
        at = end


class _Opened:
    """An open file's handle for a ``with`` block; a class, as a generator costs more than opening."""

    __slots__ = ("_handle",)

    def __init__(self, path: Place, flags: int, mode: int = 0o600) -> None:
        self._handle = os.open(path, flags | os.O_CLOEXEC, mode)

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *_error: object) -> None:
        os.close(self._handle)


def _write_all(handle: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _read_all(handle: int, size: int) -> bytes:
    data = os.read(handle, size)
    while len(data) < size:
        more = os.read(handle, size - len(data))
        if not more:
            raise OSError(errno.EIO, _SHORTER)
        data += more
    return data


def _write_but_zeros(handle: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    for start in range(0, len(piece), _HOLE):
        part = view[start : start + _HOLE]
        if part == _ZEROS[: len(part)]:
            continue
        os.lseek(handle, at + start, os.SEEK_SET)
        _write_all(handle, part)


def _send(reader: int, writer: int, start: int, end: int) -> None:
    os.lseek(writer, start, os.SEEK_SET)
    at = start
    while at < end:
        # sendfile and not copy_file_range: the latter shares blocks on XFS and btrfs, and a copy should be a copy.
        sent = os.sendfile(writer, reader, at, min(end - at, 1 << 30))
        if sent == 0:
            raise OSError(errno.EIO, _SHORTER)
        at += sent


def _syncfs(handle: int) -> None:
    import ctypes  # noqa: PLC0415  heavy, and only needed where a snapshot is taken or restored

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        os.sync()
    elif call(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
