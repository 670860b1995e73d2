"""Where a recipe comes from: git, path and bundled sources, all brought to one bare repository of ours.

After that there is one code path. Repositories are keyed by name and source, filled under a lock, and appear at once.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pytest_ccci import locks
from pytest_ccci.errors import InfrastructureFault, ProgramFailed, RecipeInvalid
from pytest_ccci.locks import Tell, silent
from pytest_ccci.recipe.bundled import content_hash, import_releases
from pytest_ccci.recipe.git import Git, credentials, plain_url
from pytest_ccci.recipe.mirror import TIP, Mirror, describe
from pytest_ccci.recipe.snapshots import snapshot_plain, snapshot_work_tree
from pytest_ccci.recipe.spec import BundledSource, GitSource, PathSource, RecipeSpec, Source
from pytest_ccci.recipe.tree import Head, RecipeTree

__all__ = ["Head", "Mirror", "RecipeTree", "open_mirror"]

_WAIT = 900.0
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+refs/pull/*/head:refs/pull/*/head")


def open_mirror(
    spec: RecipeSpec,
    *,
    cache: Path,
    refresh: bool = True,
    tell: Tell = silent,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Mirror:
    """The repository of the recipe, up to date unless ``refresh`` is off (then: as last fetched).

    ``env`` holds the caller's proxy and CA variables, nothing else of the environment reaches git.

    Raises:
        RecipeInvalid: the source holds no recipe.
        InfrastructureFault: the source is out of reach.
    """
    source = spec.source
    git = Git(cache / f"{spec.name}-{_key(source)}.git", env)
    owner = {"recipe": spec.name, "doing": "bringing its repository up to date"}
    with locks.hold(git.folder.with_suffix(".lock"), wait=_WAIT, owner=owner, tell=tell):
        if isinstance(source, BundledSource):
            _appear(git, lambda fresh: import_releases(source.folder, fresh))
            tip = _tip(git, branch="main")
        elif isinstance(source, GitSource):
            tip = _fetched(spec.name, source, git, refresh=refresh, tell=tell)
        else:
            tip = _found(source, git)
        return Mirror(spec.name, git, tip).freeze()


def _key(source: Source) -> str:
    if isinstance(source, BundledSource):
        if not source.folder.is_dir():
            raise RecipeInvalid("there is no folder of bundled releases", where=str(source.folder))
        return content_hash(source.folder)[:12]
    what = source.url if isinstance(source, GitSource) else str(source.folder)
    return hashlib.sha256(what.encode()).hexdigest()[:12]


def _appear(git: Git, fill: Callable[[Git], None]) -> None:
    """Make the repository beside its place and rename it there: half of one is never seen."""
    if git.folder.is_dir():
        return
    fresh = Git(git.folder.with_suffix(".new"), git.extra)
    shutil.rmtree(fresh.folder, ignore_errors=True)
    try:
        fill(fresh)
        fresh.folder.rename(git.folder)
    finally:
        shutil.rmtree(fresh.folder, ignore_errors=True)


def _fetched(name: str, source: GitSource, git: Git, *, refresh: bool, tell: Tell) -> Head:
    if not git.folder.is_dir():
        tell(f"fetching {name} from {plain_url(source.url)}")
        _appear(git, lambda fresh: _fetch(fresh, source.url, name))
    elif refresh:
        _fetch(git, source.url, name)
    return _tip(git, branch=git.line("symbolic-ref", "HEAD").removeprefix("refs/heads/"))


def _fetch(git: Git, url: str, name: str) -> None:
    secrets = credentials(url)
    if not git.folder.is_dir():
        git.init()
    try:
        seen = git.run("ls-remote", "--symref", "--", url, "HEAD", secrets=secrets, remote=True).stdout
        default = next((row.split()[1] for row in seen.splitlines() if row.startswith("ref: ")), "")
        if not seen.strip():
            raise RecipeInvalid("the repository has no commits", where=f"{name}, {plain_url(url)}")
        words = ("fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-recurse-submodules")
        git.run(*words, "--", url, f"+HEAD:{TIP}", *_REFSPECS, secrets=secrets, remote=True)
    except ProgramFailed as error:
        raise InfrastructureFault(
            "the recipe's repository could not be fetched",
            where=f"{name}, {plain_url(url)}",
            seen=error.tail,
            advice="check the address under [source] git, the network, and proxy or CA settings",
        ) from error
    if default.startswith("refs/heads/"):
        git.run("symbolic-ref", "HEAD", default)


def _found(source: PathSource, git: Git) -> Head:
    folder = source.folder
    if not folder.is_dir():
        raise RecipeInvalid("there is no such directory", where=str(folder), advice="see [source] path in recipe.toml")
    _appear(git, Git.init)
    if not (folder / ".git").exists():
        return describe("tip", snapshot_plain(git, folder), tags={})
    words = ("fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-recurse-submodules", "--update-shallow")
    git.run(*words, "--", str(folder), *_REFSPECS[:2], remote=True)
    born = git.run(*words, "--", str(folder), f"+HEAD:{TIP}", check=False, remote=True).rc == 0
    parent = git.commit_of(TIP) if born else None
    commit = snapshot_work_tree(git, folder, parent=parent)
    return describe("tip", commit, tags={t.name: t for t in git.tags()}, branch=_branch(folder), dirty=commit != parent)


def _branch(folder: Path) -> str | None:
    head = Git(folder / ".git").run("symbolic-ref", "--quiet", "--short", "HEAD", check=False)
    return head.stdout.strip() or None


def _tip(git: Git, *, branch: str) -> Head:
    commit = git.commit_of(TIP)
    if commit is None:
        raise RecipeInvalid("the repository has no commits", where=str(git.folder))
    return describe("tip", commit, tags={tag.name: tag for tag in git.tags()}, branch=branch)
