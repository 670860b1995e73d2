"""``ccci status`` looks, and changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.locks import hold, take_place
from pytest_ccci.ops import status
from pytest_ccci.ops.status import inspect_situation
from pytest_ccci.settings import Settings, resolve
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.warm.realms import Owner, reserve

NOBODY = 65534


def listing(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every name below ``root`` with inode, change time and size: a lock taken by filelock changes its file's times."""
    found = [root, *root.rglob("*")]
    return {str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns, path.lstat().st_size) for path in found}


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")


@pytest.fixture
def nowhere(settings: Settings) -> Settings:
    return resolve({"state_dir": str(settings.state_dir)}, {}, {"DOCKER_HOST": "unix:///nowhere/docker.sock"})


def test_nothing_changes_in_the_state_directory_while_runs_are_in_flight(
    state: StateDir, nowhere: Settings, keep: Callable[[str], CanonicalStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("docs")
    domain = "warm-docs.ci.test"
    owner = {"run": "r7", "recipe": "docs", "mode": "quick"}
    for name in (domain, "dead.ci.test"):
        with hold(state.lock(name), wait=0, owner=owner):
            lease = Owner.now(name.partition(".")[0], run_id="r7", lock=state.lock(name), domain=name, nonce="n")
        assert reserve(state, lease, bound=9)
    with (
        hold(state.slots / "0.lock", wait=0, owner=owner),
        hold(state.lock(domain), wait=0, owner=owner),
        take_place(state.lock(domain)),
    ):
        before = listing(state.root)
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", lambda *_: pytest.fail("a lock was tried"))
            found = inspect_situation(nowhere)
        assert listing(state.root) == before
    assert [run.run for run in found.runs] == ["r7"]
    (row,) = found.canonicals
    assert (row.release, row.holder and row.holder.run) == ("1.0.0+1", "r7")
    assert {row.realm: row.alive for row in found.leases} == {"warm-docs": True, "dead": False}
    assert found.unread == ()


def test_a_canonical_of_which_parts_are_missing_is_not_completed(state: StateDir, nowhere: Settings) -> None:
    state.canonical("docs").mkdir(parents=True)
    before = listing(state.root)
    inspect_situation(nowhere)
    assert listing(state.root) == before


def test_a_state_directory_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "a" / "state"))
    monkeypatch.setenv("CCCI_ALERT_URLS", "json://127.0.0.1:9")
    assert cli.main(["status"]) == 0
    assert "canonicals" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def as_nobody(act: Callable[[], object]) -> object:
    """What ``act`` gives in a process of another user."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = json.dumps(act())
        except BaseException as error:  # noqa: BLE001  a child must never come back into its parent's code
            answer = json.dumps(repr(error))
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        answer = told.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_another_user_is_told_what_cannot_be_read(
    state: StateDir, nowhere: Settings, keep: Callable[[str], CanonicalStore], mode: int
) -> None:
    keep("docs")
    for folder in (*state.root.parents, state.root):
        if folder.is_relative_to("/tmp/pytest-of-root") or folder == state.root:
            folder.chmod(0o755)
    state.root.chmod(mode)
    found = as_nobody(lambda: status.inspect_situation(nowhere).unread)
    assert isinstance(found, list), found
    wanted = state.root if mode == 0o700 else state.locks
    assert f"{wanted}: Permission denied" in found
