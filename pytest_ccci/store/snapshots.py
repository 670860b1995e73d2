"""Taking snapshots, finding out whether one is whole, and letting one go."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import manifest, verify
from pytest_ccci.store.copying import Backend
from pytest_ccci.store.extents import same_blocks
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.layout import Layout, SnapshotPaths
from pytest_ccci.store.manifest import Entry, Written
from pytest_ccci.store.verify import Difference, Note, Proof, nothing

__all__ = ["Snapshot", "Snapshots", "new_id", "refuse", "shares_blocks_with"]


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot: every part of it is there and matches the digests it was sealed with."""

    id: str
    paths: SnapshotPaths
    volumes: tuple[str, ...]
    files: int
    size: int
    manifest_digest: str
    complete_digest: str


def new_id() -> str:
    """A fresh snapshot id, ordered by time for people."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"


def shares_blocks_with(tree: Path, other: Path) -> Proof:
    """Proof of equal content by equal blocks, between the same paths of two trees."""
    left, right = os.fspath(tree), os.fspath(other)

    def proof(expected: Entry, found: Entry) -> bool:
        return same_blocks(f"{left}/{found.path}", f"{right}/{expected.path}")

    return proof


class Snapshots:
    """The snapshots of one canonical."""

    def __init__(self, layout: Layout, *, fs: Fs) -> None:
        self._layout = layout
        self._fs = fs

    def ids(self) -> tuple[str, ...]:
        """All complete snapshots, also those that no record names."""
        if not self._layout.snapshots.is_dir():
            return ()
        return tuple(sorted(path.name for path in self._layout.snapshots.iterdir()))

    def take(
        self,
        ident: str,
        *,
        backend: Backend,
        volumes: Sequence[str],
        secrets: Mapping[str, str],
        coverage: Mapping[str, object],
        stopped: Callable[[], None],
        note: Note = nothing,
    ) -> Snapshot:
        """Copy live volumes, show that the copy is what they are, make it durable, and only then give it its name.

        ``note`` is handed each live node with the digest of its content.

        Raises:
            StoreDamaged: the copy differs from the live volumes.
        """
        fs, live, parts = self._fs, self._layout.live, SnapshotPaths(self._layout.work / ident)
        stopped()
        fs.mkdir(parts.root)
        fs.mkdir(parts.volumes)
        backend.copy_tree(live, parts.volumes, fs=fs, only=volumes)
        written = manifest.write(manifest.build(parts.volumes), parts.manifest, fs=fs)
        proof = shares_blocks_with(live, parts.volumes) if backend.shares_blocks else verify.never
        found = verify.verify(live, parts.manifest, proof=proof, only=volumes, note=note)
        refuse(found, parts.root, "the new snapshot")
        stopped()
        statement = json.dumps(coverage, sort_keys=True, default=str).encode("ascii")
        return self.complete(parts, ident, written, volumes=volumes, secrets=secrets, coverage=statement)

    def complete(
        self,
        parts: SnapshotPaths,
        ident: str,
        written: Written,
        *,
        volumes: Sequence[str],
        secrets: Mapping[str, str],
        coverage: bytes,
    ) -> Snapshot:
        """Give a snapshot, whose volumes and manifest are shown to be right, its other parts, and then its name."""
        fs = self._fs
        fs.write_file(parts.secrets, json.dumps(dict(secrets)).encode("ascii"), mode=0o600)
        fs.write_file(parts.coverage, coverage)
        seal = {
            "id": ident,
            "volumes": sorted(volumes),
            "files": written.files,
            "size": written.size,
            "manifest": written.digest,
            "secrets": _sha(parts.secrets),
            "coverage": _sha(parts.coverage),
        }
        fs.write_file(parts.complete, json.dumps(seal, sort_keys=True).encode("ascii"))
        fs.sync_fs(parts.root)
        fs.rename(parts.root, self._layout.snapshot(ident).root)
        fs.fsync_dir(self._layout.snapshots)
        fs.fsync_dir(self._layout.work)
        return self.load(ident)

    def load(self, ident: str) -> Snapshot:
        """The snapshot ``ident``, after checking that its parts are there and are those it was sealed with.

        The volumes themselves are checked by :meth:`check`.

        Raises:
            StoreDamaged: a part is missing or was changed.
        """
        parts = self._layout.snapshot(ident)
        try:
            raw = parts.complete.read_bytes()
            seal = json.loads(raw)
            _match(parts, seal, ident)
            return Snapshot(
                id=ident,
                paths=parts,
                volumes=tuple(seal["volumes"]),
                files=int(seal["files"]),
                size=int(seal["size"]),
                manifest_digest=seal["manifest"],
                complete_digest=hashlib.sha256(raw).hexdigest(),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreDamaged("a snapshot is damaged", where=str(parts.root), seen=str(error)) from error

    def check(self, snapshot: Snapshot, *, read_data: bool) -> tuple[Difference, ...]:
        """How the snapshot's volumes differ from its manifest.

        Without ``read_data`` what the kernel shows to be untouched since it was read is not read again.
        """
        proof = verify.never if read_data else verify.same_inode
        return verify.verify(snapshot.paths.volumes, snapshot.paths.manifest, proof=proof)

    def drop(self, ident: str) -> None:
        """Let a snapshot go: by one rename it is none any more, then it is removed."""
        gone = self._layout.work / f"{ident}.gone"
        self._fs.rename(self._layout.snapshot(ident).root, gone)
        self._fs.fsync_dir(self._layout.snapshots)
        self._fs.rmtree(gone)


def _match(parts: SnapshotPaths, seal: Mapping[str, object], ident: str) -> None:
    found = (ident, manifest.file_digest(parts.manifest), _sha(parts.secrets), _sha(parts.coverage))
    if found != (seal["id"], seal["manifest"], seal["secrets"], seal["coverage"]):
        raise ValueError("a part of it is not the one it was sealed with")


def refuse(differences: tuple[Difference, ...], where: Path, what: str) -> None:
    """Go on only when there is no difference.

    Raises:
        StoreDamaged: there is one; the first few are told.
    """
    if differences:
        raise StoreDamaged(
            f"{what} does not match: {len(differences)} differences",
            where=str(where),
            seen="; ".join(str(one) for one in differences[:5]),
            advice="something wrote while it was copied, or the disk is failing; the known-good is kept",
        )


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
