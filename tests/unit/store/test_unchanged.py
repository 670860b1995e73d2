from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from pytest_ccci.errors import DiskFull, StoreDamaged
from pytest_ccci.store import disk
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.fs import Fs
from pytest_ccci.store.manifest import decode, digest
from pytest_ccci.store.record import CanonicalRecord, parse_record, render_record
from pytest_ccci.store.tree import Node, order, walk
from pytest_ccci.store.unchanged import next_tick


def nothing() -> None:
    """No container can write."""


def good(store: CanonicalStore) -> None:
    taken = store.snapshot(volumes=store.live_volumes(), secrets={}, coverage={}, stopped=nothing)
    store.promote(taken, release="1.0.0+1", commit="0" * 40, domain="d", run_id="r")


def test_a_write_right_after_sealing_shows_even_with_times_put_back(store: CanonicalStore) -> None:
    """The clock of change times ticks coarsely; a write in the tick of the seal must still be seen."""
    table = store.live("db") / "table"
    for round_ in range(20):
        table.write_text(f"rows{round_:02}")
        good(store)
        facts = table.stat()
        table.write_text("ROWS__")
        os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        store.restore(stopped=nothing)
        assert table.read_text() == f"rows{round_:02}"


def test_a_write_through_a_memory_map_shows(store: CanonicalStore) -> None:
    table = store.live("db") / "table"
    table.write_bytes(b"a" * 8192)
    good(store)
    facts = table.stat()
    with table.open("r+b") as file, mmap.mmap(file.fileno(), 8192) as view:
        view[5000] = 98
    os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    store.restore(stopped=nothing)
    assert table.read_bytes() == b"a" * 8192


def test_a_file_that_changed_places_with_another_is_not_taken_for_it(store: CanonicalStore) -> None:
    folder = store.live("db")
    for name in ("a", "b"):
        (folder / name).write_text(f"this is {name}")
        os.utime(folder / name, ns=(1, 1))
    good(store)
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    store.restore(stopped=nothing)
    assert [(folder / name).read_text() for name in ("a", "b")] == ["this is a", "this is b"]


def test_a_damaged_seal_only_costs_copying(store: CanonicalStore) -> None:
    (store.live("db") / "table").write_text("rows")
    good(store)
    raw = store.layout.seal.read_bytes()
    store.layout.seal.write_bytes(raw[: len(raw) // 2])
    assert store.restore(stopped=nothing).kept == 0
    assert (store.live("db") / "table").read_text() == "rows"


def test_a_kept_file_is_never_shared_between_live_and_snapshot(store: CanonicalStore) -> None:
    table = store.live("db") / "table"
    table.write_text("rows")
    good(store)
    store.restore(stopped=nothing)
    table.write_text("migrated")
    assert store.verify() == ()
    assert table.stat().st_nlink == 1


def test_the_next_tick_comes(tmp_path: Path) -> None:
    assert next_tick(tmp_path, fs=Fs())
    assert list(tmp_path.iterdir()) == []


def test_a_digest_does_not_depend_on_where_the_holes_are(tmp_path: Path) -> None:
    full, holes, other = tmp_path / "full", tmp_path / "holes", tmp_path / "other"
    full.write_bytes(bytes(3 << 20) + b"x" + bytes(1000))
    with holes.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"x")
        file.truncate((3 << 20) + 1001)
    other.write_bytes(bytes(3 << 20) + b"x" + bytes(1001))
    assert digest(full) == digest(holes)
    assert digest(full) != digest(other)


def test_walking_has_one_order_and_gives_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"b", b"a.b", b"a/z", b"a-b", b"\xff", b"a/\xe9"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    paths = [node.path for node in walk(tmp_path)]
    assert paths == sorted(paths, key=order)
    assert os.fsdecode(b"a/\xe9") in paths


def test_a_line_that_is_no_entry_is_refused() -> None:
    for line in (b"{}", b'{"path":"a","kind":"cloud","mode":1}', b'{"path":"a","kind":"file","mode":1,"new":2}', b"x"):
        with pytest.raises(ValueError, match=r"."):
            decode(line)


def test_holes_need_no_room_and_hard_links_only_once(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    os.link(tmp_path / "big", tmp_path / "again")
    need = disk.demand(walk(tmp_path), shares_blocks=False)
    assert 4 << 20 < need.size < 7 << 20
    assert disk.demand(walk(tmp_path), shares_blocks=True).size < 2 << 20
    assert need.inodes == 2


def test_too_little_room_is_told_with_what_is_missing(tmp_path: Path) -> None:
    room = disk.free(tmp_path)
    with pytest.raises(DiskFull, match=r"missing") as caught:
        disk.require(disk.Demand(room + (5 << 30), 1), tmp_path, what="a snapshot")
    assert "5.0 GiB missing" in str(caught.value)


RECORD = CanonicalRecord(
    release="1.0.0+1",
    commit="0" * 40,
    domain="d",
    run_id="r",
    since="2026-01-01T00:00:00+00:00",
    snapshot_id="s",
    volumes=("db",),
    manifest_digest="0" * 64,
    complete_digest="0" * 64,
    files=1,
    size=1,
    recipe="demo",
)


def test_a_record_reads_back_as_it_was_written() -> None:
    assert parse_record(render_record(RECORD), where="x") == RECORD


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"1.0.0+1"', '"2.0.0+1"'),
        ('"schema_version": 1', '"schema_version": 2'),
        ('"files": 1', '"files": "1"'),
        ("{", ""),
    ],
)
def test_a_record_that_was_changed_is_refused(old: str, new: str) -> None:
    raw = render_record(RECORD).replace(old.encode(), new.encode(), 1)
    with pytest.raises(StoreDamaged, match="cannot be used"):
        parse_record(raw, where="x")


def test_node_knows_a_folder(tmp_path: Path) -> None:
    assert Node("x", str(tmp_path), tmp_path.stat()).folder
