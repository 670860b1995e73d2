"""`ccci reach` on folders as authors have them: what it prints, how it ends, and that nothing is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ccci import cli, process
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import load_spec
from pytest_ccci.run.reach import judge_reach

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = """\
version: "3.8"
services:
  app:
    image: notes:1
    networks: [proxy]
    volumes: [{volumes}]
networks:
  proxy: {{external: true}}
"""
GIT = {
    **{f"GIT_{who}_{what}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a state directory that is not there, and an engine that does not answer."""
    monkeypatch.setenv("CCCI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def notes(here: Path) -> Path:
    """A checkout with one release that mounts a folder of the machine, and a branch that mounts another one."""
    folder = here / "notes"
    folder.mkdir()

    def commit(volumes: str, *after: str) -> None:
        (folder / "compose.yml").write_text(COMPOSE.format(volumes=volumes), encoding="utf-8")
        for words in (("add", "-A"), ("commit", "-qm", "x"), after):
            if words:
                process.run(["git", *words], timeout=30, cwd=folder, env=GIT)

    process.run(["git", "init", "-qb", "main"], timeout=30, cwd=folder, env=GIT)
    commit("'/srv/media:/m:ro'", "tag", "-am", "x", "1.0.0+1")
    process.run(["git", "checkout", "-qb", "wide"], timeout=30, cwd=folder, env=GIT)
    commit("'/srv/media:/m', '/var/run/docker.sock:/s'", "checkout", "-q", "main")
    return folder


def reach(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = cli.main(["reach", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out or told.err


def test_what_a_branch_reaches_beyond_the_newest_release_is_refused_first(
    notes: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = reach(capsys, notes, "--ccci-ref", "wide")
    assert status == 1
    rows = text.splitlines()
    assert rows[1].split()[:3] == ["refused", "app", "bind:/srv/media"]
    assert "bind:/var/run/docker.sock" in text
    assert rows[-1].endswith("beside 1.0.0+1: 2 refused of 2")
    assert not (here.parent / "state").exists()


def test_what_the_base_reaches_is_shown_and_allowed(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (notes / "README.md").write_text("changed after the release\n", encoding="utf-8")
    status, text = reach(capsys, notes)
    assert status == 0
    assert text.splitlines()[1].split()[:3] == ["allowed", "app", "bind:/srv/media:ro"]
    assert "the base reaches it, too" in " ".join(text.split())


def test_another_base_may_be_named(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reach(capsys, notes, "--ccci-ref", "wide", "--ccci-base", "wide")[0] == 0


def test_a_grant_allows_one_thing_and_no_other(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--ccci-ref", "wide", "--grant", "bind:/srv/media", "--json")
    status, text = reach(capsys, notes, *words)
    rows = {row["key"]: (row["refused"], row["why"]) for row in json.loads(text)["reach"]}
    assert status == 1
    assert rows["bind:/srv/media"] == (False, "granted")
    assert rows["bind:/var/run/docker.sock"] == (True, "the base does not reach it")


def test_a_grant_for_what_is_not_reached_is_an_error(notes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = reach(capsys, notes, "--grant", "bind:/")
    assert status == 2
    assert "'bind:/' grants nothing that this version reaches" in text
    assert "bind:/srv/media:ro" in text


def test_without_a_release_there_is_no_base(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bare").mkdir()
    (here / "bare" / "compose.yml").write_text(COMPOSE.format(volumes="'/srv/media:/m:ro'"), encoding="utf-8")
    status, text = reach(capsys, "bare")
    assert status == 1
    assert "there is no base that reaches it" in " ".join(text.split())
    assert text.splitlines()[-1].endswith("which has no base: 1 refused of 1")


def test_a_link_that_leads_out_of_the_recipe_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bare").mkdir()
    (here / "bare" / "compose.yml").write_text(COMPOSE.format(volumes=""), encoding="utf-8")
    (here / "bare" / "conf").symlink_to("/etc")
    status, text = reach(capsys, "bare")
    assert status == 1
    assert "the symbolic link conf leaves the recipe" in text


def test_a_value_that_only_a_run_knows_is_told_and_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = reach(capsys, ROOT / "pytest_ccci" / "infra" / "traefik")
    assert status == 2
    assert "can only be filled in by a run" in text


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in (ROOT / "recipes").glob("*/recipe.toml")), ids=lambda path: path.name
)
def test_no_release_and_no_branch_of_the_bundled_recipes_is_refused(folder: Path, tmp_path: Path) -> None:
    spec = load_spec(folder)
    mirror = open_mirror(spec, cache=tmp_path)
    releases = mirror.releases()
    first = mirror.head_of(releases[0])
    for name in ["tip", *(each.tag for each in releases), *mirror.branches()]:
        assert judge_reach(spec, mirror, mirror.resolve(name), first, zone="ci.test").refused == (), name


def test_a_bundled_recipe_is_told_to_reach_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = reach(capsys, ROOT / "recipes" / "lasuite-docs", "--ccci-ref", "pr/crash-loop")
    assert (status, "nothing outside of its app" in text) == (0, True)
