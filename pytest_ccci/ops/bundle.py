"""A run as one file that can be played elsewhere: written without secrets, unpacked as what a stranger made.

A zstd tar of plain files: ``bundle.json`` comes first (the plan, the images by digest, what made it), then
``results.json`` and ``journal.jsonl`` of the run, ``commits.bundle`` (git: base, head and the releases), and
``recipe/…``, the recipe's folder. Before it is written, each file of it and each object of git is searched for what the
state directory knows as secrets. When it is unpacked, names, kinds, numbers and sizes are checked, and no name in it
decides where it goes but below its one folder.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import secrets
import string
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import zstandard
from pydantic import BaseModel, ConfigDict

from pytest_ccci.errors import ArchiveError, CcciError, StoreDamaged, UsageError
from pytest_ccci.recipe.git import Git
from pytest_ccci.recipe.repository import open_mirror
from pytest_ccci.recipe.spec import GitSource, RecipeSpec, line_index, load_spec
from pytest_ccci.redact import SECRETS
from pytest_ccci.results.comparison import differences
from pytest_ccci.results.model import RunResult
from pytest_ccci.results.publish import is_kept
from pytest_ccci.results.verdict import ORDER, deciding
from pytest_ccci.results.write import load_result, write_result
from pytest_ccci.run.attached import load_attachment
from pytest_ccci.run.kept_apps import kept_apps
from pytest_ccci.run.prepare import network
from pytest_ccci.settings import Settings
from pytest_ccci.statedir import StateDir
from pytest_ccci.store.disk import shown
from pytest_ccci.store.fs import os_errors
from pytest_ccci.store.layout import checked_name
from pytest_ccci.warm.health import APPS
from pytest_ccci.warm.infra_recipe import known_secrets

__all__ = ["Bundle", "Comparison", "Replay", "compare", "learn_known_secrets", "open_bundle", "write_bundle"]

_HEAD, _RESULTS, _JOURNAL, _COMMITS = "bundle.json", "results.json", "journal.jsonl", "commits.bundle"
_RECIPE = "recipe/"
_LARGEST_FILE = 64 << 20
_LARGEST = 256 << 20
_MOST = 5000
_LOG = 16 << 20
_WINDOW = 1 << 27
_NO_FILES_OF_ITS = frozenset({".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".venv"})
_PLAYED_AS = ("fast_health", "timeout")
"""Settings that change how an app is tested, and mean the same on every machine."""
_UNCHANGEABLE = "a commit cannot be changed and stay the same"


class Bundle(BaseModel):
    """What a bundle says of itself; the rest is in the run's result.

    ``left_out`` are files of the recipe's folder that are not in it, each with why; ``replaced`` the given secrets that
    stand in it with made-up values, by where they were found; ``changed`` the files that are newer than the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    recipe: str
    run_id: str
    mode: str
    base: str
    head: str
    tiers: tuple[str, ...]
    tests: tuple[str, ...]
    images: dict[str, str]
    environment: dict[str, str]
    made_by: dict[str, str]
    left_out: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


# -- secrets


def learn_known_secrets(settings: Settings, state: StateDir) -> None:
    """Teach the redactor all that the state directory and the settings hold as secrets. Reads only.

    Raises:
        StateDamaged: a file of them cannot be read, so that nobody can tell what must not be shown.
    """
    for app in APPS:
        known_secrets(state, app)
    for pattern in ("canonical/*/snapshots/*/secrets.json", "infra/*/store/snapshots/*/secrets.json"):
        for path in sorted(state.root.glob(pattern)):
            SECRETS.learn(*_values(path))
    for kept in kept_apps(state):
        SECRETS.learn(*(kept.realm.secrets if kept.realm else ()))
    for path in sorted(state.runs.glob("*/attached/*.json")):
        with suppress(CcciError):  # not each file there is an attachment
            realm = load_attachment(path).realm
            SECRETS.learn(*(realm.secrets if realm else ()))
    with os_errors("reading the keys of the zone", where=state.ca):
        SECRETS.learn(*(path.read_text("utf-8", "replace") for path in sorted(state.ca.glob("*.key"))))
    SECRETS.learn(*settings.alert_urls.split())


def _values(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_bytes())
        return [value for value in found.values() if isinstance(value, str)]
    except (OSError, ValueError, AttributeError) as error:
        raise StoreDamaged(
            "the secrets of a known-good cannot be read, so that nobody can tell what must not be in a bundle",
            where=str(path),
            seen=str(error)[:200],
            advice="ccci verify tells what is wrong with it",
        ) from error


