from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_ccci import process, web
from pytest_ccci.engine import discovery
from pytest_ccci.engine.client import Engine
from pytest_ccci.errors import EngineUnavailable, InfrastructureFault
from pytest_ccci.progress import received
from pytest_ccci.waiting import Deadline, until


def test_an_engine_that_dies_at_once_is_told_with_its_last_words_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spawn(*_: Any, log: Path, env: object) -> int:
        del env
        log.write_text("failed to start daemon: Devices cgroup isn't mounted\n", encoding="utf-8")
        return 4711

    monkeypatch.setattr(web, "is_open", lambda *_: False)
    monkeypatch.setattr(process, "spawn", spawn)
    monkeypatch.setattr(process, "alive", lambda pid: pid != 4711)
    with pytest.raises(EngineUnavailable, match="did not come up\n  seen: failed to start daemon: Devices cgroup"):
        discovery.attach_or_start(tmp_path / "engine")


def test_beside_another_engine_none_is_started_and_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that only tries already takes the bridges and the packet filter of the other."""
    started: list[Any] = []
    monkeypatch.setattr(web, "is_open", lambda address, port: (address, port) == ("127.0.0.1", 2377))
    monkeypatch.setattr(process, "spawn", lambda *words, **_: started.append(words))
    with pytest.raises(EngineUnavailable, match=r"another Docker engine is a Swarm .*\n  try: .*DOCKER_HOST"):
        discovery.attach_or_start(tmp_path / "engine")
    assert started == []


def test_the_bridges_of_another_engine_stay_when_ours_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(discovery, "_BRIDGES", ("lo",))
    monkeypatch.setattr(discovery, "_VXLAN", re.compile("none"))
    monkeypatch.setattr(process, "which", lambda name: name)
    monkeypatch.setattr(process, "run", lambda words, **_: ran.append(words))
    for another, removed in ((True, []), (False, [["ip", "link", "delete", "lo"]])):
        monkeypatch.setattr(web, "is_open", lambda *_, another=another: another)
        discovery.remove(tmp_path / "engine")
        assert ran == removed


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Interfaces as the kernel shows them; the programs that were run on them."""
    flags = {"lo": "0x9", "docker0": "0x1003", "vx-001003-wqnox": "0x1002", "vx-001001-upupu": "0x1043"}
    for name, shown in {**flags, "vx-mine": "0x1002", "vxlan0": "0x1002"}.items():
        (tmp_path / "net" / name).mkdir(parents=True)
        (tmp_path / "net" / name / "flags").write_text(f"{shown}\n", encoding="ascii")
    ran: list[Any] = []
    monkeypatch.setattr(discovery, "_NET", tmp_path / "net")
    monkeypatch.setattr(process, "which", lambda name: name)
    monkeypatch.setattr(process, "run", lambda words, **_: ran.append(words[-1]))
    return ran


def test_a_tunnel_that_a_dead_engine_left_goes_before_the_next_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interfaces: list[Any]
) -> None:
    def spawn(*_: Any, log: Path, env: object) -> int:
        del env
        interfaces.append("dockerd")
        log.write_text("no", encoding="utf-8")
        return 4711

    told: list[str] = []
    monkeypatch.setattr(web, "is_open", lambda *_: False)
    monkeypatch.setattr(process, "spawn", spawn)
    monkeypatch.setattr(process, "alive", lambda pid: pid != 4711)
    with pytest.raises(EngineUnavailable), received(told.append):
        discovery.attach_or_start(tmp_path / "engine")
    assert interfaces == ["vx-001003-wqnox", "dockerd"]
    assert told[0] == "engine: removed the interface vx-001003-wqnox, left by an engine that died"


@pytest.mark.parametrize("another", [True, False])
def test_a_tunnel_goes_with_our_engine_unless_it_may_be_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interfaces: list[Any], another: bool
) -> None:
    monkeypatch.setattr(web, "is_open", lambda *_: another)
    discovery.remove(tmp_path / "engine")
    assert interfaces == ([] if another else ["docker0", "vx-001003-wqnox"])


@pytest.mark.parametrize("held", [True, False])
def test_a_new_engine_takes_another_port_for_its_tunnels_than_one_that_is_held(
    monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    """The tunnels of a dead engine hold theirs from network namespaces that nobody sees any more."""
    asked: list[dict[str, Any]] = []
    swarm = SimpleNamespace(init=lambda **how: asked.append(how))
    client = SimpleNamespace(swarm=swarm, info=lambda: {"Swarm": {"LocalNodeState": "inactive"}})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tunnel:
        tunnel.bind(("", 0))
        port = tunnel.getsockname()[1]
        monkeypatch.setattr(discovery, "_DATA_PATH_PORT", port)
        if not held:
            tunnel.close()
        discovery._swarm(cast("Engine", SimpleNamespace(client=client)))
    [how] = asked
    assert (how["data_path_port"] != port) == held
    assert 1024 <= how["data_path_port"] <= 49_151 or not held


_SHIM = """
import subprocess, threading
def contain():
    child = subprocess.Popen(["sleep", "600"])
    print(child.pid, flush=True)
    child.wait()
threading.Thread(target=contain).start()
"""


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Callable[[Path], tuple[int, int]]]:
    """What keeps a container of the engine in a folder alive when that engine died; its pid, and the container's."""
    started: list[int] = []

    def start(directory: Path) -> tuple[int, int]:
        log = tmp_path / f"{len(started)}.log"
        socket = directory / "exec" / "containerd" / "containerd.sock"
        words = ["containerd-shim-runc-v2", "-namespace", "moby", "-address", str(socket)]
        pid = process.spawn([sys.executable, "-c", _SHIM, *words], log=log)
        until(lambda: log.read_text().strip(), deadline=Deadline(30), what="the container")
        started.extend((pid, int(log.read_text())))
        return pid, int(log.read_text())

    yield start
    for pid in started:
        process.terminate(pid, force=True)


