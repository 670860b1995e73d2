"""git, driven without a shell, without anybody's configuration, and without a way for a recipe to run something."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from pytest_ccci import process
from pytest_ccci.errors import UsageError
from pytest_ccci.redact import SECRETS

__all__ = [
    "Git",
    "TagRef",
    "credentials",
    "identity",
    "is_snapshot",
    "plain_url",
    "snapshot_plain",
    "snapshot_tree",
    "snapshot_work_tree",
]

_SETTINGS: Mapping[str, str] = {
    "safe.directory": "*",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "advice.addEmbeddedRepo": "false",
}
_LOCAL, _REMOTE = 120.0, 600.0
_FULL_SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class TagRef:
    """A tag: its name, the commit it leads to, and whether it is an annotated one."""

    name: str
    commit: str
    annotated: bool


@dataclass(frozen=True)
class Git:
    """git on the bare repository ``folder``; ``extra`` holds the caller's proxy and CA variables."""

    folder: Path
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)

    def run(
        self,
        *words: str,
        env: Mapping[str, str] = MappingProxyType({}),
        stdin: bytes | None = None,
        check: bool = True,
        secrets: tuple[str, ...] = (),
        remote: bool = False,
    ) -> process.Finished:
        """Run a git command on this repository; ``remote`` ones may take longer."""
        return process.run(
            (_program(), "--git-dir", str(self.folder), *words),
            timeout=_REMOTE if remote else _LOCAL,
            env={**_environment(self.extra), **env},
            stdin=stdin,
            check=check,
            secrets=secrets,
        )

    def line(self, *words: str, env: Mapping[str, str] = MappingProxyType({}), stdin: bytes | None = None) -> str:
        """What a git command prints, without the line's end."""
        return self.run(*words, env=env, stdin=stdin).stdout.strip()

    def init(self) -> None:
        """Make the repository: bare, branch main, SHA-1 names, whatever this machine's defaults are."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.run("init", "--quiet", "--bare", "--object-format=sha1", "--template=", "-b", "main", str(self.folder))

    def commit_of(self, name: str) -> str | None:
        """The full id of the commit that a full ref name or object id leads to, or ``None``."""
        found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}", check=False)
        sha = found.stdout.strip()
        return sha if found.rc == 0 and _FULL_SHA.fullmatch(sha) else None

    def commits_like(self, prefix: str) -> tuple[str, ...]:
        """Every commit whose id begins with ``prefix`` (hexadecimal digits)."""
        names = self.run("rev-parse", f"--disambiguate={prefix}", check=False).stdout.split()
        return tuple(sorted(name for name in names if self._kind(name) == "commit"))

    def refs(self, under: str) -> dict[str, str]:
        """The refs below ``under`` (``refs/heads/``) by the rest of their name, with their object ids."""
        rows = self.run("for-each-ref", "--format=%(objectname) %(refname)", under).stdout.splitlines()
        pairs = (row.partition(" ") for row in rows)
        return {name.removeprefix(under): sha for sha, _, name in pairs}

    def tags(self) -> tuple[TagRef, ...]:
        """Every tag that leads to a commit."""
        shape = "--format=%(refname)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)"
        rows = [row.split("\0") for row in self.run("for-each-ref", shape, "refs/tags/").stdout.splitlines()]
        found = ((name, kind, self._peeled(name, kind, *rest)) for name, kind, *rest in rows)
        return tuple(TagRef(name.removeprefix("refs/tags/"), sha, kind == "tag") for name, kind, sha in found if sha)

    def entries(self, commit: str) -> Iterable[tuple[str, str]]:
        """Mode and path of everything in a commit."""
        for row in self.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout.split("\0"):
            about, tab, path = row.partition("\t")
            if tab:
                yield about.split(" ", 1)[0], path

    def write_files(self, commit: str, into: Path, *, index: Path) -> None:
        """Put the files of ``commit`` into ``into``, all of them (an archive would leave out ``export-ignore``)."""
        env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(into)}
        self.run("read-tree", commit, env=env)
        self.run("checkout-index", "--all", "--force", f"--prefix={into}/", env=env)

    def _peeled(self, name: str, kind: str, sha: str, inner_kind: str, inner_sha: str) -> str | None:
        if kind == "commit":
            return sha
        return inner_sha if inner_kind == "commit" else self.commit_of(name)

    def _kind(self, name: str) -> str:
        return self.run("cat-file", "-t", name, check=False).stdout.strip()


def credentials(url: str) -> tuple[str, ...]:
    """What in ``url`` must not be shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ()
    userinfo = parts.netloc.rpartition("@")[0] if parts.scheme else ""
    found = tuple(part for part in (userinfo, parts.password or "") if part and userinfo != "git")
    SECRETS.learn(*found)
    return found


def plain_url(url: str) -> str:
    """``url`` without credentials, for people."""
    for secret in credentials(url):
        url = url.replace(f"{secret}@", "")
    return url


def _program() -> str:
    found = process.which("git")
    if found is None:
        raise UsageError("there is no git on PATH", advice="install git (Debian: apt-get install git)")
    return str(found)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    settings = {
        f"GIT_CONFIG_{part}_{at}": word for at, pair in enumerate(_SETTINGS.items()) for part, word in _kv(pair)
    }
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        **extra,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
        **settings,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _kv(pair: tuple[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("KEY", pair[0]), ("VALUE", pair[1])


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
