"""A known-good as one file: a tar, compressed by zstd, in which everything is covered by a digest.

In this order: ``known-good.json`` (the head, with digests of itself, the coverage statement and the manifest),
``coverage.json``, perhaps ``secrets.encrypted``, ``manifest.jsonl`` (everything about each node, with the digest of its
content), then ``volumes/…`` in the manifest's order. Any tar reads it; only the manifest knows nanoseconds, attributes
and sockets.
Without secrets it holds no digest of them either, as a weak one could be guessed from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import zstandard
from pydantic import BaseModel, ConfigDict, Field

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import manifest
from pytest_ccci.store.disk import demand, shown
from pytest_ccci.store.encryption import encrypt
from pytest_ccci.store.fs import CHUNK
from pytest_ccci.store.manifest import Content, Entry, Kind
from pytest_ccci.store.snapshots import Snapshot
from pytest_ccci.store.tree import walk

__all__ = ["COVERAGE", "HEAD", "MANIFEST", "SECRETS", "VOLUMES", "Head", "rendered", "total", "write_archive"]

_LOG = logging.getLogger(__name__)

HEAD, COVERAGE, SECRETS, MANIFEST = "known-good.json", "coverage.json", "secrets.encrypted", "manifest.jsonl"
VOLUMES = "volumes/"
_LEVEL = 3
_NANO = 1_000_000_000
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.FOLDER: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
}


class Head(BaseModel):
    """What an archive says of itself, and what the record of the known-good said there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    recipe: str
    release: str
    commit: str
    domain: str
    run_id: str
    since: str
    volumes: tuple[str, ...] = Field(strict=False)
    files: int
    size: int
    room: int = Field(description="what a copy takes on disk at most, holes left out")
    images: Mapping[str, str] = Field(default_factory=dict)
    app_version: str = ""
    secret_names: tuple[str, ...] = Field(strict=False)
    with_secrets: bool
    manifest: str = Field(pattern=r"^[0-9a-f]{64}$")
    coverage: str = Field(pattern=r"^[0-9a-f]{64}$")


def rendered(head: Head) -> bytes:
    """The head as it is written: its content with a digest over it."""
    content = head.model_dump(mode="json")
    return json.dumps({"sha256": total(content), "known_good": content}, indent=1, sort_keys=True).encode("ascii")


def total(content: object) -> str:
    """The digest over what a head says."""
    return hashlib.sha256(json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii")).hexdigest()


def write_archive(path: Path, snapshot: Snapshot, facts: Mapping[str, object], *, passphrase: str) -> Head:
    """Write a snapshot as one file; ``facts`` are the head's fields that the snapshot does not know.

    Secrets are written only with a ``passphrase``. Each content is compared with the manifest as it is read, and the
    file is there under its name only when it is whole and durable.

    Raises:
        StoreDamaged: the snapshot is not what its manifest says.
    """
    secrets = snapshot.paths.secrets.read_bytes()
    head = Head.model_validate(
        {
            **facts,
            "volumes": snapshot.volumes,
            "files": snapshot.files,
            "size": snapshot.size,
            "room": demand(walk(snapshot.paths.volumes), shares_blocks=False).size,
            "secret_names": sorted(json.loads(secrets)),
            "with_secrets": bool(passphrase),
            "manifest": snapshot.manifest_digest,
            "coverage": hashlib.sha256(snapshot.paths.coverage.read_bytes()).hexdigest(),
        }
    )
    first = rendered(head)
    sealed = encrypt(secrets, passphrase, bound_to=first) if passphrase else b""
    _LOG.info(f"writing {snapshot.files} entries, {shown(snapshot.size)}")
    with _new_file(path) as sink, _tar(sink) as tar:
        _part(tar, HEAD, first)
        _part(tar, COVERAGE, snapshot.paths.coverage.read_bytes())
        if sealed:
            _part(tar, SECRETS, sealed)
        with snapshot.paths.manifest.open("rb") as lines:
            _add(tar, MANIFEST, size=snapshot.paths.manifest.stat().st_size, content=lines)
        for entry in manifest.read(snapshot.paths.manifest):
            if entry.kind is not Kind.SOCKET:
                _node(tar, entry, snapshot.paths.volumes)
    return head


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that nobody else may read, under its name only when all went well."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        # A link and not a rename: it does not replace what came about meanwhile.
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _tar(sink: BinaryIO) -> Iterator[tarfile.TarFile]:
    squeezed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(sink, closefd=False)
    with squeezed, tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT, copybufsize=CHUNK) as tar:  # type: ignore[call-overload]  # the stub wants a named class
        yield tar


def _part(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    _add(tar, name, size=len(content), content=io.BytesIO(content))


def _add(tar: tarfile.TarFile, name: str, *, size: int, content: BinaryIO) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, content)


def _node(tar: tarfile.TarFile, entry: Entry, volumes: Path) -> None:
    member = tarfile.TarInfo(VOLUMES + entry.path)
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, entry.mtime_ns // _NANO
    member.type = tarfile.LNKTYPE if entry.leader else _TYPES[entry.kind]
    member.linkname = VOLUMES + entry.leader if entry.leader else entry.target
    member.devmajor, member.devminor = os.major(entry.rdev), os.minor(entry.rdev)
    if entry.kind is Kind.FILE and not entry.leader:
        member.size = entry.size
        with _Checked(volumes / entry.path, entry) as content:
            tar.addfile(member, content)
            content.require_same()
    else:
        tar.addfile(member)
    # tarfile remembers each member, for nothing here: memory would grow with their number.
    tar.getmembers().clear()


class _Checked(io.RawIOBase):
    """A file's content as it is read, and whether it was what the manifest says."""

    def __init__(self, path: Path, entry: Entry) -> None:
        super().__init__()
        self._path, self._entry, self._at = path, entry, 0
        self._content = Content(entry.size)
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise self._other()

    def read(self, size: int = -1) -> bytes:
        """The next chunk; tarfile asks for ``CHUNK`` each time but the last."""
        chunk = self._file.read(size)
        if len(chunk) != size:
            raise self._other()
        self._content.add(self._at, chunk)
        self._at += size
        return chunk

    def require_same(self) -> None:
        """Raise when it was another content."""
        if self._file.read(1) or self._content.hexdigest() != self._entry.digest:
            raise self._other()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _other(self) -> StoreDamaged:
        return StoreDamaged(
            "the known-good's snapshot does not match its manifest; nothing was exported",
            where=str(self._path),
            advice="`ccci verify --read-data` shows all that differs",
        )
