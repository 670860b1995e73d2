"""What a tree must be, line by line: entries with all that a copy must keep, and digests of contents."""

from __future__ import annotations

import base64
import enum
import errno
import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.fs import CHUNK, Fs, holes_skipped
from pytest_ccci.store.tree import Node, walk

__all__ = [
    "AHEAD",
    "SEEN",
    "SMALL",
    "Content",
    "Entry",
    "Kind",
    "Writer",
    "Written",
    "build",
    "decode",
    "describe",
    "described",
    "digest",
    "encode",
    "file_digest",
    "read",
    "seen_as",
    "workers",
    "write",
]

_ZEROS = bytes(CHUNK)


class Content:
    """The digest of a file whose chunks are handed in one after the other: all of ``CHUNK`` bytes but the last."""

    def __init__(self, size: int) -> None:
        self._total = hashlib.sha256(size.to_bytes(8, "big"))

    def add(self, at: int, chunk: bytes) -> None:
        """Take in the chunk that begins at ``at``; one of zeros may be left out as well."""
        if chunk != _ZEROS[: len(chunk)]:
            self._total.update(at.to_bytes(8, "big"))
            self._total.update(chunk)

    def hexdigest(self) -> str:
        """The digest of all that was handed in."""
        return self._total.hexdigest()


def digest(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's size and of all its chunks that are not only zeros, each with its offset.

    A 20 GiB file of holes costs as much as the data in it; a copy with other holes has the same digest. The threads
    that call this run side by side: hashing and reading release the interpreter's lock.
    """
    handle = _open(path)
    try:
        size = os.fstat(handle).st_size
        total, done = Content(size), 0
        if size <= CHUNK:
            # One chunk, holes or not.
            total.add(0, os.pread(handle, CHUNK, 0))
            return total.hexdigest()
        for start, end in holes_skipped(handle, size):
            at = max(done, start - start % CHUNK)
            while at < end:
                chunk = os.pread(handle, CHUNK, at)
                if not chunk:
                    break
                total.add(at, chunk)
                at += CHUNK
            done = max(done, at)
        return total.hexdigest()
    finally:
        os.close(handle)


def _open(path: str | os.PathLike[str]) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        # Only the owner or root may read without leaving an access time.
        return os.open(path, flags)


# The label belongs to the host's policy: a container engine relabels a volume when it mounts it.
_HOST_XATTRS = {"security.selinux"}


class Kind(enum.StrEnum):
    """What a node is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    FIFO = "fifo"
    SOCKET = "socket"
    CHAR = "char"
    BLOCK = "block"


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
}


class Entry(NamedTuple):
    """A node as it must be. ``inode`` and ``ctime_ns`` say which file on this disk it was when its content was read.

    ``size`` counts for files only; ``leader`` is the first path of the same file when this is one more hard link.
    A tuple, because a restore makes several for each of very many files.
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    xattrs: tuple[tuple[str, str], ...] = ()
    digest: str = ""
    target: str = ""
    rdev: int = 0
    leader: str = ""
    inode: int = 0
    ctime_ns: int = 0

    def with_digest(self, digest: str) -> Entry:
        """The same with the content's digest."""
        return self._replace(digest=digest)

    def untouched(self, other: Entry) -> bool:
        """Whether the kernel shows that ``other`` is the very same file, not written to since.

        Each write, change of owner, mode, attribute or link count sets the change time, which no program can set back.
        """
        return bool(_touched(self) == _touched(other))

    def still(self, facts: os.stat_result) -> bool:
        """The same for what ``lstat`` says of a file now."""
        return bool(_touched(self) == (facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_ctime_ns))


_ALWAYS = {"path", "kind", "mode"}
_BY_NAME = {kind.value: kind for kind in Kind}
SEEN = tuple(key for key in Entry._fields if key not in {"path", "digest", "inode", "ctime_ns"})
"""What must be equal between an original and its copy; the digest is compared apart, as it costs reading."""
_seen = itemgetter(*(Entry._fields.index(key) for key in SEEN))
_touched = itemgetter(*(Entry._fields.index(key) for key in ("size", "mtime_ns", "inode", "ctime_ns")))
_parsed = json.JSONDecoder().raw_decode
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def describe(node: Node, *, leader: str = "") -> Entry:
    """The entry of a node as it is now, without its content's digest."""
    facts = node.stat
    mode = facts.st_mode
    kind = _KINDS[stat.S_IFMT(mode)]
    # By position: this runs for each file of each pass.
    return Entry(
        node.path,
        kind,
        stat.S_IMODE(mode),
        facts.st_uid,
        facts.st_gid,
        facts.st_size if kind is Kind.FILE else 0,
        facts.st_mtime_ns,
        _as_text(_xattrs_of(node.place)),
        "",
        _target_of(node.place) if kind is Kind.LINK else "",
        facts.st_rdev if kind is Kind.CHAR or kind is Kind.BLOCK else 0,
        leader,
        facts.st_ino,
        facts.st_ctime_ns,
    )


def _as_text(xattrs: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    if not xattrs:
        return ()
    return tuple((name, base64.b64encode(value).decode("ascii")) for name, value in sorted(xattrs.items()))


def _xattrs_of(place: str) -> dict[str, bytes]:
    """The extended attributes that travel with a node, POSIX ACLs among them."""
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.EOPNOTSUPP}:
            return {}
        raise
    if not names:
        return {}
    return {name: os.getxattr(place, name, follow_symlinks=False) for name in names if name not in _HOST_XATTRS}


def _target_of(place: str) -> str:
    """Where a symbolic link points, as it was written (a ``Path`` would tidy it up)."""
    return os.readlink(place)  # noqa: PTH115  a link's target is text: "a//b/." is not "a/b"


