"""Each way in which a known-good can be damaged is found, said, and never restored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ccci.errors import StoreDamaged
from pytest_ccci.store import manifest
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.layout import SnapshotPaths
from pytest_ccci.store.verify import Difference


def _keeping_times(path: Path, data: bytes) -> None:
    facts = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _flipped(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


def _data(parts: SnapshotPaths) -> Path:
    return parts.volumes / "data"


def _other_content(parts: SnapshotPaths) -> None:
    path = _data(parts) / "plain"
    _keeping_times(path, _flipped(path.read_bytes()))


def _cut_off(parts: SnapshotPaths) -> None:
    os.truncate(_data(parts) / "plain", 10)


def _gone(parts: SnapshotPaths) -> None:
    (_data(parts) / "new\nline").unlink()


def _added(parts: SnapshotPaths) -> None:
    (_data(parts) / "stray").write_text("x")


def _empty_folder_gone(parts: SnapshotPaths) -> None:
    (_data(parts) / "hollow").rmdir()


def _other_mode(parts: SnapshotPaths) -> None:
    (_data(parts) / "secret").chmod(0o644)


def _other_time(parts: SnapshotPaths) -> None:
    os.utime(_data(parts) / "empty", ns=(0, 1))


def _other_attribute(parts: SnapshotPaths) -> None:
    os.setxattr(_data(parts) / "plain", "user.note", b"other")


def _attribute_gone(parts: SnapshotPaths) -> None:
    os.removexattr(_data(parts) / "hollow", "user.note")


def _link_elsewhere(parts: SnapshotPaths) -> None:
    path = _data(parts) / "dangling"
    path.unlink()
    path.symlink_to("somewhere/else")
    os.utime(path, ns=(1, 999_999_999), follow_symlinks=False)


def _hard_link_broken(parts: SnapshotPaths) -> None:
    path, folder = _data(parts) / "deep" / "hard", _data(parts) / "deep"
    first, facts, outer = path.read_bytes(), path.stat(), folder.stat()
    path.unlink()
    path.write_bytes(first)
    path.chmod(facts.st_mode)
    os.setxattr(path, "user.note", b"\x00binary")
    os.utime(path, ns=(1, facts.st_mtime_ns))
    os.utime(folder, ns=(1, outer.st_mtime_ns))


def _fifo_is_a_file(parts: SnapshotPaths) -> None:
    path = _data(parts) / "fifo"
    path.unlink()
    path.write_bytes(b"")


def _hole_is_filled_with_ones(parts: SnapshotPaths) -> None:
    path = _data(parts) / "sparse"
    facts = path.stat()
    with path.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"\x01")
    os.utime(path, ns=(1, facts.st_mtime_ns))


def _volume_gone(parts: SnapshotPaths) -> None:
    (parts.volumes / "db" / "table").unlink()
    (parts.volumes / "db").rmdir()


def _manifest_line_gone(parts: SnapshotPaths) -> None:
    lines = parts.manifest.read_bytes().splitlines(keepends=True)
    parts.manifest.write_bytes(b"".join(lines[:2] + lines[3:]))


def _manifest_cut_off(parts: SnapshotPaths) -> None:
    lines = parts.manifest.read_bytes().splitlines(keepends=True)
    parts.manifest.write_bytes(b"".join(lines[:-1]))


def _manifest_made_to_fit(parts: SnapshotPaths) -> None:
    """Somebody changes the data, the manifest and its closing line: the record still knows better."""
    (_data(parts) / "plain").write_bytes(b"forged")
    parts.manifest.unlink()
    manifest.write(manifest.build(parts.volumes), parts.manifest, fs=Fs())


def _secrets_changed(parts: SnapshotPaths) -> None:
    parts.secrets.write_text(json.dumps({"db_password_v1": "other"}))


def _secrets_gone(parts: SnapshotPaths) -> None:
    parts.secrets.unlink()


def _coverage_gone(parts: SnapshotPaths) -> None:
    parts.coverage.unlink()


def _seal_gone(parts: SnapshotPaths) -> None:
    parts.complete.unlink()


def _seal_empty(parts: SnapshotPaths) -> None:
    parts.complete.write_bytes(b"")


def _snapshot_gone(parts: SnapshotPaths) -> None:
    parts.root.rename(parts.root.with_name("elsewhere"))


DAMAGES = [value for name, value in sorted(globals().items()) if getattr(value, "__annotations__", {}).get("parts")]
IN_THE_VOLUMES = [
    _other_content,
    _cut_off,
    _gone,
    _added,
    _empty_folder_gone,
    _other_mode,
    _other_time,
    _other_attribute,
    _attribute_gone,
    _link_elsewhere,
    _hard_link_broken,
    _fifo_is_a_file,
    _hole_is_filled_with_ones,
    _volume_gone,
]
Damage = Callable[[SnapshotPaths], None]


@pytest.fixture
def parts(store: CanonicalStore, plant: Callable[[Path], None], seed: Any) -> SnapshotPaths:
    plant(store.live("data"))
    (store.live("db") / "table").write_text("rows")
    return store.layout.snapshot(seed.good(store).snapshot_id)


@pytest.mark.parametrize(
    "damage", [one for one in DAMAGES if one is not _data], ids=lambda one: one.__name__.strip("_")
)
def test_no_damage_is_restored(store: CanonicalStore, parts: SnapshotPaths, damage: Damage) -> None:
    (store.live("db") / "table").write_text("migrated")
    damage(parts)
    with pytest.raises(StoreDamaged):
        store.restore(stopped=lambda: None)
    assert (store.live("db") / "table").read_text() == "migrated"
    assert store.state().quarantined


@pytest.mark.parametrize("damage", IN_THE_VOLUMES, ids=lambda one: one.__name__.strip("_"))
@pytest.mark.parametrize("how", ["read", "proof", "noted"])
def test_the_verifier_tells_each_damage(store: CanonicalStore, parts: SnapshotPaths, damage: Damage, how: str) -> None:
    def look() -> tuple[Difference, ...]:
        if how == "noted":
            return store.read_whole()
        return store.verify(read_data=how == "read")

    assert look() == ()
    damage(parts)
    found = look()
    assert found
    assert all(str(one) for one in found)


@pytest.mark.parametrize(
    "damage", [one for one in DAMAGES if one is not _data and one not in IN_THE_VOLUMES], ids=lambda one: one.__name__
)
def test_damage_to_what_describes_a_snapshot_is_an_error_of_each_look(
    store: CanonicalStore, parts: SnapshotPaths, damage: Damage
) -> None:
    damage(parts)
    for look in (store.verify, store.record, store.read_whole):
        with pytest.raises(StoreDamaged):
            look()


def test_undamaged_is_found_undamaged_after_a_move_to_other_inodes(store: CanonicalStore, parts: SnapshotPaths) -> None:
    other = parts.volumes / "db" / "table"
    folder, times, facts = other.parent, other.parent.stat(), other.stat()
    again = other.with_name("again")
    again.write_bytes(other.read_bytes())
    os.utime(again, ns=(1, facts.st_mtime_ns))
    again.chmod(facts.st_mode)
    again.replace(other)
    os.utime(folder, ns=(1, times.st_mtime_ns))
    assert store.verify(read_data=False) == ()