def _alike(value: str) -> str:
    """A made-up value of the same length and kinds of characters."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
    return "".join(next((secrets.choice(kind) for kind in kinds if one in kind), one) for one in value)


def _given(spec: RecipeSpec) -> set[str]:
    """The secrets that recipe.toml gives for whichever version; templates are none."""
    values = (value for layer in spec.secrets.layers for value in layer.values.values())
    return {value for value in values if isinstance(value, str) and "{{" not in value}


# -- written


def write_bundle(settings: Settings, state: StateDir, run_id: str, path: Path, *, folder: Path | None) -> Bundle:
    """Write the run as one file at ``path``, which must not be there; ``folder`` is the recipe's, if it has moved.

    Raises:
        UsageError: there is no such run, it tested nothing, its commits or its recipe are gone, or it is too large.
        StoreDamaged: the result cannot be read, or what is secret cannot be told.
    """
    if not is_kept(state, run_id):
        raise UsageError(
            f"there is no run {run_id!r} with its results",
            where=str(state.runs),
            advice="ccci report RECIPE lists runs; ccci prune removes the results of old ones",
        )
    place = state.run(run_id)
    result = load_result(place / _RESULTS)
    spec = _spec_of(result, folder)
    learn_known_secrets(settings, state)
    files, left_out = _recipe_files(spec)
    replaced = _without_given(spec, files)
    with tempfile.TemporaryDirectory(prefix="ccci-bundle-") as scratch:
        commits = _commits(spec, settings, state, result, Path(scratch))
        told = write_result(result, Path(scratch, _RESULTS)).read_bytes()  # with all that is known as secret by now
    made = Bundle(
        recipe=spec.name,
        run_id=result.run_id,
        mode=result.requested_mode,
        base=result.base.commit if result.base else "",
        head=result.head.commit if result.head else "",
        tiers=result.asked,
        tests=tuple(test.nodeid for test in result.custom),
        images={image.ref: image.digest or image.image_id for image in result.images},
        environment={**{f"engine {name}": value for name, value in result.engine.items()}, **result.infra},
        made_by={name: version(name) for name in ("pytest-ccci", "pytest")} | {"python": platform.python_version()},
        left_out=left_out,
        replaced=replaced,
        changed=_changed(spec, files, (place / _RESULTS).stat().st_mtime),
    )
    journal = (place / _JOURNAL).read_bytes()[-_LOG:] if (place / _JOURNAL).is_file() else b""
    parts = {_HEAD: _scrubbed(made.model_dump_json(indent=1).encode()), _RESULTS: told, _JOURNAL: _scrubbed(journal)}
    parts |= {f"{_RECIPE}{name}": _scrubbed(data) for name, data in files.items()}
    _refuse_secrets(parts)
    parts[_COMMITS] = commits  # searched object by object
    _refuse_size(sum(map(len, parts.values())), len(parts))
    data = zstandard.ZstdCompressor(level=10, write_checksum=True).compress(_tar(parts))
    with os_errors("writing the bundle", where=path.parent):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as sink:
                sink.write(data)
        except FileExistsError:
            raise UsageError(
                "there is a file already", where=str(path), advice="give another one with --output"
            ) from None
    return made


def _spec_of(result: RunResult, folder: Path | None) -> RecipeSpec:
    if result.head is None:
        raise UsageError(f"run {result.run_id} never knew what to test, so that there is nothing to play again")
    if folder is None and not result.folder:
        raise UsageError("the result does not say where the recipe was", advice="name its folder with --recipe DIR")
    spec = load_spec(folder or Path(result.folder))
    if spec.name != result.recipe:
        raise UsageError(f"run {result.run_id} was of {result.recipe}, and this is {spec.name}", where=str(spec.folder))
    return spec


def _commits(spec: RecipeSpec, settings: Settings, state: StateDir, result: RunResult, scratch: Path) -> bytes:
    """Base, head and all releases, with the history that leads to them, as git bundles them; searched for secrets."""
    mirror = open_mirror(spec, cache=state.recipes, refresh=False, env=network(settings.environment)).git
    wanted = {"refs/heads/main": result.head.commit if result.head else ""}
    wanted |= {"refs/heads/base": result.base.commit} if result.base else {}
    gone = [commit for commit in wanted.values() if mirror.commit_of(commit) is None]
    if gone:
        raise UsageError(
            f"the recipe's repository has no commit {gone[0][:12]} any more",
            where=str(mirror.folder),
            advice="a bundle can be made as long as what was tested is there",
        )
    git = Git(scratch / "commits.git")
    git.init()
    (git.folder / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (git.folder / "objects" / "info" / "alternates").write_text(f"{mirror.folder.absolute()}/objects\n", "utf-8")
    refs = {**{f"refs/tags/{tag}": sha for tag, sha in mirror.refs("refs/tags/").items()}, **wanted}
    git.run("update-ref", "--stdin", "-z", stdin="".join(f"create {k}\0{v}\0" for k, v in refs.items()).encode())
    _refuse_secret_objects(git)
    file = scratch / _COMMITS
    git.run("bundle", "create", "--quiet", str(file), "--all")
    return file.read_bytes()


def _refuse_secret_objects(git: Git) -> None:
    names = "".join(f"{row.split(' ')[0]}\n" for row in git.run("rev-list", "--objects", "--all").stdout.splitlines())
    sizes = git.run("cat-file", "--batch-check=%(objectsize)", stdin=names.encode()).stdout.split()
    _refuse_size(sum(map(int, sizes)), 0)
    if not SECRETS.finds(git.run("cat-file", "--batch", stdin=names.encode()).stdout):
        return
    for row in git.run("rev-list", "--objects", "--all").stdout.splitlines():
        name, _, path = row.partition(" ")
        if SECRETS.finds(git.run("cat-file", "-p", name).stdout):
            raise _secret_in(f"commit or file {name[:12]} {path}".rstrip(), _UNCHANGEABLE)
    raise _secret_in("the recipe's commits", _UNCHANGEABLE)


def _recipe_files(spec: RecipeSpec) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of the recipe's folder, without what git has, and what is left out, with why."""
    files: dict[str, bytes] = {}
    left_out = []
    source = getattr(spec.source, "folder", None)
    for place, folders, names in os.walk(spec.folder):
        folders[:] = sorted(name for name in folders if name not in _NO_FILES_OF_ITS and Path(place, name) != source)
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(spec.folder).as_posix()
            if name.endswith(".pyc"):
                continue
            if not path.is_file() or not path.resolve().is_relative_to(spec.folder.resolve()):
                left_out.append(f"{relative}: it is no file, or leads out of the folder")
            elif path.stat().st_size > _LARGEST_FILE or not _is_safe(relative):
                left_out.append(f"{relative}: it is too large, or has an odd name")
            else:
                files[relative] = path.read_bytes()
        _refuse_size(sum(map(len, files.values())), len(files))
    return files, tuple(left_out[:100])


