"""Fetches what images are built from, on the host, by the ordinary clients as they are configured there.

Nothing of that configuration (mirrors, proxies, certificates, tokens) is part of what is fetched, so none of it can
reach an image. What was fetched is kept by the content of the wish, and fetched once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ccci import locks, process
from pytest_ccci.engine.buildcontext import Plan, npm_arch
from pytest_ccci.errors import ImageUnavailable

__all__ = ["REQUIREMENTS", "fetch", "is_fetched"]

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
    with locks.hold(lock, wait=_TIMEOUT, owner={"fetches": plan.definition.name}):
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
