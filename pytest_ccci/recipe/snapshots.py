"""A directory's content as a commit in our own repository: the same content is the same commit on every machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_ccci.recipe.git import Git

__all__ = ["identity", "is_snapshot", "snapshot_plain", "snapshot_tree", "snapshot_work_tree"]

_WORK_TREE = "Working tree, as it was found"
_PLAIN = "Directory, as it was found"
_EPOCH = 1_577_836_800  # 2020-01-01, a date for what has none


def identity(step: int = 0) -> Mapping[str, str]:
    """Author, committer and date that are the same everywhere; ``step`` days after the first."""
    when = f"{_EPOCH + 86_400 * step} +0000"
    return {
        "GIT_AUTHOR_NAME": "pytest-ccci",
        "GIT_AUTHOR_EMAIL": "ccci@localhost",
        "GIT_AUTHOR_DATE": when,
        "GIT_COMMITTER_NAME": "pytest-ccci",
        "GIT_COMMITTER_EMAIL": "ccci@localhost",
        "GIT_COMMITTER_DATE": when,
    }


def snapshot_tree(git: Git, folder: Path, *, base: str | None = None, everything: bool = False) -> str:
    """The id of a git tree with the content of ``folder``.

    Ignored files stay out, unless ``base`` (a commit) tracks them; with ``everything`` nothing is ignored.
    """
    with tempfile.TemporaryDirectory(prefix="ccci-") as scratch:
        env = {"GIT_INDEX_FILE": str(Path(scratch, "index")), "GIT_WORK_TREE": str(folder)}
        if base is not None:
            git.run("read-tree", base, env=env)
        exclude = folder / ".git" / "info" / "exclude"
        words = ["-c", f"core.excludesFile={exclude if exclude.is_file() else '/dev/null'}", "-C", str(folder)]
        force = ["--force"] if everything else []
        git.run(*words, "add", "--all", *force, "--", ".", env=env)
        return git.line("write-tree", env=env)


def snapshot_plain(git: Git, folder: Path) -> str:
    """The commit that holds a directory which is no work tree: its content is all the version it has."""
    return git.line("commit-tree", snapshot_tree(git, folder), "-m", _PLAIN, env=identity())


def snapshot_work_tree(git: Git, folder: Path, *, parent: str | None) -> str:
    """The commit that holds a work tree as it is now: ``parent`` itself when nothing differs from it."""
    tree = snapshot_tree(git, folder, base=parent)
    if parent is not None and tree == git.line("rev-parse", "--verify", f"{parent}^{{tree}}"):
        return parent
    after = ("-p", parent) if parent else ()
    return git.line("commit-tree", tree, *after, "-m", _WORK_TREE, env=identity())


def is_snapshot(git: Git, commit: str) -> bool:
    """Whether ``commit`` was made of a working tree by us, and so is in nobody's repository."""
    return git.line("log", "-1", "--format=%s", commit) == _WORK_TREE
