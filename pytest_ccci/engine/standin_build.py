"""Builds stand-in images: what one is made from as a value, what is fetched on the host, and the build itself."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ccci import locks, process
from pytest_ccci.engine.standin_definitions import Definition
from pytest_ccci.errors import CcciError, DiskFull, EngineUnavailable, ImageUnavailable, UsageError
from pytest_ccci.waiting import Stopwatch

if TYPE_CHECKING:
    import docker

__all__ = [
    "BUILT",
    "REQUIREMENTS",
    "STANDS_IN_FOR",
    "Built",
    "Plan",
    "build",
    "expand",
    "fetch",
    "is_fetched",
    "plan",
    "write_context",
]

_LOG = logging.getLogger(__name__)

_FORMAT = 1
_EPOCH = 1_577_836_800
"""What was fetched has this time: pip, npm and zip say different ones for the same content."""
_NOT_FILES = {"image.toml", "overlays"}
_NPM_ARCH = {"amd64": "x64"}


@dataclass(frozen=True)
class Plan:
    """One image to be built: ``files`` by their path in the context, ``fetch`` with its templates filled in."""

    definition: Definition
    version: str
    arch: str
    files: dict[str, Path]
    fetch: dict[str, dict[str, Any]]
    content: str


def plan(definition: Definition, version: str, *, arch: str, base: str) -> Plan:
    """What ``version`` is made from, on an engine of ``arch`` (``amd64``, ``arm64``), FROM what ``base`` identifies."""
    files = _effective_files(definition, version)
    wanted = definition.fetch.model_dump(mode="json", exclude_none=True)
    fetch: dict[str, dict[str, Any]] = _fill(wanted, {"version": version, "arch": arch, "npm_arch": npm_arch(arch)})
    facts = {
        "format": _FORMAT,
        "name": definition.name,
        "version": version,
        "arch": arch,
        "base": base,
        "fetch": fetch,
        "files": [(name, _executable(path), _digest(path)) for name, path in sorted(files.items())],
    }
    content = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Plan(definition, version, arch, files, fetch, content)


def npm_arch(arch: str) -> str:
    """What Node calls Docker's name for a processor architecture."""
    return _NPM_ARCH.get(arch, arch)


def expand(text: str, version: str) -> str:
    """Fill ``{version}`` in."""
    return text.replace("{version}", version)


def write_context(plan: Plan, fetched: dict[str, Path], target: Path) -> None:
    """Write the build context as a tar: the definition's files and below ``fetched/<kind>`` what was fetched."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(plan.files.items()):
            tar.add(path, name, filter=partial(_plain, moment=_moment(path)))
        for kind, folder in sorted(fetched.items()):
            for name, path in _walk(folder):
                tar.add(path, f"fetched/{kind}/{name}", recursive=False, filter=_plain)


def _effective_files(definition: Definition, version: str) -> dict[str, Path]:
    files = {name: path for name, path in _files(definition.folder) if name.split("/")[0] not in _NOT_FILES}
    for overlay in definition.overlays(version):
        files.update(_files(overlay))
    return files


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    inside = root.resolve()
    for name, path in _walk(root):
        if path.is_dir() and not path.is_symlink():
            continue
        if not path.resolve().is_relative_to(inside):
            raise UsageError(f"{name} points outside the folder it stands in", where=str(root))
        if "__pycache__" not in path.parts:
            yield name, path


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        yield path.relative_to(root).as_posix(), path


def _moment(path: Path) -> int:
    """A time that changes with the content: a web server's ETag is often made of time and size alone."""
    return _EPOCH + int(_digest(path)[:6], 16)


