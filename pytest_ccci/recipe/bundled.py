"""Bundled releases: numbered folders that become a git repository, the same one on every machine.

``<n>-<tag>/`` are overlays, each over the one before; ``tip/`` is one more commit on main; ``pr/<name>/`` is the
branch ``pr/<name>`` over the tip, or over the tag that its ``.base`` names. ``.removed`` lists paths that go.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_ccci.errors import RecipeInvalid
from pytest_ccci.recipe.git import Git, identity, snapshot_tree

__all__ = ["content_hash", "import_releases"]

_RELEASE = re.compile(r"(\d+)-(.+)", re.ASCII)
_CONTROL = (".removed", ".base")


@dataclass(frozen=True)
class _Made:
    """A commit and the overlays that led to it."""

    commit: str
    layers: tuple[Path, ...]
    step: int


def content_hash(folder: Path) -> str:
    """A hash of everything in ``folder``: names, executable bits, link targets, bytes."""
    digest = hashlib.sha256()
    for path in sorted(_walk(folder), key=lambda each: each.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        kind = "l" if path.is_symlink() else "x" if path.stat().st_mode & stat.S_IXUSR else "f"
        digest.update(f"{kind} {len(content)} {name}\0".encode() + content)
    return digest.hexdigest()


def import_releases(folder: Path, git: Git) -> None:
    """Fill the new repository ``git`` from ``folder``.

    Raises:
        RecipeInvalid: there is no numbered release, or a folder that is none of the known kinds.
    """
    releases, pulls = _layout(folder)
    git.init()
    made: dict[str, _Made] = {}
    last: _Made | None = None
    for tag, layer in releases:
        last = _commit(git, last, layer, f"Release {tag}", step=len(made))
        _annotate(git, tag, last)
        made[tag] = last
    if last is None:
        raise RecipeInvalid("there is no release", where=str(folder), advice="add a folder like 1-1.0.0+2.3.4/")
    tip = folder / "tip"
    head = _commit(git, last, tip, "Work towards the next release", step=len(made)) if tip.is_dir() else last
    git.run("update-ref", "refs/heads/main", head.commit)
    for pull in pulls:
        base = _base(pull, made) or head
        change = _commit(git, base, pull, f"Propose {pull.name}", step=len(made) + 1)
        git.run("update-ref", f"refs/heads/pr/{pull.name}", change.commit)
    git.run("update-ref", "refs/ccci/tip", head.commit)


def _layout(folder: Path) -> tuple[list[tuple[str, Path]], list[Path]]:
    if not folder.is_dir():
        raise RecipeInvalid("there is no folder of bundled releases", where=str(folder))
    numbered: dict[int, tuple[str, Path]] = {}
    for entry in sorted(folder.iterdir()):
        found = _RELEASE.fullmatch(entry.name)
        if found and entry.is_dir():
            if int(found[1]) in numbered:
                raise RecipeInvalid(f"two releases have the number {found[1]}", where=str(folder))
            numbered[int(found[1])] = found[2], entry
        elif entry.is_dir() and entry.name not in {"tip", "pr", "__pycache__"}:
            raise RecipeInvalid(
                f"the folder {entry.name} is no release", where=str(folder), advice="folders: <n>-<tag>, tip, pr"
            )
    pulls = sorted(entry for entry in (folder / "pr").glob("*") if entry.is_dir())
    return [numbered[number] for number in sorted(numbered)], pulls


def _commit(git: Git, base: _Made | None, layer: Path, subject: str, *, step: int) -> _Made:
    layers = (*(base.layers if base else ()), layer)
    with tempfile.TemporaryDirectory(prefix="ccci-") as scratch:
        for each in layers:
            _overlay(each, Path(scratch))
        tree = snapshot_tree(git, Path(scratch), everything=True)
    after = ("-p", base.commit) if base else ()
    return _Made(git.line("commit-tree", tree, *after, "-m", subject, env=identity(step)), layers, step)


def _annotate(git: Git, tag: str, made: _Made) -> None:
    if git.run("check-ref-format", f"refs/tags/{tag}", check=False).rc or tag.startswith("-"):
        raise RecipeInvalid(f"{tag!r} cannot be the name of a tag", where=str(made.layers[-1]))
    git.run("tag", "--annotate", "-m", f"Release {tag}", "--", tag, made.commit, env=identity(made.step))


def _base(pull: Path, made: dict[str, _Made]) -> _Made | None:
    file = pull / ".base"
    if not file.is_file():
        return None
    name = file.read_text(encoding="utf-8").strip()
    if name not in made:
        raise RecipeInvalid(f".base names {name!r}, which is no release here", where=str(pull), seen=", ".join(made))
    return made[name]


def _overlay(layer: Path, onto: Path) -> None:
    removed = layer / ".removed"
    for name in removed.read_text(encoding="utf-8").splitlines() if removed.is_file() else ():
        if name.strip():
            _remove(onto / _inside(name.strip(), layer))
    for path in _walk(layer):
        relative = path.relative_to(layer)
        if relative.as_posix() not in _CONTROL:
            _remove(onto / relative)
            (onto / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, onto / relative, follow_symlinks=False)


def _inside(name: str, layer: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise RecipeInvalid(f".removed names {name!r}, which lies outside the recipe", where=str(layer))
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _walk(folder: Path) -> Iterable[Path]:
    """Files and links below ``folder``; what tools leave beside them stays out."""
    for parent, names, files in os.walk(folder):
        links = [name for name in names if Path(parent, name).is_symlink()]
        names[:] = [name for name in names if name != "__pycache__" and name not in links]
        yield from (Path(parent, name) for name in (*files, *links) if not name.endswith(".pyc"))
