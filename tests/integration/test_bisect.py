"""The first bad commit of a real history, by quick runs from the known-good."""

from __future__ import annotations

from pathlib import Path

import pytest
from page import COMPOSE, TOML
from realruns import Pytest, ccci, of_stack

from pytest_ccci import process
from pytest_ccci.engine.client import Engine
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.canonical import CanonicalStore

GOOD = "1.0.0+1.22"
BREAK = ("image: nginx:1.22", "image: nginx:1.22\n    command: ['false']")


def _git(tree: Path, *words: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "tag.gpgsign=false")
    return process.run(["git", *who, "-C", str(tree), *words], timeout=60).stdout.strip()


def _commit(tree: Path, subject: str, *, release: str = GOOD, broken: bool = False) -> str:
    text = COMPOSE.replace("version=@RELEASE@", f"version={release}").replace("@RELEASE@", subject)
    (tree / "compose.yml").write_text(text.replace(*BREAK) if broken else text, encoding="utf-8")
    _git(tree, "add", "--all")
    _git(tree, "commit", "--quiet", "--message", subject)
    return _git(tree, "rev-parse", "HEAD")


@pytest.fixture
def history(page_recipe: Path) -> list[str]:
    """The recipe as a git work tree: a release, a commit that works, and from the next one on they do not."""
    tree = page_recipe / "tree"
    tree.mkdir()
    _git(tree, "init", "--quiet", "--initial-branch", "main")
    (tree / ".env.sample").write_text("TYPE=page\nDOMAIN=x\n", encoding="utf-8")
    commits = [_commit(tree, "the release")]
    _git(tree, "tag", "--annotate", "--message", GOOD, GOOD)
    commits += [_commit(tree, "works"), _commit(tree, "breaks it", broken=True), _commit(tree, "goes on", broken=True)]
    (page_recipe / "recipe.toml").write_text(TOML.replace('bundled = "releases"', 'path = "tree"'), encoding="utf-8")
    return commits


def test_the_commit_that_broke_it_is_found_and_the_known_good_is_as_it_was(
    user_pytest: Pytest, page_recipe: Path, history: list[str], warm_state: StateDir, engine: Engine
) -> None:
    assert user_pytest("--ccci-ref", "latest", page_recipe).result.known_good.action == "seeded"
    store = CanonicalStore(warm_state.canonical(page_recipe.name), page_recipe.name)
    before = store.fingerprint()
    done = ccci("bisect", page_recipe, "--good", GOOD, "--bad", "main")
    assert done.rc == 0
    assert f"the first bad commit is {history[2]}  breaks it" in done.stdout
    assert f"{history[1][:10]} is good" in done.stdout
    assert "is the known-good of 1.0.0+1.22" in done.stdout
    assert done.stdout.count("$ pytest --quick") == 3
    assert store.fingerprint() == before
    assert of_stack(engine, f"warm-{page_recipe.name}") == []
    wrong = ccci("bisect", page_recipe, "--good", GOOD, "--bad", history[1])
    assert wrong.rc == 1
    assert "is to be bad, and is good" in wrong.stderr
    backwards = ccci("bisect", page_recipe, "--good", "main", "--bad", GOOD)
    assert backwards.rc == 2
    assert "does not build on" in backwards.stderr
