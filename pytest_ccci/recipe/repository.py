"""A recipe's repository: where it comes from (git, path, bundled), its bare mirror, and refs as exact commits."""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from pytest_ccci import locks
from pytest_ccci.errors import InfrastructureFault, ProgramFailed, RecipeInvalid, RefError
from pytest_ccci.recipe.bundled import content_hash, import_releases
from pytest_ccci.recipe.git import Git, TagRef, credentials, is_snapshot, plain_url, snapshot_plain, snapshot_work_tree
from pytest_ccci.recipe.releases import Release, newest, parse, sort_tags
from pytest_ccci.recipe.spec import BundledSource, GitSource, PathSource, RecipeSpec, Source
from pytest_ccci.recipe.tree import Head, RecipeTree, open_tree

__all__ = ["TIP", "Head", "Mirror", "RecipeTree", "address_of", "describe", "open_mirror"]

_LOG = logging.getLogger(__name__)

TIP = "refs/ccci/tip"
_ASKED = "refs/ccci/asked/"
"""Keeps what was fetched by its id; no fetch of all branches touches it."""
_HEX = re.compile(r"[0-9a-f]{4,40}", re.ASCII)
_FULL = 40
_NEWEST = 5


@dataclass(frozen=True)
class Mirror:
    """The repository of the recipe ``name``, as of when it was opened; ``tip`` is its current state."""

    name: str
    git: Git
    tip: Head

    def releases(self) -> tuple[Release, ...]:
        """The recipe's releases, oldest first."""
        return self._sorted[0]

    def odd_tags(self) -> tuple[str, ...]:
        """Tags that are no release, to be shown and not forgotten."""
        return self._sorted[1]

    def freeze(self) -> Mirror:
        """Read every branch and tag now, so that somebody else's fetch changes nothing for us; returns itself."""
        _ = self._branches, self._sorted
        return self

    def branches(self) -> Mapping[str, str]:
        """The branches and the commits they lead to."""
        return self._branches

    def resolve(self, ref: str) -> Head:
        """What ``ref`` means: ``tip``, ``latest``, a full or short commit id, a branch, a tag or a full ref name.

        Raises:
            RefError: it is nothing in this recipe, or more than one thing.
        """
        if ref in {"", "tip"}:
            return self.tip
        if ref == "latest":
            return replace(self.head_of(self._latest()), ref=ref)
        if ref.startswith("-"):
            raise self._unknown(ref)
        found = self._meanings(ref)
        if not found:
            raise self._unknown(ref)
        if len({commit for _, commit in found}) > 1:
            raise RefError(
                f"{ref!r} is ambiguous",
                where=self.name,
                seen=", ".join(f"{kind} → {commit[:12]}" for kind, commit in found),
                advice="give the full commit id, or refs/heads/… or refs/tags/…",
            )
        return self._head(ref, *found[0])

    def head_of(self, release: Release) -> Head:
        """The head that a release of this recipe is."""
        tag = self._tags.get(release.tag)
        if tag is None:
            raise self._unknown(release.tag)
        return self._head(release.tag, f"tag {release.tag}", tag.commit)

    def checkout(self, head: Head, into: Path) -> RecipeTree:
        """The files of ``head`` in ``into``, a directory that is new or empty and belongs to one run.

        Raises:
            RecipeInvalid: the recipe has submodules, links that leave it, or no ``compose.yml``.
        """
        modules = [path for mode, path in self.git.entries(head.commit) if mode == "160000"]
        if modules:
            raise RecipeInvalid(
                f"submodules are not supported: {', '.join(modules)}",
                where=f"{self.name} {head.version}",
                advice="put the files themselves into the recipe",
            )
        into.mkdir(parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise RecipeInvalid("the directory for its files is not empty", where=str(into))
        try:
            with tempfile.TemporaryDirectory(prefix="ccci-") as scratch:
                self.git.write_files(head.commit, into.resolve(), index=Path(scratch, "index"))
            return open_tree(into.resolve(), head)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise

    def fetch_commit(self, url: str, commit: str) -> None:
        """Bring a commit with a full id here from ``url``, wherever its branches have gone meanwhile.

        Raises:
            InfrastructureFault: it cannot be had.
        """
        if not re.fullmatch(r"[0-9a-f]{40}", commit, re.ASCII) or url.startswith("-"):
            raise RefError(f"{commit!r} is no full commit id", where=self.name)
        if self.git.commit_of(commit) == commit:
            return
        words = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        owner = {"recipe": self.name, "doing": "fetching a commit"}
        with locks.hold(self.git.folder.with_suffix(".lock"), wait=_WAIT, owner=owner):
            try:
                asked = f"+{commit}:{_ASKED}{commit}"
                self.git.run(*words, "--", url, asked, secrets=credentials(url), remote=True)
            except ProgramFailed as error:
                raise InfrastructureFault(
                    f"the commit {commit} could not be fetched",
                    where=f"{self.name}, {plain_url(url)}",
                    seen=error.tail,
                    advice="is the repository readable without an account?",
                ) from error

    def is_ancestor(self, older: Head | str, newer: Head | str) -> bool:
        """Whether ``newer`` (a head or a full commit id) builds on ``older``; a commit builds on itself."""
        pair = [each.commit if isinstance(each, Head) else each for each in (older, newer)]
        return self.git.run("merge-base", "--is-ancestor", "--end-of-options", *pair, check=False).rc == 0

    def release_with(self, head: Head) -> Release | None:
        """The oldest release that holds ``head``: itself, or the one that it became part of; ``None`` for none yet."""
        if head.release is not None and not head.dirty:
            return head.release
        words = ("for-each-ref", f"--contains={head.commit}", "--format=%(refname)", "refs/tags/")
        tags = {name.removeprefix("refs/tags/") for name in self.git.run(*words).stdout.split()}
        return next((release for release in self.releases() if release.tag in tags), None)

    def first_parents(self, older: Head, newer: Head) -> tuple[str, ...]:
        """The commits after ``older`` up to ``newer``, oldest first, along first parents: as the branch went on."""
        words = ("rev-list", "--first-parent", "--reverse", f"{older.commit}..{newer.commit}")
        return tuple(self.git.run(*words).stdout.split())

    def subject(self, commit: str) -> str:
        """The first line of what a commit says."""
        return self.git.line("log", "-1", "--format=%s", "--end-of-options", commit)

    @cached_property
    def _tags(self) -> Mapping[str, TagRef]:
        return {tag.name: tag for tag in self.git.tags()}

    @cached_property
    def _branches(self) -> Mapping[str, str]:
        return self.git.refs("refs/heads/")

    @cached_property
    def _sorted(self) -> tuple[tuple[Release, ...], tuple[str, ...]]:
        return sort_tags(self._tags)

    def _latest(self) -> Release:
        found = newest(self.releases())
        if found is None:
            odd = ", ".join(self.odd_tags()[:_NEWEST])
            raise RefError(
                "there is no release to be the latest",
                where=self.name,
                seen=f"tags that are no release: {odd}" if odd else "the repository has no tags",
                advice="a release is a tag <recipe semver>+<app version>; --ccci-ref tip tests the current state",
            )
        return found

    def _meanings(self, ref: str) -> list[tuple[str, str]]:
        """Everything ``ref`` could mean, as (what it is, commit)."""
        found: list[tuple[str, str]] = []
        branch, tag = ref.removeprefix("refs/heads/"), ref.removeprefix("refs/tags/")
        if branch in self._branches:
            found.append((f"branch {branch}", self._branches[branch]))
        if tag in self._tags:
            found.append((f"tag {tag}", self._tags[tag].commit))
        if re.fullmatch(r"(?:refs/)?pull/\d+/head", ref, re.ASCII):
            pull = self.git.commit_of(ref if ref.startswith("refs/") else f"refs/{ref}")
            found.extend([(f"pull request {ref}", pull)] if pull else [])
        if _HEX.fullmatch(ref.lower()):
            found.extend((f"commit {sha[:12]}", sha) for sha in self.git.commits_like(ref.lower()))
        # Forty digits can only be meant as the commit, whatever somebody called a branch.
        exact = [each for each in found if each[1] == ref.lower()] if len(ref) == _FULL else []
        return exact or found

    def _head(self, ref: str, kind: str, commit: str) -> Head:
        release = parse(kind.removeprefix("tag ")) if kind.startswith("tag ") else None
        return describe(
            ref,
            commit,
            tags=self._tags,
            release=release,
            branch=kind.removeprefix("branch ") if kind.startswith("branch ") else None,
            dirty=is_snapshot(self.git, commit),
        )

    def _unknown(self, ref: str) -> RefError:
        names = [*self._branches, *self._tags, "latest", "tip"]
        near = difflib.get_close_matches(ref, names, n=3)
        recent = [each.tag for each in self.releases()[: -_NEWEST - 1 : -1]]
        return RefError(
            f"{ref!r} is no branch, tag or commit of this recipe",
            where=self.name,
            seen=f"newest releases: {', '.join(recent) or 'none'}",
            advice=f"did you mean {' or '.join(near)}?" if near else "latest, tip, a branch, a tag or a commit id",
        )


def describe(
    ref: str,
    commit: str,
    *,
    tags: Mapping[str, TagRef],
    release: Release | None = None,
    branch: str | None = None,
    dirty: bool = False,
) -> Head:
    """The head that ``commit`` is: a release when it is tagged as one, else a short commit."""
    here = [parse(tag.name) for tag in tags.values() if tag.commit == commit]
    found = release or newest([each for each in here if each is not None])
    short = commit[:8] + ("+U" if dirty else "")
    return Head(
        ref=ref,
        commit=commit,
        release=found,
        branch=branch,
        dirty=dirty,
        version=found.tag if found else short,
        lightweight=found is not None and not tags[found.tag].annotated,
    )


_WAIT = 900.0
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+refs/pull/*/head:refs/pull/*/head")


def open_mirror(
    spec: RecipeSpec, *, cache: Path, refresh: bool = True, env: Mapping[str, str] = MappingProxyType({})
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
    with locks.hold(git.folder.with_suffix(".lock"), wait=_WAIT, owner=owner):
        if isinstance(source, BundledSource):
            _appear(git, lambda fresh: import_releases(source.folder, fresh))
            tip = _tip(git, branch="main")
        elif isinstance(source, GitSource):
            tip = _fetched(spec.name, source, git, refresh=refresh)
        else:
            tip = _found(source, git)
        return Mirror(spec.name, git, tip).freeze()


def address_of(source: Source) -> str:
    """The address of the repository that a recipe comes from, without credentials; of a work tree that of its origin.

    Empty where there is none, as for releases that are bundled.
    """
    if isinstance(source, GitSource):
        return plain_url(source.url)
    if not isinstance(source, PathSource) or not (source.folder / ".git").exists():
        return ""
    return plain_url(
        Git(source.folder / ".git").run("config", "--get", "remote.origin.url", check=False).stdout.strip()
    )


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


def _fetched(name: str, source: GitSource, git: Git, *, refresh: bool) -> Head:
    if not git.folder.is_dir():
        _LOG.info(f"fetching {name} from {plain_url(source.url)}")
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
