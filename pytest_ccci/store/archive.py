"""A known-good as one file: a tar of its snapshot, compressed by zstd, in which everything is covered by a digest.

In this order: ``known-good.json`` (the head, with digests of itself, the coverage statement and the manifest),
``coverage.json``, perhaps ``secrets.age``, ``manifest.jsonl`` (everything about each node, with the digest of its
content), then ``volumes/…`` in the manifest's order. Any tar reads it; only the manifest knows nanoseconds, attributes
and sockets. An import therefore makes what the manifest says, and takes nothing but contents from the tar's members: no
name in the file decides where something is written, and nothing in it is believed before it is checked.

Without secrets it holds no digest of them either, as a weak one could be guessed from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, Literal

import pyrage
import zstandard
from pydantic import BaseModel, ConfigDict, Field

from pytest_ccci.errors import ArchiveError, StoreDamaged, UsageError
from pytest_ccci.redact import SECRETS
from pytest_ccci.store import manifest
from pytest_ccci.store.copying import Maker
from pytest_ccci.store.disk import demand, shown
from pytest_ccci.store.fs import CHUNK, Fs, Place
from pytest_ccci.store.layout import checked_name
from pytest_ccci.store.manifest import Content, Entry, Kind
from pytest_ccci.store.record import Facts, KnownGood, with_sum, without_sum
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.store.tree import order, walk

__all__ = ["Head", "Incoming", "open_archive", "rendered", "require_passphrase", "write_archive"]

_LOG = logging.getLogger(__name__)

_HEAD, _COVERAGE, _SECRETS, _MANIFEST = "known-good.json", "coverage.json", "secrets.age", "manifest.jsonl"
_VOLUMES = "volumes/"
_VERSION: Literal[2] = 2
_LEVEL = 3
_WINDOW = 1 << 27
_LARGEST_PART = 16 << 20
_NANO = 1_000_000_000
_MODES = 0o7777
_SHORTEST = 12
# age takes about 1 s of work on the machine that encrypts; 2^19 or 2^20 rounds today, and 1 KiB of memory for each.
_ENCRYPTED = re.compile(rb"age-encryption\.org/v1\n-> scrypt \S+ (1?[0-9]|2[01])\n")
_SHAPE = tuple(map(type, Entry("", Kind.FILE, 0)))
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.FOLDER: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
}
_Errors = type[Exception] | tuple[type[Exception], ...]
_BROKEN: _Errors = (
    *(ValueError, KeyError, TypeError, OverflowError, RecursionError, EOFError),
    *(tarfile.TarError, zstandard.ZstdError, StoreDamaged),
)


class Head(Facts):
    """What an archive says of itself, and what the record of the known-good said there."""

    version: Literal[2] = _VERSION
    recipe: str
    room: int = Field(description="what a copy takes on disk at most, holes left out")
    secret_names: tuple[str, ...] = Field(strict=False)
    with_secrets: bool
    coverage_digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Secrets(BaseModel):
    """What is encrypted: the secrets, and the digest of the one head beside which they count."""

    model_config = ConfigDict(hide_input_in_errors=True)

    head: str
    secrets: dict[str, str]


def rendered(head: Head) -> bytes:
    """The head as it is written."""
    return with_sum("known_good", head)


def require_passphrase(text: str) -> str:
    """``text``, if it is long enough to be worth the name.

    Raises:
        UsageError: it is too short.
    """
    if len(text) < _SHORTEST:
        raise UsageError(f"a passphrase has at least {_SHORTEST} characters", advice="several random words are good")
    SECRETS.learn(text)
    return text


def write_archive(path: Path, snapshot: Snapshot, good: KnownGood, recipe: str, *, passphrase: str) -> Head:
    """Write the snapshot of a known-good as one file.

    Secrets are written only with a ``passphrase``. Each content is compared with the manifest as it is read, and the
    file is there under its name only when it is whole and durable.

    Raises:
        StoreDamaged: the snapshot is not what its manifest says.
    """
    places = snapshot.paths
    coverage, secrets = places.coverage.read_bytes(), json.loads(places.secrets.read_bytes())
    head = Head(
        **good.model_dump(include=set(Facts.model_fields)),
        recipe=recipe,
        room=demand(walk(places.volumes), shares_blocks=False).size,
        secret_names=tuple(sorted(secrets)),
        with_secrets=bool(passphrase),
        coverage_digest=_sha(coverage),
    )
    parts = {_HEAD: rendered(head), _COVERAGE: coverage}
    if passphrase:
        text = _Secrets(head=_sha(parts[_HEAD]), secrets=secrets).model_dump_json()
        parts[_SECRETS] = pyrage.passphrase.encrypt(text.encode("utf-8"), passphrase)
    _LOG.info(f"writing {snapshot.files} entries, {shown(snapshot.size)}")
    with _new_file(path) as sink, _new_tar(sink) as tar:
        for name, part in parts.items():
            _add(tar, name, io.BytesIO(part), size=len(part))
        with places.manifest.open("rb") as lines:
            _add(tar, _MANIFEST, lines, size=places.manifest.stat().st_size)
        for entry in manifest.read(places.manifest):
            if entry.kind is not Kind.SOCKET:
                _add_node(tar, entry, places.volumes / entry.path)
    return head


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that nobody else may read, under its name only when all went well."""
    fs, fresh = Fs(), path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fs.write_file(fresh, b"")
        with fresh.open("r+b") as sink:
            yield sink
        fs.fsync_file(fresh)
        # A link and not a rename: it does not replace what came about meanwhile.
        fs.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    fs.fsync_dir(path.parent)