def test_the_containers_of_an_engine_that_died_go_with_it_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shim: Callable[[Path], tuple[int, int]]
) -> None:
    """Traefik would hold its ports on, and Keycloak its memory, when nothing of the engine is there any more."""
    monkeypatch.setattr(web, "is_open", lambda *_: True)
    ours, others = shim(tmp_path / "engine"), shim(tmp_path / "engine-2")
    (tmp_path / "engine").mkdir()
    discovery.remove(tmp_path / "engine")
    assert [process.alive(pid) for pid in ours] == [False, False]
    assert [process.alive(pid) for pid in others] == [True, True]


_ORPHAN = "import sys, time; print('up', flush=True); time.sleep(float(sys.argv[1]))"


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[Callable[[float], Path]]:
    """A process that stands for the containerd of a killed engine, as its pid file names it."""
    started: list[int] = []

    def start(seconds: float) -> Path:
        log = tmp_path / "log"
        pid = process.spawn([sys.executable, "-c", _ORPHAN, str(seconds), str(tmp_path)], log=log)
        started.append(pid)
        until(lambda: "up" in log.read_text(), deadline=Deadline(30), what="the orphan")
        note = tmp_path / "exec" / "containerd" / "containerd.pid"
        note.parent.mkdir(parents=True)
        note.write_text(str(pid))
        return note

    yield start
    for pid in started:
        process.terminate(pid, force=True)


def test_a_containerd_that_is_about_to_die_is_waited_for_and_forgotten(
    orphan: Callable[[float], Path], tmp_path: Path
) -> None:
    note = orphan(0.3)
    pid = int(note.read_text())
    discovery.forget_orphan(tmp_path)
    assert not process.alive(pid)
    assert not note.exists()


def test_a_containerd_that_lives_on_is_left_for_the_engine_to_attach_to(
    orphan: Callable[[float], Path], tmp_path: Path
) -> None:
    note = orphan(60)
    discovery.forget_orphan(tmp_path, patience=0.2)
    assert note.exists()


@pytest.mark.parametrize("said", ["", "nonsense", "1"], ids=["empty", "no number", "somebody else's pid"])
def test_a_note_of_a_containerd_that_is_not_ours_is_removed(tmp_path: Path, said: str) -> None:
    note = tmp_path / "exec" / "containerd" / "containerd.pid"
    note.parent.mkdir(parents=True)
    note.write_text(said)
    discovery.forget_orphan(tmp_path)
    assert not note.exists()


def test_an_engine_that_never_ran_has_no_orphan(tmp_path: Path) -> None:
    discovery.forget_orphan(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_mounted_below_is_found_whatever_its_name(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    rows = ("/state/engine", "/state/engine/data/a\\040b", "/state/engine/data", "/state/engines/x", "/other")
    table.write_text("".join(f"36 35 98:0 / {place} rw - ext4 /dev/x rw\n" for place in rows))
    assert discovery.mounts_below(Path("/state/engine"), table=table) == (
        "/state/engine/data/a b",
        "/state/engine/data",
    )


def test_an_engine_in_which_something_stays_mounted_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "engine" / "data" / "volumes" / "warm_db" / "_data" / "PG_VERSION"
    kept.parent.mkdir(parents=True)
    kept.write_text("15")
    asked: list[Any] = []
    monkeypatch.setattr(discovery, "mounts_below", lambda _: (str(kept.parent),))
    monkeypatch.setattr(process, "run", lambda argv, **_: asked.append(argv))
    with pytest.raises(InfrastructureFault, match="still mounted"):
        discovery.remove(tmp_path / "engine")
    assert asked[0][0] == "umount"
    assert kept.read_text() == "15"


def test_a_private_engine_is_known_as_one_where_it_is_named_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "engine" / "docker.sock"
    monkeypatch.setattr(discovery, "running_pid", lambda folder: 4711 if folder == socket.parent else None)
    assert discovery.is_private(f"unix://{socket}")
    assert not discovery.is_private("unix:///var/run/docker.sock")
    assert not discovery.is_private(f"unix://{socket.with_name('other.sock')}")
    assert not discovery.is_private("tcp://127.0.0.1:2375")
