"""One line of a manifest: everything about a node that must survive a copy, and what shows it was not touched."""

from __future__ import annotations

import base64
import enum
import errno
import json
import os
import stat
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from pytest_ccci.store.files import Fs
from pytest_ccci.store.walking import Node

__all__ = [
    "SEEN",
    "Entry",
    "Kind",
    "decode",
    "describe",
    "encode",
    "give_facts",
    "seen_as",
    "target_of",
    "xattrs_of",
]

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
    uid: int
    gid: int
    size: int
    mtime_ns: int
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
        return (self.inode, self.ctime_ns, self.size, self.mtime_ns) == (
            other.inode,
            other.ctime_ns,
            other.size,
            other.mtime_ns,
        )


_ALWAYS = {"path", "kind", "mode"}
_NUMBERS = {"uid": 0, "gid": 0, "size": 0, "mtime_ns": 0}
_BY_NAME = {kind.value: kind for kind in Kind}
SEEN = tuple(key for key in Entry._fields if key not in {"path", "digest", "inode", "ctime_ns"})
"""What must be equal between an original and its copy; the digest is compared apart, as it costs reading."""
_seen = itemgetter(*(Entry._fields.index(key) for key in SEEN))


def describe(node: Node, *, leader: str = "") -> Entry:
    """The entry of a node as it is now, without its content's digest."""
    facts = node.stat
    kind = _KINDS[stat.S_IFMT(facts.st_mode)]
    return Entry(
        path=node.path,
        kind=kind,
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        gid=facts.st_gid,
        size=facts.st_size if kind is Kind.FILE else 0,
        mtime_ns=facts.st_mtime_ns,
        xattrs=tuple(
            (name, base64.b64encode(value).decode("ascii")) for name, value in sorted(xattrs_of(node.place).items())
        ),
        target=target_of(node.place) if kind is Kind.LINK else "",
        rdev=facts.st_rdev if kind in {Kind.CHAR, Kind.BLOCK} else 0,
        leader=leader,
        inode=facts.st_ino,
        ctime_ns=facts.st_ctime_ns,
    )


def xattrs_of(place: str) -> dict[str, bytes]:
    """The extended attributes that travel with a node, POSIX ACLs among them."""
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.EOPNOTSUPP}:
            return {}
        raise
    return {name: os.getxattr(place, name, follow_symlinks=False) for name in names if name not in _HOST_XATTRS}


def give_facts(
    fs: Fs,
    path: Path,
    *,
    owner: tuple[int, int],
    xattrs: Mapping[str, bytes],
    mode: int | None,
    times: tuple[int, int],
) -> None:
    """Give a new node all that is not its content; no ``mode`` for a link, ``times`` are those of access and change.

    Owner first, as it clears set-uid bits and capabilities; times last, as all else changes them.
    """
    made = path.lstat()
    if owner != (made.st_uid, made.st_gid):
        fs.set_owner(path, *owner)
    for name, value in xattrs.items():
        fs.set_xattr(path, name, value)
    if mode is not None:
        fs.set_mode(path, mode)
    fs.set_times(path, *times)


def target_of(place: str) -> str:
    """Where a symbolic link points, as it was written (a ``Path`` would tidy it up)."""
    return os.readlink(place)  # noqa: PTH115  a link's target is text: "a//b/." is not "a/b"


def encode(entry: Entry) -> bytes:
    """One line of JSON; what is default is left out, and names that are not UTF-8 stay what they are."""
    facts = {key: value for key, value in zip(Entry._fields, entry, strict=True) if value or key in _ALWAYS}
    return json.dumps(facts, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Entry:
    """The entry that a line stands for.

    Raises:
        ValueError: the line is no entry.
    """
    facts = json.loads(line.decode("ascii"))
    try:
        facts["kind"] = _BY_NAME[facts["kind"]]
        if "xattrs" in facts:
            facts["xattrs"] = tuple((str(name), str(value)) for name, value in facts["xattrs"])
        return Entry(**{**_NUMBERS, **facts})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a manifest entry: {error}") from error


def seen_as(entry: Entry) -> tuple[object, ...]:
    """The entry's values of :data:`SEEN`."""
    values: tuple[object, ...] = _seen(entry)
    return values