def _plain(info: tarfile.TarInfo, *, moment: int = _EPOCH) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = moment
    info.mode = 0o755 if info.isdir() or info.mode & 0o111 else 0o644
    return info


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o111)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _fill(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [_fill(one, words) for one in value]
    if isinstance(value, str):
        for key, word in words.items():
            value = value.replace("{" + key + "}", word)
    return value


REQUIREMENTS: dict[str, str] = {"mmdebstrap": "mmdebstrap", "npm": "npm", "mvn": "maven"}
"""The programs that local image builds start, and the Debian package that brings each."""

_TIMEOUT = 900.0
_MAVEN_GET = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"
_GLIBC_OF_BOOKWORM = 36


@dataclass(frozen=True)
class _Wish:
    plan: Plan
    facts: dict[str, Any]
    work: Path
    cache: Path


def fetch(plan: Plan, *, cache: Path) -> dict[str, Path]:
    """Fetch all that ``plan`` wants; return the folder of each kind.

    Raises:
        ImageUnavailable: a program is not installed; says which package brings it.
        ProgramFailed, DeadlineExceeded: the client failed.
    """
    return {kind: _one(plan, kind, facts, cache) for kind, facts in sorted(plan.fetch.items())}


def is_fetched(plan: Plan, *, cache: Path) -> bool:
    """Whether all that ``plan`` wants is in ``cache`` already."""
    return all(_place(plan, kind, facts, cache).is_dir() for kind, facts in plan.fetch.items())


def _one(plan: Plan, kind: str, facts: dict[str, Any], cache: Path) -> Path:
    done = _place(plan, kind, facts, cache)
    if done.is_dir():
        return done
    lock = cache / "locks" / f"fetch-{done.name}.lock"
    with locks.hold(lock, wait=_TIMEOUT, owner={"fetches": plan.definition.name}, level=logging.DEBUG):
        if done.is_dir():
            return done
        work = done.with_name(f"{done.name}.part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _FETCHERS[kind](_Wish(plan, facts, work, cache))
        work.rename(done)
    return done


def _place(plan: Plan, kind: str, facts: dict[str, Any], cache: Path) -> Path:
    named = [value for value in facts.values() if isinstance(value, str) and value in plan.files]
    if kind == "npm" and facts.get("manifest"):
        named.append(_lock_file(facts["manifest"]))
    files = {name: plan.files[name].read_text("utf-8") for name in named if name in plan.files}
    text = json.dumps([kind, plan.arch, facts, files], sort_keys=True)
    return cache / "fetched" / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _pip(wish: _Wish) -> None:
    wanted = wish.facts["requirements"]
    what = ["-r", str(wish.plan.files[wanted])] if isinstance(wanted, str) else list(wanted)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(wish.plan.arch, wish.plan.arch)
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_OF_BOOKWORM, 4, -1)]
    platforms += [f"--platform=manylinux2014_{machine}", f"--platform=linux_{machine}"]
    python = [f"--python-version={wish.facts['python']}", "--implementation=cp", "--only-binary=:all:", *platforms]
    options = ["--no-compile", "--no-input", "--quiet", "--disable-pip-version-check", "--target", str(wish.work)]
    process.run([*_pip_program(), "install", *options, *python, *what], timeout=_TIMEOUT)
    for script in (wish.work / "bin").glob("*"):
        _neutral_shebang(script)


def _pip_program() -> list[str]:
    if process.run([sys.executable, "-m", "pip", "--version"], timeout=60, check=False).rc == 0:
        return [sys.executable, "-m", "pip"]
    return [str(_program("pip3", "python3-pip"))]


def _neutral_shebang(script: Path) -> None:
    first, newline, rest = script.read_bytes().partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        script.write_bytes(b"#!/usr/bin/env python3" + newline + rest)
        script.chmod(0o755)


def _npm(wish: _Wish) -> None:
    options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    options += ["--force", f"--cpu={npm_arch(wish.plan.arch)}", "--os=linux"]
    manifest, verb = wish.facts.get("manifest", ""), ["install"]
    if manifest:
        shutil.copyfile(wish.plan.files[manifest], wish.work / "package.json")
        locked = wish.plan.files.get(_lock_file(manifest))
        if locked:
            shutil.copyfile(locked, wish.work / "package-lock.json")
            verb = ["ci"]
    else:
        (wish.work / "package.json").write_text('{"private": true}', encoding="utf-8")
        options += ["--save-exact", *wish.facts["packages"]]
    process.run([_program("npm"), *verb, *options], cwd=wish.work, timeout=_TIMEOUT)


def _lock_file(manifest: str) -> str:
    return str(Path(manifest).with_name("package-lock.json"))


def _maven(wish: _Wish) -> None:
    group, name, version, packing = wish.facts["artifact"].split(":")
    # A store of its own: Maven's is not made for several writers at once.
    store = wish.work / ".store"
    options = ["--batch-mode", "--quiet", f"-Dmaven.repo.local={store}", "-Dtransitive=false"]
    process.run([_program("mvn"), *options, _MAVEN_GET, f"-Dartifact={wish.facts['artifact']}"], timeout=_TIMEOUT)
    artefact = store.joinpath(*group.split("."), name, version, f"{name}-{version}.{packing}")
    _unzip(artefact, wish.work)
    shutil.rmtree(store)


