"""``ccci export`` and ``ccci import`` between two state directories, as an operator calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pytest_ccci import cli
from pytest_ccci.locks import hold
from pytest_ccci.statedir import StateDir, open_state
from pytest_ccci.store.canonical import CanonicalStore
from pytest_ccci.store.copying import CopyBackend

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def there(tmp_path: Path) -> StateDir:
    """Another machine's state directory."""
    return open_state(tmp_path / "there")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Call a command on a state directory; give its exit status and what it showed."""
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")

    def run(state: StateDir, *words: str | Path) -> tuple[int, str]:
        argv = [*map(str, words), f"--ccci-state-dir={state.root}", "--ccci-lock-wait=1"]
        status = cli.main(argv)
        told = capsys.readouterr()
        return status, told.out + told.err

    return run


def keep(
    state: StateDir, recipe: str, *releases: str, zone: str = "ci.test", secrets: Mapping[str, str] | None = None
) -> CanonicalStore:
    """Known-goods of these releases, all kept, each with its own name as data."""
    store = CanonicalStore(state.canonical(recipe), recipe, backend=CopyBackend(), keep=len(releases))
    for release in releases:
        (store.live("data") / "document.txt").write_text(release)
        given = {"password": "hunter2-hunter2"} if secrets is None else secrets
        taken = store.snapshot(volumes=["data"], secrets=given, coverage={}, stopped=lambda: None)
        store.promote(taken, release=release, commit="c" * 40, domain=f"warm-{recipe}.{zone}", run_id="r1")
    return store


def document(state: StateDir, recipe: str, *, release: str = "") -> str:
    store = CanonicalStore(state.canonical(recipe), recipe)
    store.restore(stopped=lambda: None, release=release)
    return (store.live("data") / "document.txt").read_text()


def test_a_known_good_goes_from_one_machine_to_another(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "docs", "1.0.0+1")
    file, words = tmp_path / "docs.tar.zst", ("--passphrase-file", tmp_path / "passphrase")
    status, told = call(state, "export", "docs", file, "--with-secrets", *words)
    assert (status, "encrypted" in told) == (0, True)
    status, told = call(there, "import", file, *words)
    assert (status, "1.0.0+1" in told) == (0, True)
    assert document(there, "docs") == "1.0.0+1"
    assert CanonicalStore(there.canonical("docs"), "docs").secrets() == {"password": "hunter2-hunter2"}
    assert call(there, "verify", "docs", "--read-data")[0] == 0


def test_secrets_may_come_another_way_and_must_be_all_of_them(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "docs", "1.0.0+1")
    file, secrets = tmp_path / "docs.tar.zst", tmp_path / "secrets.json"
    assert "password" in call(state, "export", "docs", file)[1]
    status, told = call(there, "import", file)
    assert (status, "password" in told) == (2, True)
    secrets.write_text(json.dumps({"other": "x"}))
    assert call(there, "import", file, "--secrets", secrets)[0] == 2
    assert not there.canonical("docs").exists()
    secrets.write_text(json.dumps({"password": "hunter2-hunter2"}))
    assert call(there, "import", file, "--secrets", secrets)[0] == 0


def test_what_needs_no_secrets_needs_no_passphrase(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "page", "1.0.0+1", secrets={})
    assert call(state, "export", "page", tmp_path / "x")[0] == 0
    assert call(there, "import", tmp_path / "x")[0] == 0


def test_an_existing_known_good_gives_way_only_when_asked(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "page", "2.0.0+1", secrets={})
    keep(there, "page", "1.0.0+1", secrets={})
    call(state, "export", "page", tmp_path / "x")
    status, told = call(there, "import", tmp_path / "x")
    assert (status, "--replace" in told) == (2, True)
    assert document(there, "page") == "1.0.0+1"
    status, told = call(there, "import", tmp_path / "x", "--replace")
    assert (status, "in the place of 1.0.0+1" in told) == (0, True)
    assert document(there, "page") == "2.0.0+1"


def test_earlier_known_goods_stay_when_one_is_imported(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "page", "4.0.0+1", secrets={})
    keep(there, "page", "1.0.0+1", "2.0.0+1", "3.0.0+1", secrets={})
    call(state, "export", "page", tmp_path / "x")
    assert call(there, "import", tmp_path / "x", "--replace")[0] == 0
    found = CanonicalStore(there.canonical("page"), "page").record()
    assert found is not None
    assert [good.release for good in found.all_goods] == ["4.0.0+1", "3.0.0+1", "2.0.0+1"]
    assert document(there, "page", release="2.0.0+1") == "2.0.0+1"


def test_an_earlier_known_good_is_exported_by_its_release(
    state: StateDir, there: StateDir, call: Call, tmp_path: Path
) -> None:
    keep(state, "page", "1.0.0+1", "2.0.0+1", secrets={})
    assert call(state, "export", "page", tmp_path / "x", "--release", "1.0.0+1")[0] == 0
    call(there, "import", tmp_path / "x")
    assert document(there, "page") == "1.0.0+1"
    status, told = call(state, "export", "page", tmp_path / "y", "--release", "0.9.0+1")
    assert (status, "2.0.0+1" in told) == (2, True)
    assert not (tmp_path / "y").exists()


def test_a_known_good_of_another_zone_is_refused(state: StateDir, there: StateDir, call: Call, tmp_path: Path) -> None:
    keep(state, "page", "1.0.0+1", zone="example.org", secrets={})
    call(state, "export", "page", tmp_path / "x")
    status, told = call(there, "import", tmp_path / "x")
    assert (status, "warm-page.example.org" in told) == (2, True)
    assert call(there, "import", tmp_path / "x", "--ccci-zone=example.org")[0] == 0


def test_a_damaged_file_leaves_no_trace(state: StateDir, there: StateDir, call: Call, tmp_path: Path) -> None:
    keep(state, "page", "1.0.0+1", secrets={})
    call(state, "export", "page", tmp_path / "x")
    raw = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(raw[:-40])
    status, told = call(there, "import", tmp_path / "x")
    assert (status, "no whole export" in told) == (2, True)
    assert not there.canonical("page").exists()


def test_a_file_that_is_there_is_not_overwritten(state: StateDir, call: Call, tmp_path: Path) -> None:
    keep(state, "page", "1.0.0+1", secrets={})
    (tmp_path / "x").write_text("mine")
    assert call(state, "export", "page", tmp_path / "x")[0] == 2
    assert (tmp_path / "x").read_text() == "mine"
    assert call(state, "export", "page", tmp_path / "no" / "x")[0] == 2
    assert call(state, "export", "pages", tmp_path / "y")[0] == 2


def test_a_passphrase_is_asked_for_and_never_taken_from_the_command_line(
    state: StateDir, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(state, "docs", "1.0.0+1")
    status, told = call(state, "export", "docs", tmp_path / "x", "--with-secrets")
    assert (status, "--passphrase-file" in told) == (2, True)
    answers = iter(["correct horse battery", "correct house battery"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(answers))
    status, told = call(state, "export", "docs", tmp_path / "x", "--with-secrets")
    assert (status, "not the same" in told) == (2, True)
    assert not (tmp_path / "x").exists()


def test_a_run_that_uses_it_is_waited_for_and_named(state: StateDir, call: Call, tmp_path: Path) -> None:
    keep(state, "page", "1.0.0+1", secrets={})
    with hold(state.lock("warm-page.ci.test"), wait=0, owner={"run": "20260101-000000-abcdef"}):
        status, told = call(state, "export", "page", tmp_path / "x")
    assert (status, "20260101-000000-abcdef" in told) == (1, True)
