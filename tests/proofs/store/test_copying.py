"""All that makes up a volume survives a snapshot and a restore, on each file system; a copy that forgets is refused."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted import picture_of, plant_one_of_each

from pytest_ccci import process
from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend
from pytest_ccci.store.fs import Fs, Place

Mounted = Callable[..., Path]
ROOT = os.geteuid() == 0
ACCESS, DEFAULT, CAPABILITY = "system.posix_acl_access", "system.posix_acl_default", "security.capability"


def nothing() -> None:
    """No container can write."""


def good(store: CanonicalStore) -> None:
    taken = store.snapshot(volumes=store.live_volumes(), secrets={}, coverage={}, stopped=nothing)
    store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="warm-demo.ci.test", run_id="r")


def acl(*rows: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as the kernel takes it: version, then tag, permissions and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


NOBODY = 0xFFFFFFFF
LIST = acl((1, 6, NOBODY), (2, 7, 1234), (4, 4, NOBODY), (8, 5, 4321), (16, 7, NOBODY), (32, 0, NOBODY))


def plant_rights(folder: Path) -> None:
    """What only root can make, and rights beyond mode bits."""
    (folder / "listed").write_text("x")
    os.setxattr(folder / "listed", ACCESS, LIST)
    (folder / "heirs").mkdir()
    os.setxattr(folder / "heirs", DEFAULT, LIST)
    (folder / "elder").mkdir()
    (folder / "elder" / "no-heir").write_text("came before the default list")
    os.setxattr(folder / "elder", DEFAULT, LIST)
    for number, name in enumerate(("theirs", "elder")):
        os.chown(folder / name if name == "elder" else _file(folder / name), 70 + number, 80 + number)
    (folder / "theirs").chmod(0o6755)
    _file(folder / "able").chmod(0o755)
    os.chown(folder / "able", 70, 71)
    os.setxattr(folder / "able", CAPABILITY, bytes.fromhex("0000000200040000000000000000000000000000"))
    os.mknod(folder / "null", 0o020644, os.makedev(1, 3))
    os.mknod(folder / "loop", 0o060640, os.makedev(7, 0))
    (folder / "owned-link").symlink_to("gone")
    os.chown(folder / "owned-link", 72, 73, follow_symlinks=False)
    os.setxattr(folder / "owned-link", "trusted.note", b"on the link", follow_symlinks=False)
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)
    for path in (folder / "listed", folder / "heirs", folder / "null"):
        os.utime(path, ns=(5, 1_700_000_000_000_000_001))


def _file(path: Path) -> Path:
    path.write_text(path.name)
    return path


def links_of(tree: Path) -> set[frozenset[str]]:
    """Which names are the same file."""
    names: dict[int, set[str]] = defaultdict(set)
    for path in tree.rglob("*"):
        facts = path.lstat()
        if facts.st_nlink > 1 and not path.is_dir():
            names[facts.st_ino].add(str(path.relative_to(tree)))
    return {frozenset(each) for each in names.values()}


def devices_of(tree: Path) -> dict[str, int]:
    return {
        str(path): path.lstat().st_rdev for path in tree.rglob("*") if path.is_block_device() or path.is_char_device()
    }


@pytest.mark.skipif(not ROOT, reason="only root may give files away, make devices and mount")
@pytest.mark.parametrize(("kind", "name"), [("ext4", "copy"), ("xfs", "reflink"), ("btrfs", "reflink")])
def test_everything_survives_on_each_file_system(mounted: Mounted, kind: str, name: str) -> None:
    store = CanonicalStore(mounted(kind) / "c", "demo")
    plant_one_of_each(store.live("data"))
    plant_rights(store.live("rights"))
    os.link(store.live("data") / "plain", store.live("rights") / "across-volumes")
    os.chown(store.live("rights"), 999, 998)
    before = (picture_of(store.layout.live), links_of(store.layout.live), devices_of(store.layout.live))
    good(store)
    store.reset_live()
    report = store.restore(stopped=nothing)
    assert report.backend == name
    assert (picture_of(store.layout.live), links_of(store.layout.live), devices_of(store.layout.live)) == before
    assert frozenset({"data/plain", "data/deep/hard", "rights/across-volumes"}) in links_of(store.layout.live)
    assert (store.live("data") / "sparse").stat().st_blocks * 512 < 1 << 20
    assert ACCESS not in os.listxattr(store.live("rights") / "elder" / "no-heir")


def _filling(_fs: Fs, source: Place, target: Place) -> None:
    Path(target).write_bytes(bytes(Path(source).stat().st_size))


FORGETFUL: dict[str, Callable[..., Any]] = {
    "set_owner": lambda *_: None,
    "set_xattr": lambda *_: None,
    "set_mode": lambda *_: None,
    "set_times": lambda *_: None,
    "link": lambda _, old, new: Path(new).write_bytes(Path(old).read_bytes()),
    "symlink": lambda _, target, path: Path(path).symlink_to(Path(target)),
    "mknod": lambda _, path, *_more: Path(path).write_bytes(b""),
    "copy_data": _filling,
}


@pytest.mark.parametrize("step", [pytest.param(one, id=one) for one in FORGETFUL])
def test_a_copy_that_forgets_is_refused(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fact that the copier carries over is one that the verification would miss."""
    if step == "set_owner" and not ROOT:
        pytest.skip("only root may give files away")
    store = CanonicalStore(tmp_path / "c", "demo", backend=CopyBackend())
    plant_one_of_each(store.live("data"))
    if ROOT:
        os.chown(store.live("data") / "empty", 70, 71)
    monkeypatch.setattr(Fs, step, FORGETFUL[step])
    with pytest.raises(StoreDamaged, match="does not match"):
        good(store)
    monkeypatch.undo()
    store.recover()
    assert (store.record(), list(store.layout.snapshots.iterdir())) == (None, [])


