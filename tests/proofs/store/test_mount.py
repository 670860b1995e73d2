"""Canonicals on a file system of their own: while it is not mounted, nobody uses or writes what is below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_ccci import process
from pytest_ccci.cli import main
from pytest_ccci.errors import StateDirError
from pytest_ccci.ops.canonicals import recipes_with_canonical
from pytest_ccci.ops.doctor import store_commands
from pytest_ccci.statedir import StateDir, load_mount, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import choose

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def state(tmp_path: Path, maker: Callable[[str], Path]) -> Iterator[StateDir]:
    """A state directory with a file system of its own at ``canonical/``, made by the commands that doctor prints."""
    maker("xfs")
    state = open_state(tmp_path / "state")
    run_commands(state)
    yield state
    while os.path.ismount(state.canonicals):
        process.run(["umount", state.canonicals], timeout=60)


def run_commands(state: StateDir) -> None:
    """Run what doctor prints; /etc/fstab stays, so its line is given to mount as words."""
    place = str(state.canonicals)
    _title, *lines = store_commands(state, kept=False)
    (entry,) = (line.removeprefix("in /etc/fstab: ").split() for line in lines if line.startswith("in /etc/fstab: "))
    source, target, kind, options, *_ = entry
    assert target == place
    for line in lines:
        words = line.split()
        if words[0] == "mount":
            words = ["mount", "-t", kind, "-o", options, source, target]
        if words[0] != "in":
            process.run(words, timeout=60)


def keep(state: StateDir) -> CanonicalStore:
    store = CanonicalStore(state.canonical("docs"), "docs")
    (store.live("data") / "document.txt").write_text("written before")
    taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
    store.promote(taken, release="1.0.0+1", commit="c" * 40, domain="warm-docs.ci.test", run_id="r1")
    return store


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """All paths below ``folder``, with size and mtime."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_shares_blocks_and_the_first_writer_notes_it(state: StateDir) -> None:
    assert choose(state.canonicals).name == "reflink"
    assert not state.mount_marker.exists()
    keep(state)
    found = load_mount(state.mount_marker)
    assert found is not None
    assert (found.kind, found.source) == ("xfs", f"{state.root}-canonical.xfs")
    assert found.id


def test_while_it_is_not_mounted_all_are_refused_and_nothing_is_written_below(
    state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    before = keep(state).fingerprint()
    process.run(["umount", state.canonicals], timeout=60)
    with pytest.raises(StateDirError, match="not mounted") as caught:
        CanonicalStore(state.canonical("docs"), "docs")
    with pytest.raises(StateDirError, match="not mounted"):
        open_state(state.root)
    place = f"--ccci-state-dir={state.root}"
    for command in (["verify"], ["restore", "docs"], ["status", "docs"]):
        assert main([*command, place]) == 2
        assert "is not mounted" in capsys.readouterr().err
    left = files_in(state.root)
    assert main(["status", place]) == 1
    assert "is not mounted" in capsys.readouterr().out
    assert main(["doctor", place]) == 1
    assert "is not mounted" in capsys.readouterr().out
    assert list(state.canonicals.iterdir()) == []
    assert files_in(state.root) == left
    process.run(["sh", "-c", caught.value.advice.partition(" (")[0]], timeout=60)
    assert recipes_with_canonical(open_state(state.root)) == ("docs",)
    assert CanonicalStore(state.canonical("docs"), "docs").fingerprint() == before


def test_given_up_by_removing_the_marker_it_begins_on_the_plain_file_system(state: StateDir) -> None:
    keep(state)
    process.run(["umount", state.canonicals], timeout=60)
    state.mount_marker.unlink()
    keep(open_state(state.root))
    assert not state.mount_marker.exists()


def test_doctor_prints_the_commands_where_blocks_cannot_be_shared(
    mounted: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state = open_state(mounted("ext4", mib=64) / "state")
    main(["doctor", f"--ccci-state-dir={state.root}"])
    told = [line.strip() for line in capsys.readouterr().out.splitlines()]
    _title, *lines = store_commands(state, kept=False)
    assert set(lines) <= set(told)
    state.canonical("docs").mkdir(parents=True)
    main(["doctor", f"--ccci-state-dir={state.root}"])
    assert "ccci export each canonical first" in capsys.readouterr().out