def _unzip(archive: Path, target: Path) -> None:
    """Unpack without the one top folder, with the modes that the archive says (``zipfile`` drops them)."""
    with zipfile.ZipFile(archive) as source:
        for info in source.infolist():
            inside = Path(*Path(info.filename).parts[1:])
            path = target / inside
            if info.is_dir() or not path.resolve().is_relative_to(target.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open(info) as reader, path.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
            path.chmod(0o755 if info.external_attr >> 16 & stat.S_IXUSR else 0o644)


def _debian(wish: _Wish) -> None:
    hook = wish.facts.get("hook")
    options = ["--quiet", "--variant=minbase"]
    if hook:
        options.append(f"--customize-hook={wish.plan.files[hook]}")
    target = wish.work / "rootfs.tar"
    process.run([_program("mmdebstrap"), *options, wish.facts["suite"], target], timeout=_TIMEOUT)


def _program(name: str, package: str = "") -> Path:
    found = process.which(name)
    if found is None:
        package = package or REQUIREMENTS[name]
        raise ImageUnavailable(
            f"local image builds need the program {name}, which is not installed",
            advice=f"`ccci setup`, or install the Debian package {package}",
        )
    return found


_FETCHERS: dict[str, Callable[[_Wish], None]] = {"pip": _pip, "npm": _npm, "maven": _maven, "debian": _debian}


BUILT = "org.pytest-ccci.built"
"""The label whose value is the hash of what an image was built from; only our builds carry it."""
STANDS_IN_FOR = "org.pytest-ccci.stands-in-for"

_WAIT = 1800.0
_TAIL = 25
_NO_ROOM = "no space left on device"


@dataclass(frozen=True)
class Built:
    """An image of ours on the engine; ``fresh`` when this call made it."""

    image_id: str
    fresh: bool


def build(client: docker.DockerClient, plan: Plan, ref: str, *, base: str, cache: Path, why: str = "") -> Built:
    """Have ``ref`` on the engine as ``plan`` says: found by its hash, or built now, by one process at a time.

    Raises:
        ImageUnavailable: the build failed; shows the end of its output.
    """
    lock = cache / "locks" / f"build-{plan.content[:24]}.lock"
    with locks.hold(lock, wait=_WAIT, owner={"builds": ref}):
        found = _by_content(client, plan.content)
        if found is None:
            return Built(_build_now(client, plan, ref, base=base, cache=cache, why=why), fresh=True)
        client.api.tag(found, *_split(ref))
        return Built(found, fresh=False)


def _build_now(client: docker.DockerClient, plan: Plan, ref: str, *, base: str, cache: Path, why: str) -> str:
    watch = Stopwatch()
    about = plan.definition.about and not is_fetched(plan, cache=cache)
    _LOG.info(
        f"images: building {ref}{f' ({why})' if why else ''}{f': fetching {plan.definition.about}' if about else ''}"
    )
    try:
        fetched = fetch(plan, cache=cache)
        seconds = watch.seconds
        image = _with_context(client, plan, fetched, ref, base=base, cache=cache)
    except CcciError as error:
        raise _told(error, ref) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(f"no room left while {ref} was built", where=str(cache)) from error
    _LOG.info(f"images: built {ref} in {watch.seconds:.1f} s (fetching {seconds:.1f} s)")
    return image


def _told(error: CcciError, ref: str) -> CcciError:
    if _NO_ROOM in f"{error.what} {error.seen}".lower():
        return DiskFull(f"no room left while {ref} was built", seen=error.what, advice="`ccci prune`, or a larger disk")
    if isinstance(error, ImageUnavailable | UsageError | EngineUnavailable):
        return error
    return ImageUnavailable(f"building {ref} failed: {error.what}", seen=error.seen, advice=error.advice)


def _with_context(
    client: docker.DockerClient, plan: Plan, fetched: dict[str, Path], ref: str, *, base: str, cache: Path
) -> str:
    cache.mkdir(parents=True, exist_ok=True)
    # Unlinked as soon as it is open: a killed build leaves nothing behind.
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".context-") as context:
        write_context(plan, fetched, Path(context.name))
        with Path(context.name).open("rb") as source:
            rows = client.api.build(
                fileobj=source,
                custom_context=True,
                tag=ref,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=int(_WAIT),
                buildargs={"BASE": base, "VERSION": plan.version},
                labels={BUILT: plan.content, STANDS_IN_FOR: f"{plan.definition.name}:{plan.version}"},
            )
            _drain(rows, ref)
    return str(client.images.get(ref).id)


def _drain(rows: object, ref: str) -> None:
    """Read the build's output to its end, also after its error: what is left unread would keep its socket open."""
    tail: list[str] = []
    failed = ""
    for row in rows:  # type: ignore[attr-defined]  # the SDK yields decoded JSON objects
        failed = failed or str(row.get("error", "")).strip()
        tail = [*tail[-200:], str(row.get("stream", ""))]
    if failed:
        last = [line for line in "".join(tail).splitlines() if line.strip()][-_TAIL:]
        raise ImageUnavailable(f"building {ref} failed: {failed}", seen="\n".join(last))


def _by_content(client: docker.DockerClient, content: str) -> str | None:
    rows = client.api.images(filters={"label": f"{BUILT}={content}"})
    return rows[0]["Id"] if rows else None


def _split(ref: str) -> tuple[str, str]:
    name, _, tag = ref.rpartition(":")
    return name, tag