def encode(entry: Entry) -> bytes:
    """One line of JSON; what is default is left out, and names that are not UTF-8 stay what they are."""
    facts = {key: value for key, value in zip(Entry._fields, entry, strict=True) if value or key in _ALWAYS}
    return _dumps(facts).encode("ascii") + b"\n"


def decode(line: bytes) -> Entry:
    """The entry that a line stands for.

    Raises:
        ValueError: the line is no entry.
    """
    text = line.decode("ascii")
    facts, end = _parsed(text)
    if text[end:].strip() or not isinstance(facts, dict):
        raise ValueError("not a manifest entry: more or other than one object")
    try:
        facts["kind"] = _BY_NAME[facts["kind"]]
        if "xattrs" in facts:
            facts["xattrs"] = tuple((str(name), str(value)) for name, value in facts["xattrs"])
        return Entry(**facts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a manifest entry: {error}") from error


def seen_as(entry: Entry) -> tuple[object, ...]:
    """The entry's values of :data:`SEEN`."""
    values: tuple[object, ...] = _seen(entry)
    return values


AHEAD = 256
"""How many files are read ahead of the one whose turn it is."""
SMALL = 32 << 10
"""Up to so many bytes a file is read at once, as handing it to somebody else costs more."""
_FLUSH = 1 << 20


@dataclass(frozen=True)
class Written:
    """A manifest that was written: its own digest, and how much it describes."""

    digest: str
    files: int
    size: int


def build(tree: Path, *, known: Callable[[Entry], str] = lambda _entry: "") -> Iterator[Entry]:
    """Describe everything below ``tree``, contents hashed side by side, in the order of :func:`walking.order`.

    ``known`` may give the digest of a file that need not be read again.
    """
    with ThreadPoolExecutor(workers()) as pool:
        waiting: deque[tuple[Entry, Future[str] | None]] = deque()
        for entry, place in described(tree, None):
            if entry.kind is Kind.FILE and not entry.leader:
                told = known(entry)
                task = None if told or entry.size <= SMALL else pool.submit(digest, place)
                ready = told or ("" if task else digest(place))
                waiting.append((entry.with_digest(ready), task))
            else:
                waiting.append((entry, None))
            if len(waiting) >= AHEAD:
                yield _finished(waiting.popleft())
        yield from (_finished(row) for row in waiting)


class Writer:
    """Writes a manifest entry by entry, a closing line with count and digest last."""

    def __init__(self, path: Path, *, fs: Fs) -> None:
        self._path = path
        self._fs = fs
        self._total = hashlib.sha256()
        self._buffer = bytearray()
        self._count = 0
        self._size = 0
        fs.write_file(path, b"")

    def add(self, entry: Entry) -> None:
        """Write the next entry; the caller keeps the order."""
        line = encode(entry)
        self._total.update(line)
        self._buffer += line
        self._count += 1
        if not entry.leader:
            self._size += entry.size
        if len(self._buffer) >= _FLUSH:
            self._fs.append(self._path, bytes(self._buffer))
            self._buffer.clear()

    def close(self) -> Written:
        """Write the end. Durable only after the caller has synced it."""
        digest = self._total.hexdigest()
        close = json.dumps({"end": True, "count": self._count, "size": self._size, "sha256": digest}) + "\n"
        self._fs.append(self._path, bytes(self._buffer) + close.encode("ascii"))
        return Written(digest, self._count, self._size)


def write(entries: Iterable[Entry], path: Path, *, fs: Fs) -> Written:
    """Write a manifest. Durable only after the caller has synced it."""
    writer = Writer(path, fs=fs)
    for entry in entries:
        writer.add(entry)
    return writer.close()


def read(path: Path) -> Iterator[Entry]:
    """Read a manifest as a stream; the end proves that all of it was there.

    Raises:
        StoreDamaged: it is not there, cut short, or was changed.
    """
    try:
        for line in _lines(path):
            yield decode(line)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreDamaged("a manifest cannot be used", where=str(path), seen=str(error)) from error


def file_digest(path: Path) -> str:
    """The digest that the manifest at ``path`` closes with, after reading all of it."""
    total = hashlib.sha256()
    try:
        for line in _lines(path):
            total.update(line)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreDamaged("a manifest cannot be used", where=str(path), seen=str(error)) from error
    return total.hexdigest()


def _lines(path: Path) -> Iterator[bytes]:
    """All lines but the closing one, which must match them."""
    total, count = hashlib.sha256(), 0
    with path.open("rb") as lines:
        for line in lines:
            if line.startswith(b'{"end"'):
                close = json.loads(line)
                if (close["count"], close["sha256"]) != (count, total.hexdigest()) or lines.read(1):
                    raise ValueError("its closing line does not match what precedes it")
                return
            total.update(line)
            count += 1
            yield line
    raise ValueError("it ends too early")


def described(tree: Path, only: Collection[str] | None) -> Iterator[tuple[Entry, str]]:
    """Everything below ``tree`` and its place, in order, contents not looked at; ``only`` limits the first level."""
    leaders: dict[int, str] = {}
    for node in walk(tree, only=only):
        leader = ""
        if node.stat.st_nlink > 1 and not node.folder:
            leader = leaders.setdefault(node.stat.st_ino, node.path)
        yield describe(node, leader="" if leader == node.path else leader), node.place


def _finished(row: tuple[Entry, Future[str] | None]) -> Entry:
    entry, task = row
    return entry if task is None else entry.with_digest(task.result())


def workers() -> int:
    """How many files to read side by side."""
    return min(4, os.cpu_count() or 1)