@contextmanager
def _new_tar(sink: BinaryIO) -> Iterator[tarfile.TarFile]:
    squeezed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(sink, closefd=False)
    with squeezed, tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT, copybufsize=CHUNK) as tar:  # type: ignore[call-overload]  # the stub wants a named class
        yield tar


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, *, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, content)


def _add_node(tar: tarfile.TarFile, entry: Entry, place: Path) -> None:
    member = tarfile.TarInfo(_VOLUMES + entry.path)
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, entry.mtime_ns // _NANO
    member.type = tarfile.LNKTYPE if entry.leader else _TYPES[entry.kind]
    member.linkname = _VOLUMES + entry.leader if entry.leader else entry.target
    member.devmajor, member.devminor = os.major(entry.rdev), os.minor(entry.rdev)
    if member.isreg():
        member.size = entry.size
        _add_content(tar, member, place, entry)
    else:
        tar.addfile(member)
    # tarfile remembers each member, for nothing here: memory would grow with their number.
    tar.getmembers().clear()


def _add_content(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, entry: Entry) -> None:
    facts = place.lstat()
    same = stat.S_ISREG(facts.st_mode) and facts.st_size == entry.size
    if same:
        with place.open("rb") as file:
            source = _Hashed(file, entry.size)
            tar.addfile(member, source)
        same = source.hexdigest() == entry.digest
    if not same:
        raise StoreDamaged(
            "the known-good's snapshot does not match its manifest; nothing was exported",
            where=str(place),
            advice="`ccci verify --read-data` shows all that differs",
        )


