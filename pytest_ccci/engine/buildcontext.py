"""What an image is built from, as a value: the files, what is fetched, the base. Its hash decides whether to build."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_ccci.engine.definitions import Definition
from pytest_ccci.errors import UsageError

__all__ = ["Plan", "expand", "plan", "write_context"]

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
