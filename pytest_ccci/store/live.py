"""The volumes that containers mount: replaced as a whole by a snapshot, volume by volume, each by rename."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import disk, verify
from pytest_ccci.store.copying import Backend, keep_nothing
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.layout import Layout
from pytest_ccci.store.snapshots import Snapshot, refuse, shares_blocks_with
from pytest_ccci.store.tree import walk
from pytest_ccci.store.unchanged import Seal, Untouched
from pytest_ccci.store.verify import nothing

__all__ = ["LiveTree", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """A replacement for live that was shown to be a snapshot's.

    ``inodes`` are those of its volumes, ``kept`` the bytes that need not be copied, as the live files that hold them
    are proven untouched; ``seal`` is ready to be put, or is still to be made.
    """

    inodes: Mapping[str, int]
    kept: int
    seal: Seal | None


class LiveTree:
    """The live volumes of one canonical."""

    def __init__(self, layout: Layout, *, fs: Fs) -> None:
        self._layout = layout
        self._fs = fs

    def volumes(self) -> tuple[str, ...]:
        """The names of the live volumes."""
        return _names(self._layout.live) if self._layout.live.is_dir() else ()

    def prepare(self, snapshot: Snapshot, *, backend: Backend) -> Prepared:
        """Make ``live.new`` from a snapshot, show that it is what the manifest says, and make it durable.

        Raises:
            DiskFull: there is no room for it; nothing was begun.
            StoreDamaged: the copy does not match.
        """
        layout, fs = self._layout, self._fs
        shares = backend.shares_blocks
        self._require_room(snapshot, shares_blocks=shares)
        keep = self._untouched(snapshot)
        fs.mkdir(layout.live_new)
        place = keep_nothing if shares else keep.place
        backend.copy_tree(snapshot.paths.volumes, layout.live_new, fs=fs, keep=place)
        # Files that stay get another change time when their old names go, so that they can be noted only then.
        seal = None if keep.files else Seal(layout, fs=fs)
        proof = shares_blocks_with(layout.live_new, snapshot.paths.volumes) if shares else keep.proof
        note = seal.note if seal else nothing
        found = verify.verify(layout.live_new, snapshot.paths.manifest, proof=proof, note=note)
        refuse(found, layout.live_new, "the copy")
        fs.sync_fs(layout.live_new)
        return Prepared(_inodes(layout.live_new), keep.size, seal)

    def swap(self, volumes: Collection[str]) -> None:
        """Put each volume of ``live.new`` in the place of the live one; what is live now moves to ``live.old``.

        May be called again after it was cut off: each volume is then in one of three states, and only goes forward.

        Raises:
            StoreDamaged: a volume is in no state that this leaves behind.
        """
        layout, fs = self._layout, self._fs
        for folder in (layout.live, layout.live_old):
            if not folder.exists():
                fs.mkdir(folder)
        for name in sorted({*volumes, *self.volumes()}):
            live, new, old = layout.live / name, layout.live_new / name, layout.live_old / name
            coming = name in volumes and new.exists()
            if live.exists() and (coming or name not in volumes):
                if old.exists():
                    raise StoreDamaged("a volume is there three times; which one counts is not known", where=str(live))
                fs.rename(live, old)
            if coming:
                fs.rename(new, live)
            elif name in volumes and not live.exists():
                raise StoreDamaged("a volume is neither there nor in its replacement", where=str(live))
        for folder in (layout.live_new, layout.live_old, layout.live, layout.root):
            if folder.exists():
                fs.fsync_dir(folder)

    def require(self, prepared: Prepared) -> None:
        """See that live consists of the very directories that were prepared, which nobody could have written to since.

        Raises:
            StoreDamaged: it does not.
        """
        if (found := _inodes(self._layout.live)) != prepared.inodes:
            raise StoreDamaged(
                "what is live after the swap is not what was prepared",
                where=str(self._layout.live),
                seen=f"{', '.join(found)}; prepared: {', '.join(prepared.inodes)}",
            )

    def seal(self, snapshot: Snapshot, prepared: Prepared) -> None:
        """Note which files live consists of, after a swap whose leftovers are gone.

        Raises:
            StoreDamaged: live is not the snapshot's any more.
        """
        seal = prepared.seal
        if seal is None:
            seal = Seal(self._layout, fs=self._fs)
            # Their content was shown to be the snapshot's; this is about all else.
            proof = lambda _want, _have: True  # noqa: E731  as short as what it says
            found = verify.verify(self._layout.live, snapshot.paths.manifest, proof=proof, note=seal.note)
            refuse(found, self._layout.live, "what is live after the swap")
        seal.put()

    def unseal(self) -> None:
        """Forget what was noted."""
        if self._layout.seal.exists():
            self._fs.unlink(self._layout.seal)

    def sealed_and_untouched(self) -> bool:
        """Whether the kernel shows that live is what it was when it was sealed."""
        if not self._layout.seal.exists():
            return False
        return not verify.verify(self._layout.live, self._layout.seal, proof=verify.same_inode)

    def discard(self) -> None:
        """Remove what a replacement left aside."""
        self._fs.rmtree(self._layout.live_new)
        self._fs.rmtree(self._layout.live_old)
        self._fs.rmtree(self._layout.aside)
        # Before the journal may say "done": else a power cut brings the names back with nobody to say what they are.
        self._fs.fsync_dir(self._layout.root)

    def _untouched(self, snapshot: Snapshot) -> Untouched:
        return Untouched(self._layout.live, seal=self._layout.seal, snapshot=snapshot.paths.manifest)

    def _require_room(self, snapshot: Snapshot, *, shares_blocks: bool) -> None:
        what = "restoring the known-good"
        if disk.fits(disk.most(snapshot.files, 0 if shares_blocks else snapshot.size), self._layout.root):
            return
        # Not for sure; holes and files that stay take no room, which costs a look at each.
        keep = self._untouched(snapshot)
        moved = (node for node in walk(snapshot.paths.volumes) if shares_blocks or not keep.place(node))
        disk.require(disk.demand(moved, shares_blocks=shares_blocks), self._layout.root, what=what)


def _inodes(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_ino for name in _names(folder)}


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir()))