def _without_given(spec: RecipeSpec, files: dict[str, bytes]) -> tuple[str, ...]:
    """Put made-up values of the same kind in the place of the secrets that recipe.toml gives, in all of its files."""
    where: dict[str, None] = {}
    for value in sorted(_given(spec), key=len, reverse=True):
        SECRETS.learn(value)
        if not SECRETS.finds(value):
            continue  # a word that is in every log
        other = _alike(value).encode()
        for name, data in files.items():
            if value.encode() in data:
                files[name] = data.replace(value.encode(), other)
                where[name] = None
    return tuple(where)


def _changed(spec: RecipeSpec, files: Iterable[str], ended: float) -> tuple[str, ...]:
    return tuple(name for name in files if (spec.folder / name).stat().st_mtime > ended)[:100]


def _scrubbed(data: bytes) -> bytes:
    try:
        return SECRETS.scrub(data.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return data  # searched below, and refused where one is in it


def _refuse_secrets(parts: Mapping[str, bytes]) -> None:
    for name, data in parts.items():
        if any(SECRETS.finds(text) for text in (name, data.decode("utf-8", "replace"), data.decode("latin-1"))):
            raise _secret_in(name, "remove it from the recipe's folder")


def _secret_in(what: str, advice: str) -> UsageError:
    problem = "a secret of this machine would be in the bundle; nothing was written"
    return UsageError(problem, where=SECRETS.scrub(what), advice=advice)


def _refuse_size(size: int, number: int) -> None:
    if size > _LARGEST or number > _MOST:
        raise UsageError(
            f"the recipe is too large for a bundle: {number} files, {shown(size)}",
            seen=f"at most {_MOST} files and {shown(_LARGEST)}",
        )


def _tar(parts: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


# -- unpacked


@dataclass(frozen=True)
class Replay:
    """A bundle that was unpacked, and how its run is played: ``words`` and ``targets`` for pytest.

    ``notes`` say where it is not the same as then.
    """

    bundle: Bundle
    result: RunResult
    folder: Path
    words: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...]


def open_bundle(path: Path, into: Path) -> Replay:
    """Unpack a bundle below ``into``, an empty folder: the recipe, and a repository with its commits.

    Raises:
        ArchiveError: it is damaged, too large, holds anything but plain files of its own, or is none.
    """
    into = into.resolve()
    with _told(path):
        bundle = _unpack(path, into)
        result = load_result(into / _RESULTS)
        if result.run_id != bundle.run_id or result.head is None or result.head.commit != bundle.head:
            raise ValueError("its result is another run's")
        folder = into / "recipes" / bundle.recipe
        repository = _repository(into, [commit for commit in (bundle.head, bundle.base) if commit])
        file = folder / "recipe.toml"
        file.write_text(_with_source(file.read_text("utf-8"), repository), "utf-8")
        spec = load_spec(folder)
        if spec.source != GitSource(str(repository)):
            raise ValueError("its recipe.toml has an odd [source]")
    words, notes = _words(bundle, result)
    return Replay(bundle, result, folder, tuple(words), tuple(_targets(bundle, folder)), tuple(notes))


_FAULTS: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RecursionError),
    *(tarfile.TarError, zstandard.ZstdError, CcciError),
)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever is wrong with a bundle is one kind of fault."""
    try:
        yield
    except _FAULTS as error:
        seen = ascii(str(error).partition("\n")[0][:300] or type(error).__name__)[1:-1]
        raise ArchiveError("this is no bundle of a run that can be played", where=str(path), seen=seen) from error


def _unpack(path: Path, into: Path) -> Bundle:
    total = 0
    bundle: Bundle | None = None
    seen: set[str] = set()
    with path.open("rb") as file:
        plain = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(file)
        with tarfile.open(fileobj=plain, mode="r|", encoding="utf-8") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # public, and missing in the stub: memory would grow
                total += member.size
                if len(seen) >= _MOST or member.size > _LARGEST_FILE or total > _LARGEST:
                    raise ValueError("it is too large")
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or member.issparse() or member.name in seen:
                    raise ValueError(f"{_odd(member.name)} is no plain file, or there twice")
                seen.add(member.name)
                data = source.read(member.size)
                if len(data) != member.size:
                    raise ValueError("it is cut off")
                if bundle is None:
                    if member.name != _HEAD:
                        raise ValueError(f"{_HEAD} should come first in it")
                    bundle = Bundle.model_validate_json(data)
                    checked_name(bundle.recipe, what="recipe")
                    continue
                _write(_place(member.name, into, bundle.recipe), data)
    if bundle is None or not {_RESULTS, _COMMITS, f"{_RECIPE}recipe.toml"} <= seen:
        raise ValueError("something is missing in it")
    return bundle


def _place(name: str, into: Path, recipe: str) -> Path:
    if name in {_RESULTS, _JOURNAL, _COMMITS}:
        return into / name
    relative = name.removeprefix(_RECIPE)
    if not name.startswith(_RECIPE) or not _is_safe(relative):
        raise ValueError(f"{_odd(name)} has no place in it")
    return into / "recipes" / recipe / relative


def _is_safe(relative: str) -> bool:
    """Whether a path leads nowhere but down, and its names are such that every reader takes them for the same."""
    parts = relative.split("/")
    return len(relative) < 1000 and all(  # noqa: PLR2004  PATH_MAX is 4096, of which others need some
        part not in {"", ".", ".."} and part.lower() not in _NO_FILES_OF_ITS and part.isprintable() and "\\" not in part
        for part in parts
    )


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as sink:
        sink.write(data)


def _odd(name: str) -> str:
    return ascii(name[:100])


def _repository(into: Path, commits: list[str]) -> Path:
    """The repository with the commits of the bundle; what is checked out of it is bounded."""
    git = Git(into / "repository.git")
    git.init()
    words = ("-c", "fetch.fsckObjects=true", "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--")
    git.run(*words, str(into / _COMMITS), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    for commit in commits:
        if not re.fullmatch(r"[0-9a-f]{40}", commit, re.ASCII) or git.commit_of(commit) is None:
            raise ValueError("a commit of the run is not in it")
        rows = git.run("ls-tree", "-r", "-l", "--full-tree", commit).stdout.splitlines()
        sizes = [int(row.split(None, 4)[3]) for row in rows if row.split(None, 4)[3].isdecimal()]
        if sum(sizes) > _LARGEST or len(rows) > _MOST:
            raise ValueError("a version of the recipe is too large")
    return git.folder


def _with_source(text: str, repository: Path) -> str:
    """recipe.toml whose versions come from ``repository``, and all else of which is the same."""
    was = tomllib.loads(text)
    (key,) = was["source"]
    lines = text.splitlines()
    index, address = line_index(text), json.dumps(str(repository))
    at = index.get(("source", key), index.get(("source",), 0)) - 1
    row = lines[at].lstrip()
    if row.startswith("[") or at < 0:
        raise ValueError("its recipe.toml has an odd [source]")
    dotted = row.startswith("source.")
    inline = not dotted and row.partition("=")[0].strip() == "source"
    lines[at] = f"source = {{git = {address}}}" if inline else f"{'source.' if dotted else ''}git = {address}"
    made = "\n".join(lines) + "\n"
    if tomllib.loads(made) != {**was, "source": {"git": str(repository)}}:
        raise ValueError("its recipe.toml has an odd [source]")
    return made


def _words(bundle: Bundle, result: RunResult) -> tuple[list[str], list[str]]:
    words, notes = ["--cold", f"--ccci-ref={bundle.head}"], []
    if result.base and result.base.release:
        words.append(f"--ccci-base={result.base.release}")
    elif result.base:
        notes.append(f"the base was {result.base.version}, which is no release: a cold run chooses one by itself")
    if result.mode == "quick":
        notes.append(
            "the run was quick, from data that is kept where it was made: this one is cold, from the same version"
        )
    if _came_to(result)[1] != "settle":  # where a promotion may be what failed
        words.append("--ccci-promote=false")
    for name in _PLAYED_AS:
        told = result.settings.get(name, "")
        value, _, source = told.rpartition(" (")
        if value and source != "default)" and re.fullmatch(r"[\w.]+", value, re.ASCII):
            words.append(f"--ccci-{name.replace('_', '-')}={value}")
    notes += [f"not in the bundle: {each}" for each in bundle.left_out]
    notes += [f"{each} has made-up values where it gave secrets" for each in bundle.replaced]
    notes += [f"{each} was changed after the run" for each in bundle.changed]
    return words, notes


def _targets(bundle: Bundle, folder: Path) -> Iterator[str]:
    """What pytest is asked for: the folder, or the tiers and tests that were selected of it."""
    if set(ORDER) <= set(bundle.tiers):
        yield str(folder)
        return
    yield from (f"{folder}/recipe.toml::{tier}" for tier in bundle.tiers if tier in ORDER and tier != "custom")
    for nodeid in bundle.tests:
        file, colons, test = nodeid.partition("::")
        name = Path(file).name
        if colons and _is_safe(name) and (folder / name).is_file():
            yield f"{folder}/{name}::{test}"


# -- compared


@dataclass(frozen=True)
class Comparison:
    """Whether the same step came to the same verdict, and what differs between then and now."""

    same: bool
    then: str
    now: str
    differs: tuple[str, ...]


def compare(bundle: Bundle, then: RunResult, now: RunResult) -> Comparison:
    """What a replay came to: pure, from the two results."""
    # Of settings those are told that the words of the replay name; seconds and log lines always differ.
    bare: dict[str, object] = {"settings": {}, "tiers": ()}
    kinds = differences(now.model_copy(update=bare), then.model_copy(update=bare))
    differs = [f"{one.title.lower()}: {line}" for one in kinds for line in one.lines]
    for name, was in bundle.made_by.items():
        here = platform.python_version() if name == "python" else version(name)
        if here != was:
            differs.append(f"{name}: {was} → {here}")
    return Comparison(_came_to(then)[:2] == _came_to(now)[:2], _told_of(then), _told_of(now), tuple(differs))


def _came_to(result: RunResult) -> tuple[str, str, str]:
    first = deciding(result.tiers, result.custom, leftovers=result.leftovers)
    return str(result.verdict), first.tier if first else "", first.reason.strip().partition("\n")[0] if first else ""


def _told_of(result: RunResult) -> str:
    verdict, tier, reason = _came_to(result)
    return f"{verdict}{f' at {tier}' if tier else ''}{f': {reason}' if reason else ''}"