class _Hashed:
    """A file's content, hashed while it is read: ``CHUNK`` bytes each time but the last."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self._at, self._content = source, 0, Content(size)

    def read(self, size: int = CHUNK) -> bytes:
        """The next chunk; empty at the end."""
        chunk = self._source.read(size)
        self._content.add(self._at, chunk)
        self._at += len(chunk)
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read():
            yield chunk

    def hexdigest(self) -> str:
        """The digest of what was read."""
        return self._content.hexdigest()


@contextmanager
def open_archive(path: Path) -> Iterator[Incoming]:
    """Read an archive, from a file or a pipe.

    Raises:
        ArchiveError: it cannot be read, or is none.
    """
    with ExitStack() as opened:
        with _told(path, OSError):
            source = opened.enter_context(_Source(path))
        with _told(path):
            plain = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(source, closefd=False)
            tar = tarfile.open(fileobj=plain, mode="r|", encoding="utf-8")  # noqa: SIM115  it owns nothing to close
        yield Incoming(tar, path)


class Incoming:
    """An archive that is being read: its head and small parts at once, then manifest and volumes, once."""

    def __init__(self, tar: tarfile.TarFile, path: Path) -> None:
        self._tar = tar
        self._path = path
        with _told(path, what="its head cannot be used: "):
            self.head = self._read_head()
        with _told(path):
            self.coverage = self._part(_COVERAGE)
            if _sha(self.coverage) != self.head.coverage_digest:
                raise ValueError("the coverage statement is not the one that its head names")
            self._encrypted = self._part(_SECRETS) if self.head.with_secrets else b""

    def secrets(self, passphrase: str) -> dict[str, str]:
        """The secrets in it, by name.

        Raises:
            ArchiveError: the passphrase is another one, or the secrets were changed: the two cannot be told apart.
        """
        with _told(self._path):
            if not _ENCRYPTED.match(self._encrypted):
                raise ValueError("its secrets are not encrypted as an export does it")
            try:
                text = pyrage.passphrase.decrypt(self._encrypted, passphrase)
            except pyrage.DecryptError as error:
                raise ArchiveError(
                    "the secrets cannot be decrypted: the passphrase is another one, or they were changed",
                    advice="give the passphrase that `ccci export --with-secrets` was given",
                ) from error
            found = _Secrets.model_validate_json(text)
            SECRETS.learn(*found.secrets.values())
            if found.head != _sha(rendered(self.head)) or sorted(found.secrets) != sorted(self.head.secret_names):
                raise ValueError("the secrets are not those that its head names")
            return found.secrets

    def unpack(self, target: Path, wanted: Path, *, fs: Fs) -> None:
        """Write the manifest as ``wanted``, and make below ``target``, an empty directory, what it says.

        Raises:
            ArchiveError: the manifest is not the one that the head names, or leads elsewhere; or something is missing,
                too much, in another place, or has another content.
        """
        with _told(self._path):
            self._receive(self._member(_MANIFEST), wanted, fs)
        with _told(self._path, what="the manifest cannot be used: "):
            if manifest.file_digest(wanted) != self.head.manifest_digest:
                raise ValueError("it is not the one that the head names")
            maker = Maker(target, fs=fs)
            for entry in _sound(wanted, self.head.volumes):
                with _told(self._path):
                    member = None if entry.kind is Kind.SOCKET else self._member(_VOLUMES + entry.path)
                maker.make(entry, partial(self._take, entry, member, fs), accessed=entry.mtime_ns)
            maker.done()
        with _told(self._path):
            if (extra := self._tar.next()) is not None:
                raise ValueError(f"there is more in it than its manifest says: {_shown(extra.name)}")

    def _read_head(self) -> Head:
        content = without_sum("known_good", self._part(_HEAD))
        if content["version"] != _VERSION:
            raise ArchiveError(
                f"this export is of version {content['version']}, and this pytest-ccci reads version {_VERSION}",
                where=str(self._path),
                advice="export it again with this version of pytest-ccci; where this file is all there is, import it "
                "with the version that wrote it",
            )
        head = Head.model_validate(content)
        for name in (head.recipe, *head.volumes):
            checked_name(name, what="recipe or volume")
        return head

    def _take(self, entry: Entry, member: tarfile.TarInfo | None, fs: Fs, place: str) -> None:
        """Make the file that ``entry`` describes of the content that ``member`` has."""
        with _told(self._path):
            if member is None or member.size != entry.size:
                raise ValueError(f"{_shown(entry.path)} has another size than its manifest says")
            if self._receive(member, place, fs) != entry.digest:
                raise ValueError(f"{_shown(entry.path)} has another content than its manifest says")

    def _receive(self, member: tarfile.TarInfo, path: Place, fs: Fs) -> str:
        """Write what a member holds as a new file; gives its digest."""
        content = self._content(member)
        fs.receive(path, content, size=member.size)
        return content.hexdigest()

    def _part(self, name: str) -> bytes:
        member = self._member(name)
        if member.size > _LARGEST_PART:
            raise ValueError(f"{name} is too large to be one of ours")
        return b"".join(self._content(member))

    def _content(self, member: tarfile.TarInfo) -> _Hashed:
        source = self._tar.extractfile(member) if member.isreg() else None
        if source is None:
            raise ValueError(f"{_shown(member.name)} is no file in it")
        return _Hashed(source, member.size)

    def _member(self, name: str) -> tarfile.TarInfo:
        """The next member, which must have that name."""
        # tarfile remembers each member, for nothing here: memory would grow with their number.
        self._tar.members = []  # type: ignore[attr-defined]  # public, and missing in the stub
        member = self._tar.next()
        if member is None or member.name != name:
            found = "nothing" if member is None else _shown(member.name)
            raise ValueError(f"{_shown(name)} should come next in it, and {found} does")
        return member


@contextmanager
def _told(path: Path, errors: _Errors = _BROKEN, *, what: str = "") -> Iterator[None]:
    """Turn ``errors``, which show that an archive cannot be used, into one that says so; ``what`` introduces them."""
    try:
        yield
    except errors as error:
        raise ArchiveError(
            "this is no whole export of a known-good",
            where=str(path),
            seen=what + str(error)[:300],
            advice="copy the file again, or export it again",
        ) from error


class _Source(io.FileIO):
    """The archive's bytes; an error of its own disk is not taken for one of the store's."""

    def read(self, size: int | None = -1) -> bytes:
        """Read at most ``size`` bytes."""
        with _told(Path(os.fsdecode(self.name)), OSError):
            return super().read(size)


def _sound(path: Path, volumes: tuple[str, ...]) -> Iterator[Entry]:
    """The entries of a manifest, each shown to be what a walk of these volumes could give after those before it.

    Raises:
        ValueError: one is not.
    """
    to_come = {entry.leader for entry in manifest.read(path)} - {""}
    folders, top = [""], []
    last: tuple[bytes, ...] = ()
    for entry in manifest.read(path):
        _require_plain(entry)
        key = order(entry.path)
        while not entry.path.startswith(folders[-1]):
            folders.pop()
        if entry.path != folders[-1] + entry.path.rpartition("/")[2]:
            raise ValueError(f"{_shown(entry.path)} is in no folder that precedes it")
        if key <= last:
            raise ValueError(f"{_shown(entry.path)} is not in order")
        if entry.leader in to_come:
            raise ValueError(f"{_shown(entry.path)} is a link to what does not precede it")
        if folders == [""]:
            top.append(entry.path if entry.kind is Kind.FOLDER else f"{entry.path}, which is no folder")
        if entry.kind is Kind.FOLDER:
            folders.append(entry.path + "/")
        elif not entry.leader:
            to_come.discard(entry.path)
        last = key
        yield entry
    if top != sorted(volumes):
        raise ValueError(f"its volumes are {top}, not {sorted(volumes)}")


def _require_plain(entry: Entry) -> None:
    if tuple(map(type, entry)) != _SHAPE:
        raise ValueError(f"{_shown(entry.path)} has a value of another type")
    if min(entry.uid, entry.gid, entry.size, entry.rdev) < 0 or not 0 <= entry.mode <= _MODES:
        raise ValueError(f"{_shown(entry.path)} has a number that is out of range")
    if {"", ".", ".."} & set(entry.path.split("/")) or "\0" in entry.path + entry.target:
        raise ValueError(f"{_shown(entry.path)} is no path that a walk gives")


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _shown(path: object) -> str:
    return ascii(path)[:80]
