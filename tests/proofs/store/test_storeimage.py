"""A store in a file: made once, found mounted or told, back after a reboot, never written beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ccci import process, storeimage
from pytest_ccci.cli import main, setup
from pytest_ccci.errors import DiskFull, InfrastructureFault, StateDirError, UsageError
from pytest_ccci.locks import silent
from pytest_ccci.ops.provision import MachineFacts, Need, install
from pytest_ccci.process import alive, spawn
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend, choose
from pytest_ccci.waiting import Deadline, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
SIZE = storeimage.SMALLEST


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    if process.which("mkfs.xfs") is None:
        install((Need("xfsprogs", "the proofs of the store make file systems"),), tell=silent)
    state = open_state(tmp_path / "state")
    yield state
    while storeimage.is_mounted(state.canonicals):
        process.run(["umount", state.canonicals], timeout=60)


def keep(state: StateDir) -> CanonicalStore:
    store = CanonicalStore(state.canonical("docs"), "docs")
    (store.live("data") / "document.txt").write_text("written before")
    taken = store.snapshot(volumes=["data"], secrets={}, coverage={}, stopped=lambda: None)
    store.promote(taken, release="1.0.0+1", commit="c" * 40, domain="warm-docs.ci.test", run_id="r1")
    return store


def reboot(state: StateDir) -> None:
    """What is left of a mount after one."""
    process.run(["umount", state.canonicals], timeout=60)


def test_a_store_shares_blocks_and_takes_little_room_before_it_is_used(state: StateDir) -> None:
    assert storeimage.create(state.root, SIZE, tell=silent)
    assert choose(state.canonicals).name == "reflink"
    facts = state.store_image.stat()
    assert (facts.st_size, facts.st_mode & 0o077) == (SIZE, 0)
    assert facts.st_blocks * 512 < SIZE // 4
    assert state.canonicals.stat().st_mode & 0o077 == 0
    assert not storeimage.create(state.root, SIZE, tell=silent)


def test_it_is_back_after_a_reboot_with_what_was_kept(state: StateDir) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    before = keep(state).fingerprint()
    reboot(state)
    again = open_state(state.root)
    store = CanonicalStore(again.canonical("docs"), "docs")
    assert (store.fingerprint(), store.verify()) == (before, ())


def test_nothing_is_written_into_the_empty_mount_point(state: StateDir) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    keep(state)
    reboot(state)
    with pytest.raises(StateDirError, match="not mounted") as caught:
        CanonicalStore(state.canonical("docs"), "docs", backend=CopyBackend())
    assert "mount -t xfs" in caught.value.advice
    assert list(state.canonicals.iterdir()) == []


def test_without_root_it_is_told_and_not_taken_for_empty(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    keep(state)
    reboot(state)
    monkeypatch.setattr("pytest_ccci.storeimage.os.geteuid", lambda: 1000)
    with pytest.raises(StateDirError, match="not mounted"):
        open_state(state.root)
    for command in ("verify", "status"):
        assert main([command, f"--ccci-state-dir={state.root}"]) == 2
        assert "only root can mount it" in capsys.readouterr().err


def test_a_store_that_cannot_be_mounted_is_told(state: StateDir) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    reboot(state)
    with state.store_image.open("r+b") as file:
        file.write(bytes(1 << 16))
    with pytest.raises(StateDirError, match="not mounted"):
        open_state(state.root)


OPEN = """
import sys
from pathlib import Path
from pytest_ccci.statedir import open_state
from pytest_ccci.storeimage import is_mounted
sys.exit(0 if is_mounted(open_state(Path(sys.argv[1])).canonicals) else 1)
"""


def test_many_that_open_it_at_once_mount_it_once(state: StateDir, tmp_path: Path) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    keep(state)
    reboot(state)
    pids = [spawn([sys.executable, "-c", OPEN, state.root], log=tmp_path / f"log{number}") for number in range(8)]
    until(lambda: not any(map(alive, pids)), deadline=Deadline(120), what="all of them", every=0.05)
    assert [(tmp_path / f"log{number}").read_text() for number in range(8)] == [""] * 8
    mounts = Path("/proc/mounts").read_text().split()
    assert mounts.count(str(state.canonicals)) == 1
    assert CanonicalStore(state.canonical("docs"), "docs").verify() == ()


def test_canonicals_on_the_plain_file_system_are_never_covered(state: StateDir) -> None:
    before = keep(state).fingerprint()
    with pytest.raises(UsageError, match="would cover") as caught:
        storeimage.create(state.root, SIZE, tell=silent)
    assert "docs" in caught.value.seen
    assert not state.store_image.exists()
    assert CanonicalStore(state.canonical("docs"), "docs").fingerprint() == before


def test_another_size_is_refused_where_there_is_a_store(state: StateDir) -> None:
    storeimage.create(state.root, SIZE, tell=silent)
    with pytest.raises(UsageError, match="stays as it is"):
        storeimage.create(state.root, SIZE * 2, tell=silent)


def test_one_that_would_outgrow_its_disk_is_refused(state: StateDir) -> None:
    with pytest.raises(DiskFull, match="GiB missing"):
        storeimage.create(state.root, 1 << 50, tell=silent)
    assert not state.store_image.exists()


def test_what_was_cut_off_half_made_is_made_anew(state: StateDir) -> None:
    (state.root / "store.img.new").write_bytes(b"half made")
    assert storeimage.create(state.root, SIZE, tell=silent)
    assert storeimage.is_mounted(state.canonicals)
    assert not (state.root / "store.img.new").exists()


def test_one_that_cannot_be_mounted_at_once_leaves_nothing(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    real = process.run

    def no_mount(argv: list[str], **named: float) -> process.Finished:
        return real(["false"] if argv[0] == "mount" else argv, **named)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr("pytest_ccci.storeimage.process.run", no_mount)
    with pytest.raises(InfrastructureFault, match="nothing of it is left"):
        storeimage.create(state.root, SIZE, tell=silent)
    assert [path.name for path in state.root.glob("store*")] == []


def test_doctor_says_what_the_store_is_and_what_copying_would_gain(
    state: StateDir, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", f"--ccci-state-dir={state.root}"])
    assert "--store-size" in capsys.readouterr().out
    storeimage.create(state.root, SIZE, tell=silent)
    main(["doctor", f"--ccci-state-dir={state.root}"])
    told = capsys.readouterr().out
    assert "reflink" in told
    assert "store.img" in told


def test_setup_installs_what_it_needs_only_then_and_makes_it(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the engine: setup's own order of asking, installing and making."""
    bare = MachineFacts(root=True, apt=True, engine="there", registry=True, programs=frozenset({"git"}))
    wanted: list[str] = []
    monkeypatch.setattr(setup, "gather", lambda _engine: bare)
    monkeypatch.setattr(setup, "install", lambda needs, **_: wanted.extend(need.package for need in needs))
    monkeypatch.setattr(setup, "provision", lambda *_, **__: None)
    assert main(["setup", f"--ccci-state-dir={state.root}"]) == 0
    assert wanted == []
    assert not state.store_image.exists()
    assert main(["setup", "--store-size", "320M", f"--ccci-state-dir={state.root}"]) == 0
    assert wanted == ["xfsprogs"]
    assert storeimage.is_mounted(state.canonicals)
    assert "store     made: reflink" in capsys.readouterr().out
    assert main(["setup", "--store-size", "320M", f"--ccci-state-dir={state.root}"]) == 0
    assert "store     reused: reflink" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "20", "G", "20K", "100M", "-5G", "2.5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|too small"):
        storeimage.parse_size(text)


@pytest.mark.parametrize(
    ("text", "size"), [("20G", 20 << 30), ("512m", 512 << 20), ("1TiB", 1 << 40), ("2GB", 2 << 30)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert storeimage.parse_size(text) == size
