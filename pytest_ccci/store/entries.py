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
        _as_text(xattrs_of(node.place)),
        "",
        target_of(node.place) if kind is Kind.LINK else "",
        facts.st_rdev if kind is Kind.CHAR or kind is Kind.BLOCK else 0,
        leader,
        facts.st_ino,
        facts.st_ctime_ns,
    )


def _as_text(xattrs: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    if not xattrs:
        return ()
    return tuple((name, base64.b64encode(value).decode("ascii")) for name, value in sorted(xattrs.items()))


def xattrs_of(place: str) -> dict[str, bytes]:
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


def give_facts(
    fs: Fs,
    path: str,
    *,
    owner: tuple[int, int],
    xattrs: Mapping[str, bytes],
    mode: int | None,
    times: tuple[int, int],
) -> None:
    """Give a new node all that is not its content; no ``mode`` for a link, ``times`` are those of access and change.

    Owner first, as it clears set-uid bits and capabilities; times last, as all else changes them.
    """
    made = os.lstat(path)
    if owner != (made.st_uid, made.st_gid):
        fs.set_owner(path, *owner)
    for name, value in xattrs.items():
        fs.set_xattr(path, name, value)
    # Attributes may be rights, which the mode is a part of.
    if mode is not None and (xattrs or mode != stat.S_IMODE(made.st_mode)):
        fs.set_mode(path, mode)
    fs.set_times(path, *times)


def target_of(place: str) -> str:
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
