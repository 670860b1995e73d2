"""An exported known-good read back: strictly in its order, and nothing in it is believed before it is checked.

No name in the file decides where something is written: places come from the manifest, whose paths are checked first.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zstandard
from pydantic import ValidationError

from pytest_ccci import redact
from pytest_ccci.errors import ArchiveError, StoreDamaged
from pytest_ccci.store import manifest
from pytest_ccci.store.archive import COVERAGE, HEAD, MANIFEST, SECRETS, VOLUMES, Head, rendered, total
from pytest_ccci.store.encryption import decrypt
from pytest_ccci.store.fs import CHUNK, Fs
from pytest_ccci.store.layout import checked_name
from pytest_ccci.store.manifest import Content, Entry, Kind, give_facts
from pytest_ccci.store.tree import order

__all__ = ["Incoming", "open_archive"]

_AGAIN = "copy the file again, or export it again"
_LARGEST_PART = 16 << 20
_MODES = 0o7777
_SPECIAL = {Kind.FIFO: 0o010600, Kind.SOCKET: 0o140600, Kind.CHAR: 0o020600, Kind.BLOCK: 0o060600}


class Incoming:
    """An archive that is being read: its head and small parts at once, then manifest and volumes, each once."""

    def __init__(self, tar: tarfile.TarFile, path: Path) -> None:
        self._tar = tar
        self._path = path
        self.head = self._head()
        self.coverage = self._part(COVERAGE)
        if hashlib.sha256(self.coverage).hexdigest() != self.head.coverage:
            raise self._problem("the coverage statement is not the one that its head names")
        self._encrypted = self._part(SECRETS) if self.head.with_secrets else b""

    def _head(self) -> Head:
        try:
            outer = json.loads(self._part(HEAD))
            _require_sum(outer["sha256"], outer["known_good"])
            head = Head.model_validate(outer["known_good"])
            for name in (head.recipe, *head.volumes):
                checked_name(name, what="recipe or volume")
        except (ValueError, KeyError, TypeError, ValidationError, StoreDamaged) as error:
            raise self._problem("its head cannot be used", error) from error
        return head

    def manifest_into(self, path: Path, *, fs: Fs) -> None:
        """Write the manifest to a new file and show that it is the one that the head names, and that it leads nowhere.

        Raises:
            ArchiveError: it is another, or describes what no walk of these volumes gives.
        """
        member = self._member(MANIFEST)
        fs.receive(path, self._pieces(member), size=member.size)
        try:
            if manifest.file_digest(path) != self.head.manifest:
                raise self._problem("the manifest is not the one that its head names")
            _require_sound(path, self.head.volumes)
        except (StoreDamaged, ValueError) as error:
            raise self._problem("the manifest cannot be used", error) from error

    def secrets(self, passphrase: str) -> dict[str, str]:
        """The secrets in it, by name."""
        raw = json.loads(decrypt(self._encrypted, passphrase, bound_to=rendered(self.head)))
        if not isinstance(raw, dict) or sorted(raw) != sorted(self.head.secret_names):
            raise self._problem("the secrets are not those that its head names")
        values = {str(name): str(value) for name, value in raw.items()}
        redact.SECRETS.learn(*values.values())
        return values

    def volumes_into(self, target: Path, wanted: Path, *, fs: Fs) -> None:
        """Make below ``target``, an empty directory, what the manifest ``wanted`` says, with the contents in here.

        Raises:
            ArchiveError: something is missing, too much, in another place, or has another content.
        """
        folders: list[Entry] = []
        for entry in manifest.read(wanted):
            while folders and not entry.path.startswith(folders[-1].path + "/"):
                _finish(folders.pop(), target, fs)
            self._make(entry, target, fs)
            if entry.kind is Kind.FOLDER:
                folders.append(entry)
            elif not entry.leader:
                _finish(entry, target, fs)
        while folders:
            _finish(folders.pop(), target, fs)
        if (extra := self._next()) is not None:
            raise self._problem(f"there is more in it than its manifest says: {_shown(extra.name)}")

    def _make(self, entry: Entry, target: Path, fs: Fs) -> None:
        path = target / entry.path
        member = None if entry.kind is Kind.SOCKET else self._member(VOLUMES + entry.path)
        if entry.kind is Kind.FOLDER:
            fs.mkdir(path)
        elif entry.leader:
            fs.link(target / entry.leader, path)
        elif entry.kind is Kind.LINK:
            fs.symlink(entry.target, path)
        elif member is not None and entry.kind is Kind.FILE:
            self._receive(entry, member, path, fs)
        else:
            fs.mknod(path, _SPECIAL[entry.kind], entry.rdev)

    def _receive(self, entry: Entry, member: tarfile.TarInfo, path: Path, fs: Fs) -> None:
        if not member.isreg() or member.size != entry.size:
            raise self._problem(f"{_shown(entry.path)} is not what its manifest says")
        content = Content(entry.size)
        fs.receive(path, self._pieces(member, content), size=entry.size)
        if content.hexdigest() != entry.digest:
            raise self._problem(f"{_shown(entry.path)} has another content than its manifest says")

    def _pieces(self, member: tarfile.TarInfo, content: Content | None = None) -> Iterator[bytes]:
        source = self._tar.extractfile(member)
        at = 0
        while at < member.size:
            with _reading(self._path):
                piece = source.read(min(CHUNK, member.size - at)) if source else b""
            if not piece:
                raise self._problem("it ends too early")
            if content:
                content.add(at, piece)
            yield piece
            at += len(piece)

    def _part(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > _LARGEST_PART:
            raise self._problem(f"{name} is too large to be one of ours")
        return b"".join(self._pieces(member))

    def _member(self, name: str) -> tarfile.TarInfo:
        member = self._next()
        if member is None or member.name != name:
            found = "nothing" if member is None else _shown(member.name)
            raise self._problem(f"{_shown(name)} should come next in it, and {found} does")
        return member

    def _next(self) -> tarfile.TarInfo | None:
        # tarfile remembers each member, for nothing here: memory would grow with their number.
        self._tar.members = []  # type: ignore[attr-defined]  # public, and missing in the stub
        with _reading(self._path):
            return self._tar.next()

    def _problem(self, what: str, error: Exception | None = None) -> ArchiveError:
        return ArchiveError(
            f"this is no whole export of a known-good: {what}",
            where=str(self._path),
            seen=str(error)[:300] if error else "",
            advice=_AGAIN,
        )


@contextmanager
def open_archive(path: Path) -> Iterator[Incoming]:
    """Read an archive.

    Raises:
        ArchiveError: it cannot be read, or is none.
    """
    with ExitStack() as opened:
        with _reading(path):
            source = opened.enter_context(path.open("rb"))
            plain = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(source, closefd=False)
            tar = tarfile.open(fileobj=plain, mode="r|", encoding="utf-8")  # noqa: SIM115  it owns nothing to close
        yield Incoming(tar, path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError) as error:
        raise ArchiveError(
            "this is no whole export of a known-good", where=str(path), seen=str(error), advice=_AGAIN
        ) from error


def _require_sum(told: object, content: object) -> None:
    if told != total(content):
        raise ValueError("its digest does not match")


def _require_sound(path: Path, volumes: tuple[str, ...]) -> None:
    """Only what a walk of these volumes could give: in order, each path in a folder that precedes it.

    Raises:
        ValueError: something is not.
    """
    leaders = {entry.leader for entry in manifest.read(path) if entry.leader}
    last: tuple[bytes, ...] = ()
    inside: list[str] = []
    top = []
    for entry in manifest.read(path):
        key = order(entry.path)
        _require_plain(entry)
        if key <= last:
            raise ValueError(f"{_shown(entry.path)} is not in order")
        while inside and not entry.path.startswith(inside[-1] + "/"):
            inside.pop()
        parent, _, _ = entry.path.rpartition("/")
        if parent != (inside[-1] if inside else ""):
            raise ValueError(f"{_shown(entry.path)} is in no folder that precedes it")
        if entry.leader in leaders:
            raise ValueError(f"{_shown(entry.path)} is a link to what does not precede it")
        if entry.kind is Kind.FOLDER:
            inside.append(entry.path)
        elif not entry.leader:
            leaders.discard(entry.path)
        top += [] if parent else [entry.path if entry.kind is Kind.FOLDER else f"{entry.path}, which is no folder"]
        last = key
    if sorted(top) != sorted(volumes):
        raise ValueError(f"its volumes are {top}, not {sorted(volumes)}")


def _require_plain(entry: Entry) -> None:
    numbers = (entry.uid, entry.gid, entry.size, entry.rdev)
    if not all(type(number) is int for number in (*numbers, entry.mode, entry.mtime_ns)):
        raise ValueError(f"{_shown(entry.path)} has a number that is none")
    if min(numbers) < 0 or not 0 <= entry.mode <= _MODES:
        raise ValueError(f"{_shown(entry.path)} has a number that is out of range")
    if {"", ".", ".."} & set(entry.path.split("/")) or "\0" in entry.path + entry.target:
        raise ValueError(f"{_shown(entry.path)} is no path that a walk gives")
    for _, value in entry.xattrs:
        b64decode(value, validate=True)


def _shown(path: str) -> str:
    return ascii(path)[:80]


def _finish(entry: Entry, target: Path, fs: Fs) -> None:
    give_facts(
        fs,
        f"{target}/{entry.path}",
        owner=(entry.uid, entry.gid),
        xattrs={name: b64decode(value) for name, value in entry.xattrs},
        mode=None if entry.kind is Kind.LINK else entry.mode,
        times=(entry.mtime_ns, entry.mtime_ns),
    )