MANY = """
import json, sys
from pathlib import Path
from pytest_ccci.store import manifest
from pytest_ccci.store.canonical import CanonicalStore

place, count, hoard = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "hoard"
store = CanonicalStore(place, "demo")
folder = store.live("db")
for number in range(count):
    # Half of them in one folder, the other half spread out.
    home = folder / ("wide" if number % 2 else f"n{number // 1000}")
    home.mkdir(exist_ok=True)
    (home / f"{number:07}").write_bytes(b"%d" % number)
if hoard:
    stream = manifest.read
    vars(manifest)["read"] = lambda path: iter(list(stream(path)))


def peak():
    # Not getrusage: its peak is that of the process that started us, if that was larger.
    rows = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(rows["VmHWM"].split()[0]) << 10


Path("/proc/self/clear_refs").write_text("5")
before = peak()
taken = store.snapshot(volumes=["db"], secrets={}, coverage={}, stopped=lambda: None)
store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="d", run_id="r")
for path in list((folder / "n0").iterdir())[:100]:
    path.write_bytes(b"migrated")
report = store.restore(stopped=lambda: None)
assert store.verify() == ()
print(json.dumps({"files": report.files, "kept": report.kept, "grown": peak() - before}))
"""
MANY_FILES = {"sample": 10_000, "full": 100_000}


def _grown(place: Path, count: int, how: str) -> int:
    """Bytes by which the peak of a process grew that did everything with ``count`` files."""
    done = process.run([sys.executable, "-c", MANY, place / how, str(count), how], timeout=900)
    told = json.loads(done.stdout)
    sys.stdout.write(f"{count} files, {how}: {told}\n")
    assert told["files"] > count
    assert told["kept"] > 0
    grown: int = told["grown"]
    return grown


def bound(count: int) -> int:
    """A fixed part, and what the names of one wide folder take while they are sorted."""
    return (8 << 20) + 160 * count


def test_memory_stays_bounded_with_very_many_files(quick_place: Path, full: bool) -> None:
    count = MANY_FILES["full" if full else "sample"]
    assert _grown(quick_place, count, "stream") < bound(count)


def test_the_bound_on_memory_is_missed_when_a_manifest_is_held_whole(quick_place: Path) -> None:
    count = MANY_FILES["sample"]
    assert _grown(quick_place, count, "hoard") > bound(count)
