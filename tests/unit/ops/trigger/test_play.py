"""How a command is played: with our own tests, nothing of the forge in its environment, and always with an answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from maderuns import made_result

from pytest_ccci.errors import InfrastructureFault, NoRun, ProgramFailed, UsageError, Verdict
from pytest_ccci.ops.run_pytest import ChildRun
from pytest_ccci.ops.trigger import play
from pytest_ccci.ops.trigger.play import Job, Player, find_recipes, without_run
from pytest_ccci.ops.trigger.store import Status
from pytest_ccci.settings import resolve
from pytest_ccci.statedir import StateDir

HEAD, RUN = "a" * 40, "20261130-224451-3f2c1a"
ENVIRONMENT = {
    "PATH": "/bin",
    "CCCI_FORGE": "https://git.example.org",
    "CCCI_FORGE_TOKEN_FILE": "/run/token",
    "CREDENTIALS_DIRECTORY": "/run/credentials",
    "CCCI_SLOTS": "2",
}


class Mirror:
    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.fetched = fault, list[tuple[str, str]]()

    def fetch_commit(self, url: str, commit: str) -> None:
        self.fetched.append((url, commit))
        if self.fault:
            raise self.fault


def no_run(said: str, tail: str) -> NoRun:
    """A pytest that ended without a run, with its verdict and reason."""
    ended = NoRun("no run", tail=tail)
    ended.said = said
    return ended


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Mirror:
    found = Mirror()
    monkeypatch.setattr(play, "load_spec", lambda folder: folder)
    monkeypatch.setattr(play, "open_mirror", lambda _spec, **_: found)
    return found


def played(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, ends: Any, *, mode: Any = "cold", stop: bool = False
) -> tuple[play.Played, dict[str, Any]]:
    called: dict[str, Any] = {}
    asked = threading.Event()

    def run(_state: StateDir, folder: Path, words: list[str], **more: Any) -> ChildRun:
        called.update(more, folder=folder, words=words)
        if stop:
            asked.set()
        if isinstance(ends, Exception):
            raise ends
        return ChildRun("pytest", 0, ends, Path("results.json"))

    monkeypatch.setattr(play, "run_pytest_apart", run)
    player = Player(resolve({}, {}, ENVIRONMENT), state, ["--ccci-zone=x.test"], link="https://ci.example.org/runs/")
    job = Job("k", Path("/recipes/notes"), "https://git.example.org/coop/notes.git", HEAD, mode, RUN)
    return player.play(job, asked), called


def test_the_run_is_of_our_own_folder_at_the_commit_and_knows_nothing_of_the_forge(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    done, called = played(state, monkeypatch, made_result())
    assert mirror.fetched == [("https://git.example.org/coop/notes.git", HEAD)]
    assert called["folder"] == Path("/recipes/notes")
    assert called["words"] == [
        "--cold",
        f"--ccci-ref={HEAD}",
        f"--ccci-run-id={RUN}",
        "--ccci-reach=tip",
        "--ccci-promote=false",
    ]
    assert called["settings"] == ["--ccci-zone=x.test"]
    assert called["env"] == {"PATH": "/bin", "CCCI_SLOTS": "2"}
    assert done.run_id == made_result().run_id
    assert done.body.startswith("<!-- ccci run ")
    assert done.status is not None


def test_a_quick_run_sets_no_status(state: StateDir, monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> None:
    done, called = played(state, monkeypatch, made_result(requested_mode="quick", mode="quick"), mode="quick")
    assert called["words"][0] == "--quick"
    assert done.status is None
    assert mirror.fetched


@pytest.mark.parametrize(
    ("fault", "ends", "words"),
    [
        (
            InfrastructureFault("the commit could not be fetched"),
            made_result(),
            "error: the commit could not be fetched",
        ),
        (None, ProgramFailed("pytest ended without a run"), "error: pytest ended without a run"),
        (None, OSError("no space"), "error: no space"),
        (None, no_run("error", "no engine"), "error: no engine"),
        (None, no_run("", ""), "error: no run"),
    ],
    ids=["no-commit", "no-program", "no-space", "no-engine", "no-word"],
)
def test_what_says_nothing_of_the_recipe_is_an_error(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, mirror: Mirror, fault: Exception, ends: Any, words: str
) -> None:
    mirror.fault = fault
    done, _ = played(state, monkeypatch, ends)
    assert (done.verdict, done.doing) == (Verdict.ERROR, words)
    assert done.status is not None
    assert (done.status.state, done.status.description) == ("error", words)


def test_a_run_that_was_cut_off_is_told_so_whatever_it_wrote(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    done, _ = played(state, monkeypatch, made_result(), stop=True)
    assert mirror.fetched
    assert done.verdict == Verdict.ERROR
    assert "the run was interrupted" in done.body


def test_words_of_an_error_are_code_and_mention_nobody() -> None:
    told = without_run("cold", HEAD, "`@everyone` \x1b[31m| <img src=x>")
    assert "`'@everyone'" in told.body
    assert "\x1b" not in told.body
    assert told.status is not None
    assert len(without_run("cold", HEAD, "x" * 999).status.description) <= 140  # type: ignore[union-attr]  # cold has one


def test_recipes_are_found_by_the_names_of_their_repositories(tmp_path: Path) -> None:
    for name in ("all/Notes", "all/other", "own"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.toml").touch()
    (tmp_path / "all" / "no-recipe").mkdir()
    found = find_recipes(f"{tmp_path}/all coop/notes={tmp_path}/own")
    assert found == {"notes": tmp_path / "own", "other": tmp_path / "all" / "other"}
    for bad in (f"{tmp_path}/own", f"x={tmp_path}/all", f"{tmp_path}/nowhere"):
        with pytest.raises(UsageError, match=r"there is no recipe\.toml in it"):
            find_recipes(bad)


def test_a_head_that_is_refused_before_a_run_is_the_recipes_fault(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    ends = no_run("fail", "notes 35db07e1: this version reaches too far\n  seen: `the @engine`")
    done, _ = played(state, monkeypatch, ends)
    assert mirror.fetched
    assert (done.verdict, done.doing) == (Verdict.FAIL, "notes 35db07e1: this version reaches too far")
    assert done.status == Status("failure", done.doing)
    assert "- `seen: 'the @engine'`" in done.body
    assert played(state, monkeypatch, ends, mode="quick")[0].status is None
