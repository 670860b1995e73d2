from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci import statedir
from pytest_ccci.errors import StateDamaged, StateDirError
from pytest_ccci.process import run, which
from pytest_ccci.statedir import (
    FileSystem,
    StateDir,
    check_mount,
    file_system_of,
    load_mount,
    note_mount,
    open_state,
    write_atomic,
)


def test_it_is_made_for_us_alone_with_what_every_run_needs(tmp_path: Path) -> None:
    state = open_state(tmp_path / "a" / "state")
    assert state.root.stat().st_mode & 0o777 == 0o700
    for path in (state.locks, state.slots, state.recipes, state.runs, state.alerts, state.holds, state.leases):
        assert path.stat().st_mode & 0o777 == 0o700
    assert not list(state.root.glob(".probe-*"))


def test_one_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    assert open_state(tmp_path / "state").root.stat().st_mode & 0o777 == 0o700


def test_opening_it_again_keeps_what_is_there(tmp_path: Path) -> None:
    write_atomic(open_state(tmp_path).canonical("hedgedoc") / "canonical.json", b"{}")
    assert (open_state(tmp_path).canonicals / "hedgedoc" / "canonical.json").read_bytes() == b"{}"


def mounted(path: Path) -> int | None:
    """The device of ``path`` on a machine where another one is mounted at ``canonical/``."""
    return 2 if path.name == "canonical" else 1


def unmounted(_path: Path) -> int | None:
    return 1


def absent(path: Path) -> int | None:
    return None if path.name == "canonical" else 1


def marked(root: Path) -> StateDir:
    """A state directory whose canonicals were written to a file system of their own."""
    state = open_state(root)
    state.canonicals.mkdir()
    note_mount(state, device=mounted)
    assert state.mount_marker.is_file()
    return state


@pytest.mark.parametrize("now", [unmounted, absent])
def test_an_empty_mount_point_is_refused_with_both_ways_out(tmp_path: Path, now: Callable[[Path], int | None]) -> None:
    state = marked(tmp_path)
    write_atomic(state.mount_marker, b'{"kind": "xfs", "source": "/srv/my store.xfs", "id": "f00"}')
    with pytest.raises(StateDirError, match="not mounted") as caught:
        check_mount(state, device=now)
    assert caught.value.where == str(state.canonicals)
    assert caught.value.seen == "it was xfs of /srv/my store.xfs f00"
    assert f"mount -o loop '/srv/my store.xfs' {state.canonicals}" in caught.value.advice
    assert f"rm {state.mount_marker}" in caught.value.advice


def test_a_device_is_mounted_without_loop(tmp_path: Path) -> None:
    state = marked(tmp_path)
    write_atomic(state.mount_marker, b'{"kind": "xfs", "source": "/dev/sdb1", "id": "f00"}')
    with pytest.raises(StateDirError) as caught:
        check_mount(state, device=unmounted)
    assert f"mount /dev/sdb1 {state.canonicals}" in caught.value.advice


def test_whoever_opens_the_state_directory_is_refused_and_a_marker_that_is_removed_allows_it(tmp_path: Path) -> None:
    state = marked(tmp_path)
    with pytest.raises(StateDirError, match="not mounted"):
        open_state(tmp_path)
    state.mount_marker.unlink()
    open_state(tmp_path)


def test_a_damaged_marker_still_refuses_and_is_written_anew_by_the_next_writer(tmp_path: Path) -> None:
    state = marked(tmp_path)
    whole = load_mount(state.mount_marker)
    write_atomic(state.mount_marker, b"{")
    with pytest.raises(StateDirError, match="not mounted"):
        check_mount(state, device=unmounted)
    with pytest.raises(StateDamaged):
        load_mount(state.mount_marker)
    check_mount(state, device=mounted)
    note_mount(state, device=mounted)
    assert load_mount(state.mount_marker) == whole


def test_the_marker_is_written_once_and_only_for_another_file_system(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for device in (unmounted, absent):
        note_mount(state, device=device)
        assert not state.mount_marker.exists()
    before = marked(tmp_path).mount_marker.stat().st_ino
    note_mount(state, device=mounted)
    assert state.mount_marker.stat().st_ino == before


TABLE = r"""
25 1 8:1 / / rw - ext4 /dev/sda1 rw
30 25 7:0 / /var/my\040lib rw shared:1 - xfs /dev/loop0 rw
31 25 7:1 / /var/my\040lib rw - btrfs /srv/a\040file rw
32 25 7:2 / /var/my rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/my lib/canonical", FileSystem("btrfs", "/srv/a file")),
        ("/var/mine", FileSystem("ext4", "/dev/sda1")),
        ("/var/my/x", FileSystem("tmpfs", "tmpfs")),
    ],
)
def test_the_file_system_of_a_path_is_the_last_one_mounted_above_it(path: str, found: FileSystem) -> None:
    assert file_system_of(Path(path), TABLE.strip()) == found


def test_the_paths_of_apps_and_runs_are_keyed_by_what_is_unique(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    assert state.lock("warm-a.ci.test") == state.locks / "warm-a.ci.test.lock"
    assert state.run("20260101-000000-abcdef") == state.runs / "20260101-000000-abcdef"
    assert state.infra("keycloak") == state.root / "infra" / "keycloak"


def test_a_file_in_its_way_is_an_error_that_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("here first")
    with pytest.raises(StateDirError, match="cannot be written") as caught:
        open_state(tmp_path / "state")
    assert caught.value.where == str(tmp_path / "state")
    assert caught.value.seen == "File exists: a file is in the way"
    assert "--ccci-state-dir" in caught.value.advice
    assert (tmp_path / "state").read_text() == "here first"


def test_a_file_in_the_way_of_its_parent_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError):
        open_state(tmp_path / "file" / "state")


def test_a_full_file_system_is_found_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateDirError, match=r"No space left on device: \d+\.\d MiB and \d+ files are free"):
        open_state(tmp_path / "state")


@pytest.mark.skipif(
    os.geteuid() != 0 or which("unshare") is None, reason="needs root and unshare for a mount of its own"
)
def test_a_read_only_file_system_is_an_error_that_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pytest_ccci.statedir import open_state\n"
        "from pytest_ccci.errors import StateDirError\n"
        "try: open_state(Path(sys.argv[1]))\n"
        "except StateDirError as error: print(error.seen)\n"
    )
    script = 'mount -t tmpfs -o ro none "$1" && exec "$2" -c "$3" "$1"'
    done = run(["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, code], timeout=60)
    assert done.stdout.strip() == "Read-only file system"


def test_an_atomic_write_replaces_the_whole_file_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record.json"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_disk_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        order.append("sync folder" if Path(f"/proc/self/fd/{handle}").resolve() == tmp_path.resolve() else "sync file")
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomic(tmp_path / "record.json", b"x")
    assert order == ["sync file", "rename", "sync folder"]


def test_every_path_lies_below_the_root(tmp_path: Path) -> None:
    state = statedir.StateDir(tmp_path)
    names = [name for name in vars(statedir.StateDir) if isinstance(vars(statedir.StateDir)[name], property)]
    assert len(names) > 8
    assert all(getattr(state, name).is_relative_to(tmp_path) for name in names)
    assert {"canonical", "image-notes", "infra", "trigger"} <= state.names()
    assert "odd" not in state.names()
